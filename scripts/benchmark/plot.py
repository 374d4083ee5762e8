"""A line chart as a Markdown table and, without a library, as SVG: across by powers of ten, upwards from zero."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 520, 40, 260
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")

Points = list[tuple[float, float]]


@dataclass
class Chart:
    """Lines over what grows, as a table and as a plot. `remarks` say what could not be measured, and why."""

    file: str
    title: str
    across: str
    upwards: str
    lines: dict[str, Points] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def section(self) -> str:
        parts = [f"## {self.title}\n", *(f"{remark}.\n" for remark in self.remarks)]
        if self.lines:
            parts += [self._table(), f"![{self.title}]({self.file}.svg)\n"]
        return "\n".join(parts)

    def plot(self) -> str:
        return svg(self.title, self.across, self.upwards, self.lines)

    def _table(self) -> str:
        columns = sorted({x for line in self.lines.values() for x, _ in line})
        rows = [f"| {self.upwards}, by {self.across} | " + " | ".join(map(short, columns)) + " |"]
        rows.append("|---|" + "--:|" * len(columns))
        for name, line in self.lines.items():
            known = dict(line)
            cells = (f"{known[column]:.2f}" if column in known else "" for column in columns)
            rows.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(rows) + "\n"


def svg(title: str, across: str, upwards: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A chart of `lines`, each with a name and points (x > 0, y >= 0)."""
    columns = sorted({x for line in lines.values() for x, _ in line})
    steps = _steps(max(y for line in lines.values() for _, y in line))

    def place(x: float, y: float) -> tuple[float, float]:
        first, last = math.log10(columns[0]), math.log10(columns[-1])
        share = (math.log10(x) - first) / (last - first or 1)
        return LEFT + 12 + share * (RIGHT - LEFT - 24), BOTTOM - y / steps[-1] * (BOTTOM - TOP)

    parts = [_text(LEFT, 20, title, "start", 14)]
    for step in steps:
        _, y = place(columns[0], step)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{step:g}", "end"))
    for column in columns:
        x, _ = place(column, 0)
        parts.append(_text(x, BOTTOM + 16, short(column)))
    parts.append(_text((LEFT + RIGHT) / 2, BOTTOM + 36, across))
    middle = (TOP + BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, upwards)}</g>')
    for number, (name, line) in enumerate(lines.items()):
        parts += _line(name, [place(x, y) for x, y in line], COLOURS[number % len(COLOURS)], TOP + 12 + 20 * number)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def short(number: float) -> str:
    """1000 as 1k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def _line(name: str, points: list[tuple[float, float]], colour: str, legend: float) -> Iterable[str]:
    yield f'<polyline fill="none" stroke="{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    yield f'<path d="M{RIGHT + 12} {legend}h16" stroke="{colour}" stroke-width="3"/>'
    yield _text(RIGHT + 34, legend + 4, name, "start")


def _text(x: float, y: float, text: str, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _steps(most: float) -> list[float]:
    """Some four to eight round figures from 0 to at least `most`."""
    most = most or 1.0
    unit = 10 ** math.floor(math.log10(most / 4))
    step = next(unit * times for times in (1, 2, 5, 10) if most / (unit * times) <= 7)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]

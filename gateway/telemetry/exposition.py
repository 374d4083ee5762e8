"""Figures as Prometheus reads them: text 0.0.4, or OpenMetrics 1.0 where `Accept` prefers it.

Rule 1: whatever a label value holds, it stays one value of one series.
Rule 2: a metric is told as it was at one moment, and the event loop is let go again and again in between.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, repeat
from math import isfinite, isnan

from gateway.telemetry.metric_table import Kind, Metric
from gateway.telemetry.series import Exemplar, Figures, Sample
from gateway.telemetry.turn import Turn

RANGES = 32  # of an Accept field that are looked at
EXEMPLAR_CHARACTERS = 128  # OpenMetrics' bound on an exemplar's label set

# What a backslash must stand before, in label values and HELP (text 0.0.4 leaves quotes in HELP alone).
_VALUE = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Format(Enum):
    """The two, each with its media type; their common ground is most of both."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exposition:
    """A scrape's answer, to be sent as it is made: a large one in one piece would hold the event loop too."""

    content_type: str
    body: AsyncIterator[bytes]


def expose(figures: Iterable[Figures], accept: str) -> Exposition:
    """`figures` in the format that `accept`, the request's field (all of them, joined by commas), prefers."""
    form = preferred(accept)
    return Exposition(form.value, render(figures, form))


async def render(figures: Iterable[Figures], form: Format) -> AsyncIterator[bytes]:
    """The document in pieces of a millisecond's work."""
    lines: list[str] = []
    turn = Turn()
    for metric in figures:
        for block in _blocks(metric, form):
            lines.append(block)
            if turn.over():
                yield "".join(lines).encode("utf-8", "replace")
                lines.clear()
                await turn.next()
    if form is Format.OPENMETRICS:
        lines.append("# EOF\n")
    yield "".join(lines).encode("utf-8", "replace")


def preferred(accept: str) -> Format:
    """OpenMetrics if it weighs more than text, or as much and is named; else text, also where neither is acceptable."""
    ranges = [_MediaRange.read(part) for part in accept.lower().split(",", RANGES)[:RANGES]]
    named, openmetrics = max(each.weight_of("application", "openmetrics-text", "1.0.0") for each in ranges)
    _, text = max(each.weight_of("text", "plain", "0.0.4") for each in ranges)
    return Format.OPENMETRICS if openmetrics > text or (named > 1 and openmetrics == text > 0) else Format.TEXT


@dataclass(frozen=True, slots=True)
class _MediaRange:
    """One element of `Accept`; `version` None if it names none."""

    type: str
    subtype: str
    version: str | None
    weight: float

    @classmethod
    def read(cls, part: str) -> "_MediaRange":
        media, *pieces = part.split(";")
        kind, _, subtype = media.strip().partition("/")
        parameters = {name.strip(): value.strip(' \t"') for name, _, value in (p.partition("=") for p in pieces)}
        return cls(kind, subtype, parameters.get("version"), _weight(parameters.get("q", "1")))

    def weight_of(self, kind: str, subtype: str, version: str) -> tuple[int, float]:
        """How closely this range names a format, 0 for not at all, and the weight it gives it."""
        if (self.type, self.subtype) == (kind, subtype) and self.version in (None, version):
            return 3, self.weight
        if (self.type, self.subtype) == (kind, "*"):
            return 2, self.weight
        return (1, self.weight) if (self.type, self.subtype) == ("*", "*") else (0, 0.0)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _blocks(figures: Figures, form: Format) -> Iterator[str]:
    """The metric's description, then each series; no block is long."""
    metric, openmetrics = figures.metric, form is Format.OPENMETRICS
    yield _description(metric, openmetrics)
    # `1.0` rather than `1`, in both formats: a bucket is the same series whichever is scraped.
    bounds = (*(repr(float(bound)) for bound in metric.buckets), "+Inf")
    for sample in figures.samples:
        labels = ",".join(f'{n}="{v.translate(_VALUE)}"' for n, v in zip(metric.labels, sample.labels, strict=True))
        if metric.kind is Kind.HISTOGRAM:
            yield _histogram(metric.name, bounds, labels, sample, openmetrics)
        else:
            example = _exemplar(sample.exemplars[0]) if openmetrics and sample.exemplars else ""
            yield f"{metric.name}{_braced(labels)} {_number(sample.value)}{example}\n"


def _description(metric: Metric, openmetrics: bool) -> str:
    if not openmetrics:
        kind = Kind.GAUGE if metric.kind is Kind.INFO else metric.kind
        return f"# HELP {metric.name} {metric.about.translate(_HELP)}\n# TYPE {metric.name} {kind}\n"
    name = metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name
    name = name.removesuffix("_info") if metric.kind is Kind.INFO else name
    unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
    return f"# HELP {name} {metric.about.translate(_VALUE)}\n# TYPE {name} {metric.kind}\n{unit}"


def _histogram(name: str, bounds: tuple[str, ...], labels: str, sample: Sample, openmetrics: bool) -> str:
    begin = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
    examples = sample.exemplars if openmetrics and sample.exemplars else repeat(None)
    buckets = zip(bounds, accumulate(sample.counts), examples, strict=False)
    lines = [f'{begin}{bound}"}} {count}{_exemplar(example)}\n' for bound, count, example in buckets]
    lines.append(f"{name}_sum{_braced(labels)} {_number(sample.value)}\n")
    lines.append(f"{name}_count{_braced(labels)} {sum(sample.counts)}\n")
    return "".join(lines)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    value, (trace, when) = exemplar
    if len(trace) + len("trace_id") > EXEMPLAR_CHARACTERS:
        return ""
    return f' # {{trace_id="{trace.translate(_VALUE)}"}} {_number(value)} {when:.3f}'


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"

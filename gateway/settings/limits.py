"""How much each key, project, provider and model may use, and how an operator writes that down.

A rule is `WHO: BOUND, BOUND`, such as `key: 100 requests/minute, 10 concurrent`. Rules stand apart by `;` or line ends;
blank lines and lines that begin with `#` say nothing. A key's own bounds stand in its entry, as scopes with the same
words: `;requests=100/minute|5000/day;concurrent=10`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from gateway.settings.reader import Reader

RULES = "GATEWAY_RATE_LIMITS"
ABOUT_RULES = (
    "How much may be used: rules separated by `;` or line ends, such as `key: 100 requests/minute, 10 concurrent; "
    "key alice: 200000 tokens/minute, 5 usd/day; provider openai: 1000 requests/minute; key model gpt-4*: 5 requests/m`"
)
ABOUT_FAILURE = "Where limits are kept elsewhere and cannot be asked: open lets requests pass, closed refuses them"
ABOUT_LEASE = "Seconds after which a killed process's concurrent requests no longer count, where Redis counts them"

OPEN, CLOSED = "open", "closed"
LONGEST_SECONDS = 365 * 24 * 3600


class Unit(StrEnum):
    """What is counted. `cost` is in US dollars; `concurrent` are requests that are being served."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    COST = "cost"
    CONCURRENT = "concurrent"


DIMENSIONS = ("key", "project", "provider", "model")
"""What a rule can be about, in the order in which its subject is named."""


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `most` of `unit` in `seconds`; 0 seconds: at once. Prints as it is written in a scope."""

    unit: Unit
    most: float
    seconds: float = 0.0

    @property
    def window(self) -> str:
        """The window as a word: `minute`, `15m`; "" for none."""
        if not self.seconds:
            return ""
        named = next((word for word, seconds in _WINDOWS.items() if seconds == self.seconds), None)
        if named is not None:
            return named
        letter = next(letter for letter in "dhms" if self.seconds % _LETTERS[letter] == 0)
        return f"{self.seconds / _LETTERS[letter]:g}{letter}"

    def __str__(self) -> str:
        return f"{self.most:.15g}/{self.window}" if self.seconds else f"{self.most:.15g}"


class Bounds(tuple[Bound, ...]):
    """All bounds of one unit; prints as a scope's value."""

    __slots__ = ()

    def __str__(self) -> str:
        return "|".join(map(str, self))


@dataclass(frozen=True, slots=True)
class Rule:
    """`bounds` for each subject that `who` is about: a dimension's name or pattern, "" for each of them by itself."""

    who: tuple[tuple[str, str], ...]
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class RateSettings:
    """`lease` in seconds."""

    rules: tuple[Rule, ...] = ()
    open_on_failure: bool = True
    lease: float = 30.0


def read_rates(reader: Reader) -> RateSettings:
    """The section; every rule that is none is a problem."""
    reader.chapter("Rate limits")
    rules, problems = parse_rules(reader.text(RULES, "", ABOUT_RULES))
    for problem in problems:
        reader.problem(RULES, problem)
    on_failure = reader.choice("GATEWAY_RATE_LIMIT_ON_FAILURE", OPEN, (OPEN, CLOSED), ABOUT_FAILURE)
    return RateSettings(
        rules=rules,
        open_on_failure=on_failure == OPEN,
        lease=reader.seconds("GATEWAY_RATE_LIMIT_LEASE", 30, ABOUT_LEASE),
    )


def parse_rules(text: str) -> tuple[tuple[Rule, ...], list[str]]:
    """The rules in `text`, and what is wrong with those that are none."""
    rules: dict[tuple[tuple[str, str], ...], Rule] = {}
    problems = []
    for position, entry in enumerate(_entries(text), start=1):
        try:
            rule = _rule(entry)
            if rule.who in rules:
                raise ValueError("there is a rule for the same before it; write its bounds in one, separated by commas")
        except ValueError as error:
            problems.append(f"rule {position} ({entry}): {error}")
        else:
            rules[rule.who] = rule
    return tuple(rules.values()), problems


def scope(unit: Unit) -> Callable[[str], Bounds]:
    """What reads the bounds of one unit in a key's scope, `100/minute|5000/day`.

    It raises ValueError with what would be right, and shows nothing of what it read: a secret may have got there.
    """
    example = "a number such as 10" if unit is Unit.CONCURRENT else "such as 100/minute, or 100/minute|5000/day"

    def read(text: str) -> Bounds:
        try:
            return Bounds(_distinct([_bound(unit, quota.strip()) for quota in text.split("|")]))
        except ValueError:
            raise ValueError(f"must be {example}") from None

    return read


def _entries(text: str) -> Iterator[str]:
    for line in re.split(r"[\r\n]+", text):
        if not line.lstrip().startswith("#"):
            yield from (entry.strip() for entry in line.split(";") if entry.strip())


def _rule(entry: str) -> Rule:
    who, has_bounds, bounds = entry.rpartition(":")  # the last one: a model's name may hold others
    if not has_bounds:
        raise ValueError("must be WHO: BOUND, such as `key: 100 requests/minute`")
    return Rule(_who(who.split()), _distinct([_worded_bound(bound.split()) for bound in bounds.split(",")]))


def _who(words: list[str]) -> tuple[tuple[str, str], ...]:
    named: dict[str, str] = {}
    dimension = ""
    for word in words:
        if word in DIMENSIONS and word not in named:
            dimension = word
            named[dimension] = ""
        elif dimension and not named[dimension]:
            named[dimension] = _name(dimension, word)
        else:
            raise ValueError(f"begins with whom it is for: {', '.join(DIMENSIONS)}, each with a name or without")
    if not named:
        raise ValueError(f"begins with whom it is for: {', '.join(DIMENSIONS)}, or several of them")
    return tuple((dimension, named[dimension]) for dimension in DIMENSIONS if dimension in named)


def _name(dimension: str, word: str) -> str:
    if dimension == "model":
        if _MODEL.fullmatch(word):
            return word
        raise ValueError("a model is a name, or the beginning of one with a * after it")
    if _NAME.fullmatch(word):
        return word
    raise ValueError(f"a {dimension} is a name of A-Z a-z 0-9 . _ -, or none for each of them")


def _worded_bound(words: list[str]) -> Bound:
    """`100 requests/minute`, `5 usd/day`, `10 concurrent`."""
    match words:
        case [number, what]:
            word, slash, window = what.partition("/")
            unit = _UNITS.get(word.lower())
            if unit is not None:
                return _bound(unit, f"{number}{slash}{window}")
    raise ValueError(f"a bound is a number and {', '.join(_WORDS)} with a window, such as `100 requests/minute`")


def _bound(unit: Unit, quota: str) -> Bound:
    """`100/minute`, or `10` of what is concurrent."""
    number, has_window, window = (part.strip() for part in quota.partition("/"))
    if bool(has_window) == (unit is Unit.CONCURRENT):
        raise ValueError(f"`{quota}` must be a number alone, such as 10" if has_window else f"`{quota}` {_NO_WINDOW}")
    most = _most(unit, number)
    return Bound(unit, most, _seconds(window) if has_window else 0.0)


def _most(unit: Unit, number: str) -> float:
    digits = number.replace("_", "")
    if (_DECIMAL if unit is Unit.COST else _WHOLE).fullmatch(digits) and float(digits):
        return float(digits)
    kind = "a number of dollars" if unit is Unit.COST else "a whole number"
    raise ValueError(f"`{number}` must be {kind} above 0")


def _seconds(window: str) -> float:
    word = window.lower()
    if word in _WINDOWS:
        return _WINDOWS[word]
    found = _NUMBERED.fullmatch(word)
    seconds = float(found[1] or 1) * _LETTERS[found[2]] if found else 0.0
    if 0 < seconds <= LONGEST_SECONDS:
        return seconds
    raise ValueError(f"`{window}` must be {', '.join(_WINDOWS)}, or such as 30s, 15m, 6h, 7d, at most a year")


def _distinct(bounds: list[Bound]) -> tuple[Bound, ...]:
    if len({(bound.unit, bound.seconds) for bound in bounds}) < len(bounds):
        raise ValueError("bounds the same in the same window twice")
    return tuple(bounds)


_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_LETTERS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNITS = {
    **{unit.value: unit for unit in Unit if unit is not Unit.COST},
    "request": Unit.REQUESTS,
    "token": Unit.TOKENS,
    "usd": Unit.COST,
}
_WORDS = ("requests", "tokens", "input_tokens", "output_tokens", "usd", "concurrent (this one without a window)")
_NO_WINDOW = "lacks a window, such as /minute"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MODEL = re.compile(r"[!-)+-~]{0,200}\*|[!-)+-~]{1,200}")
_WHOLE = re.compile(r"[0-9]{1,12}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_NUMBERED = re.compile(r"([1-9][0-9]{0,7})?([smhd])")

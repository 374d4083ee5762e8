"""How an answer is paced and how it goes wrong: a default for the whole mock, changed by each request as it likes.

Rule 1: a request scripts itself. Directives come as header fields (`x-mock-cut-after: 3`) or behind the model's name
(`mock-model+cut-after=3`), mean the same in both places, and the model's name wins.
Rule 2: nothing is remembered between requests but the attempts counted for `times`, and files and batches
(`stored.py`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.mock_upstream.refusal import Refusal

HEADER_PREFIX = "x-mock-"
_LONGEST = 86_400.0
_ATTEMPT_KEYS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is done to an answer. Each field is also the name of a directive, with hyphens: `cut-after`."""

    delay: float = 0.0
    """Seconds before the head of the answer."""
    pace: float = 0.0
    """Seconds between two deltas of a stream."""
    words: int | None = None
    """The answer has exactly this many words, so a stream this many deltas; by itself, about fifty."""
    width: int = 0
    """Every word is filled up to this many characters: `words=1000` with `width=1000` is a megabyte."""
    split: int = 0
    """A stream is written in pieces of this many bytes, wherever that cuts its events."""
    fail: int = 0
    """Answer with this error status (400-599) instead."""
    retry_after: float | None = None
    """Seconds for the Retry-After field of a failure; by itself, 1 with 429, 503 and 529."""
    times: int = 0
    """Only the first so many attempts with the same `key` fail; 0: all of them."""
    key: str = ""
    """What the attempts are counted by."""
    cut_after: int | None = None
    """Break the connection off after this many deltas; a document, in its middle."""
    stall_after: int | None = None
    """Stay silent for ever after this many deltas; a document, from its middle."""
    error_after: int | None = None
    """After this many deltas, send the API's error event and end the stream cleanly."""
    unmarked: bool = False
    """End the stream cleanly, without its terminal marker."""
    json: bool = False
    """Answer with one JSON document although a stream was asked for."""

    def scripted(self, directives: Iterable[tuple[str, str]]) -> Behaviour:
        """This behaviour, changed by `directives`. Raises Refusal(400) for one that does not exist or make sense."""
        return replace(self, **{_field(name): _value(name, text) for name, text in directives})


DEMO = Behaviour(pace=0.02)
"""Slow enough to be watched."""


class Attempts:
    """How often each key given with `times` was seen, for the keys seen last."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, int] = OrderedDict()

    def count(self, key: str) -> int:
        """One more attempt with `key`; the number of attempts until now, this one included."""
        self._seen[key] = self._seen.pop(key, 0) + 1
        if len(self._seen) > _ATTEMPT_KEYS_KEPT:
            self._seen.popitem(last=False)
        return self._seen[key]


def from_headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The directives among the fields of a request."""
    for name, value in headers.items():
        if name.lower().startswith(HEADER_PREFIX):
            yield name.lower().removeprefix(HEADER_PREFIX), value


def from_model(model: str) -> tuple[str, list[tuple[str, str]]]:
    """A model's own name, and the directives behind it: `m+fail=503+unmarked`."""
    name, *directives = model.split("+")
    split = (directive.partition("=") for directive in directives if directive)
    return name, [(name, value) for name, _, value in split]


def _field(name: str) -> str:
    if name not in _READERS:
        raise Refusal(400, f"There is no mock directive {name!r}. Known: {', '.join(_READERS)}.")
    return name.replace("-", "_")


def _value(name: str, text: str) -> Any:
    try:
        return _READERS[name](text.strip())
    except ValueError:
        raise Refusal(400, f"The mock directive {name!r} cannot be {text!r}.") from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def _status(text: str) -> int:
    status = int(text)
    if not 400 <= status <= 599:
        raise ValueError(text)
    return status


def _switch(text: str) -> bool:
    """Bare, or any of the usual words."""
    if text.lower() not in ("", "1", "true", "yes", "0", "false", "no"):
        raise ValueError(text)
    return text.lower() not in ("0", "false", "no")


_READERS: Mapping[str, Callable[[str], Any]] = {
    "delay": _seconds,
    "pace": _seconds,
    "words": _count,
    "width": _count,
    "split": _count,
    "fail": _status,
    "retry-after": _seconds,
    "times": _count,
    "key": str,
    "cut-after": _count,
    "stall-after": _count,
    "error-after": _count,
    "unmarked": _switch,
    "json": _switch,
}

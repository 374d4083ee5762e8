"""Whether a stream came to its end, read off the two ends of it that are kept.

A stream is unfinished only where an event that is kept shows it:

- The marker of its API came (`[DONE]`, `message_stop`, `response.completed`, ...), or the provider's own error: MARKED.
- All choices that are seen to begin are seen to finish, too: FINISHED. A choice is what has a `finish_reason` of its
  own: OpenAI's choice, Gemini's candidate, Anthropic's message.
- One of them is not, or the last event is cut in the middle: UNFINISHED.
- Nothing is seen that begins or finishes anything, as in a stream of comments, of usage alone, or of nothing: UNKNOWN.

Of a long stream the middle is not kept. A choice that speaks in the tail finishes there as well, since that follows its
last words; one that is seen in the head alone may have finished in the gap, and does not count. Where the tail is
filled by one event that began before it, the first bytes of that event and the members at its end tell what it was.

After its finish a choice may be mentioned once more, with results of a content filter or next to the usage.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, StrEnum
from typing import Any, Final

from msgspec import Struct

from gateway.providers.reading import ends
from gateway.providers.reading.lenient import Members, leading, mapping, objects, parsed, text, trailing

Progress = Callable[[Members], Sequence[tuple[int, bool]]]
"""Which choices an event is about, and whether each is finished with it; MARKER if it ends the stream."""

MARKER: Final[Sequence[tuple[int, bool]]] = ((0, True),)


class End(Enum):
    """How a stream ended, as far as its events show; StreamEndRule says which ends count as complete."""

    MARKED = 0
    FINISHED = 1
    UNFINISHED = 2
    UNKNOWN = 3


class StreamEndRule(StrEnum):
    """What a provider's stream needs, besides its framing, to count as complete."""

    MARKER = "marker"
    FINISH = "finish"
    FRAMING = "framing"

    def is_met(self, end: End) -> bool:
        """Whether a stream that was framed to its end, and ended like this, is complete."""
        if self is StreamEndRule.MARKER:
            return end is End.MARKED
        return self is StreamEndRule.FRAMING or end is not End.UNFINISHED

    def is_met_early(self, end: End) -> bool:
        """Whether nothing more is needed of a stream that has come as far as this."""
        return end is End.MARKED or (end is End.FINISHED and self is not StreamEndRule.MARKER)


class StreamBody(Struct, frozen=True, gc=False):
    """A stream's first bytes and its last ones, without a gap between them if `whole`.

    `opening` begins the event that `tail` starts inside; `lines` tells that events are lines of JSON.
    """

    head: bytes
    tail: bytes = b""
    whole: bool = True
    opening: bytes = b""
    lines: bool = False

    @property
    def last(self) -> bytes:
        """The last bytes, all there are of a short stream."""
        return self.head + self.tail if self.whole else self.tail


def by_member(name: str, last: object, *others: str) -> Progress:
    """The progress of a stream whose events have a member `name`, `last` in the last one.

    In those before, its value begins with one of `others`, if there are any: other words are another API's.
    """

    def progress(event: Members) -> Sequence[tuple[int, bool]]:
        value = event.get(name)
        if value == last or event.get("error") or event.get("type") == "error":
            return MARKER
        return ((0, False),) if name in event and (not others or text(value).startswith(others)) else ()

    return progress


def end_of(progress: Progress, body: StreamBody) -> End | None:
    """How a stream ended whose events are read by `progress`; None for a body that is no stream, whatever its label."""
    if ends.is_array(body.head):
        return _end_of_array(progress, body, body.last)
    if not (_begins_with_a_line(body.head) if body.lines else ends.is_event_stream(body.head)):
        return None if body.head.strip() else End.UNKNOWN
    if not body.lines and _ends_with_done(body):
        return End.MARKED
    return _end_of_events(progress, body, ends.plain(body.last))


def _begins_with_a_line(head: bytes) -> bool:
    line, end, _ = head.lstrip().partition(b"\n")
    return bool(mapping(parsed(line))) if end else line.startswith(b"{")


def _end_of_events(progress: Progress, body: StreamBody, last: bytes) -> End:
    seen, gap, is_cut = _Seen(progress, last), b"\n" if body.lines else b"\n\n", False
    for number, event in enumerate(_backward(body, last, gap)):
        if not event and number == 0 and not last.endswith(gap):
            is_cut = True
        elif (end := seen.end_with(event)) is not None:
            return End.UNFINISHED if is_cut and end is not End.MARKED else end
    return End.UNFINISHED if is_cut else seen.end


def _backward(body: StreamBody, last: bytes, gap: bytes) -> Iterator[Members]:
    """The events in the last bytes, the last one first, and what is known of the one that began before them."""
    for data in filter(None, reversed(last.split(gap)) if body.lines else ends.backward(last)):
        yield mapping(parsed(data))
    rest, its_end, _ = last.partition(gap)
    if not body.whole:
        yield _cut_event(body.opening, rest) if its_end or rest.rstrip().endswith(b"}") else {}


class _Seen:
    """The choices that some events were about, the last event first."""

    __slots__ = ("_begun", "_body", "_finished", "_progress")

    def __init__(self, progress: Progress, body: bytes) -> None:
        self._progress = progress
        self._body = body
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def end_with(self, event: Members) -> End | None:
        """Take note of `event`; the end of the stream if no event before it can change that."""
        choices = self._progress(event)
        if choices is MARKER:
            return End.MARKED
        for choice, is_finished in choices:
            (self._finished if is_finished else self._begun).add(choice)
        if choices and self._finished and _SEVERAL.search(self._body) is None:
            return End.FINISHED
        return None

    @property
    def end(self) -> End:
        if not self._begun <= self._finished:
            return End.UNFINISHED
        return End.FINISHED if self._finished else End.UNKNOWN


_SEVERAL: Final = re.compile(rb'"index"\s*:\s*[1-9]')


def _end_of_array(progress: Progress, body: StreamBody, last: bytes) -> End:
    if not last.rstrip().endswith(b"]"):
        return End.UNFINISHED
    seen = _Seen(progress, last)
    for event in reversed(objects(parsed(last))) if body.whole else (_late(last),):
        if (end := seen.end_with(event)) is not None:
            return end
    return seen.end


def _ends_with_done(body: StreamBody) -> bool:
    end = ends.plain((body.tail if len(body.tail) >= _MARKER_BYTES else body.last)[-_MARKER_BYTES:])
    done = end.rfind(b"[DONE]")
    return done >= 0 and _DONE_LINE.match(end[end.rfind(b"\n", 0, done) + 1 :]) is not None


_MARKER_BYTES: Final = 2048
_DONE_LINE: Final = re.compile(rb"data: ?\[DONE\][ \t]*(?:\n|$)")


def _cut_event(opening: bytes, rest: bytes) -> dict[str, Any]:
    """What is known of an event from its first bytes and its last."""
    found = _late(rest)
    name, start = _NAME.search(opening), opening.find(b"{")
    if name is not None:
        found["type"] = found["event_type"] = name.group(1).decode("utf-8", "replace")
    return found | (leading(opening[start:]) if start >= 0 else {})


_NAME: Final = re.compile(rb"(?:^|[\r\n])event: ?([^\r\n]+)")


def _late(rest: bytes) -> dict[str, Any]:
    found = {name: trailing(rest, name) for name in ("finish_reason", "finishReason", "event_type")}
    return {name: value for name, value in found.items() if value is not None}

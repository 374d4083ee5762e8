"""Event streams as WHATWG HTML defines them ("Server-sent events"): encode, and decode however they were cut.

Bytes in, bytes out: what an event's data means is the business of whoever asked for it.
"""

import re
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "text/event-stream"
MOST_EVENT_BYTES: Final = 8 * 1024 * 1024

KEEPALIVE: Final = b":keepalive\n"
"""Safe between any two events of any client; with a blank line after it, the openai SDK fails on it after an `id`."""


class EventTooLarge(ValueError):
    """An event went on and on without an end."""


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event: `name` is b"" where none was given, `id` the last one the stream has told so far."""

    data: bytes
    name: bytes = b""
    id: bytes = b""


def encode(
    data: str | bytes | None = None,
    *,
    event: str = "",
    id: str | None = None,
    retry: int | None = None,
    comment: str = "",
) -> bytes:
    """One event, ended by its blank line. `retry` is in milliseconds; ValueError for what no field can hold.

    Without data nothing is dispatched to the reader, so that `retry` or a comment alone stays invisible.
    """
    if not _is_one_line(event):
        raise ValueError("an event's name cannot hold a line end")
    if id is not None and (not _is_one_line(id) or "\0" in id):
        raise ValueError("an event's id cannot hold a line end or NUL")
    lines = [b": " + line for line in _lines(comment)] if comment else []
    if event:
        lines.append(b"event: " + event.encode())
    if id is not None:
        lines.append(b"id: " + id.encode())
    if retry is not None:
        lines.append(b"retry: %d" % retry)
    if data is not None:
        lines += [b"data: " + line for line in _lines(data)]
    return b"\n".join(lines) + b"\n\n"


def _is_one_line(text: str) -> bool:
    return "\n" not in text and "\r" not in text


def _lines(text: str | bytes) -> list[bytes]:
    return _LINE_END.split(text.encode() if isinstance(text, str) else text)


def at_boundary(end: bytes) -> bool:
    """Whether a stream that ends with `end`, four bytes at least or all there is, stands between two events."""
    return not end or end.endswith((b"\n\n", b"\n\r\n", b"\n\r", b"\r\r", b"\r\r\n"))


class Decoder:
    """Gives complete events, whatever pieces their bytes come in; what is unfinished at the end is never given."""

    __slots__ = ("_after_cr", "_at_start", "_data", "_id", "_line", "_line_size", "_most", "_name", "_size", "retry")

    def __init__(self, most: int = MOST_EVENT_BYTES) -> None:
        self.retry: int | None = None  # milliseconds, as last told
        self._most = most
        self._line: list[bytes] = []  # pieces of a line without an end yet
        self._line_size = 0
        self._after_cr = False
        self._at_start = True
        self._data: list[bytes] = []
        self._name = b""
        self._id = b""
        self._size = 0  # bytes held for the event under way

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, in order. Raises EventTooLarge, and is of no use after that."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        elif not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = _LINE_END.split(chunk) if chunk.find(b"\r") >= 0 else chunk.split(b"\n")
        rest = lines.pop()
        events: list[Event] = []
        if lines:
            if self._line:
                lines[0] = b"".join(self._line) + lines[0]
                self._line = []
                self._line_size = 0
            for line in lines:
                event = self._take(line)
                if event is not None:
                    events.append(event)
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
            self._check(self._line_size)
        return events

    def _take(self, line: bytes) -> Event | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._check(len(value))
            self._size += len(value) + 1
            self._data.append(value)
        elif field == b"event":
            self._name = value
        elif field == b"id" and b"\0" not in value:
            self._id = value
        elif field == b"retry" and value.isdigit():
            self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        event = Event(b"\n".join(self._data), self._name, self._id) if self._data else None
        self._data = []
        self._name = b""
        self._size = 0
        return event

    def _check(self, more: int) -> None:
        if self._size + more > self._most:
            raise EventTooLarge(f"an event of more than {self._most} bytes")


_LINE_END: Final = re.compile(rb"\r\n|\r|\n")

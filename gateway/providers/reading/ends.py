"""The data of the events in a body that is at hand: forward from its start, backward from its end.

Quicker than decoding a stream as it comes, and unlike it gives an unfinished last event as well: the record wants to
know what was said last. Bodies are passed through `plain` first.

Bytes are searched by `find`: `in` would raise an error inside each time, and catch it.
"""

import re
from collections.abc import Iterator
from typing import Final


def is_event_stream(head: bytes) -> bool:
    """Whether a body that begins with `head` looks like an event stream."""
    return _EVENT_STREAM.match(head) is not None


def is_array(head: bytes) -> bool:
    """Whether a body that begins with `head` looks like a JSON array."""
    return head[:16].lstrip()[:1] == b"["


def plain(body: bytes) -> bytes:
    """`body` without a BOM and with each line ended by LF; JSON has no CR inside its strings."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if body.find(b"\r") >= 0:
        return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return body


def forward(body: bytes) -> Iterator[bytes]:
    """Each event's data, from the first on."""
    start, size = 0, len(body)
    while start < size:
        end = body.find(b"\n\n", start)
        if end < 0:
            end = size
        data = _data(body[start:end])
        if data:
            yield data
        start = end + 2


def backward(body: bytes) -> Iterator[bytes]:
    """Each event's data, from the last on."""
    end = len(body)
    while end > 0:
        start = body.rfind(b"\n\n", 0, end)
        data = _data(body[start + 2 if start >= 0 else 0 : end])
        if data:
            yield data
        end = start


def rest_of_an_event(tail: bytes) -> bytes:
    """What is left of an event that began before `tail`, if nothing but markers and comments follow it; else b""."""
    if _EVENT_STREAM.match(tail) is not None:
        return b""
    rest, _, behind = tail.partition(b"\n\n")
    return b"" if any(data.startswith(b"{") for data in forward(behind)) else rest


def _data(event: bytes) -> bytes:
    if event.startswith(b"data: ") and event.find(b"\n") < 0:
        return event[6:]
    values = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(values)


_EVENT_STREAM: Final = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:data|event|id|retry)?:")

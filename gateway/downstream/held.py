"""The beginning of a request whose small body is on its way: held for a moment, so that it can be read in one piece.

Many clients send the head and the body apart, and a network cuts where it likes. A request that is here in one piece
may be one of a known shape, and costs half of one that is parsed. That is all there is to it: what is held is not
judged, and after HOLD_SECONDS it is read as it is.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

HOLD_SECONDS: Final = 0.01
MOST: Final = 64 * 1024  # bytes of a body
_ENOUGH_DIGITS: Final = 5

_length = re.compile(rb"\r\nContent-Length:[ \t]*([0-9]{1,%d})\r\n" % _ENOUGH_DIGITS, re.IGNORECASE).search
_waits = re.compile(rb"\r\nExpect:", re.IGNORECASE).search


def missing(data: bytes) -> int:
    """How many bytes a request that begins with `data` seems to lack, if they can be expected in a moment; else 0."""
    end = data.find(b"\r\n\r\n") + 4
    length = _length(data, 0, end) if end > 3 else None
    if length is None or _waits(data, 0, end) or int(length[1]) > MOST:
        return 0
    return max(int(length[1]) - (len(data) - end), 0)


class Held:
    """What has come of one request; `let_go` is called when the rest takes too long."""

    __slots__ = ("_missing", "_pieces", "_timer")

    def __init__(self, data: bytes, missing: int, loop: asyncio.AbstractEventLoop, let_go: Callable[[], None]) -> None:
        self._pieces = [data]
        self._missing = missing
        self._timer = loop.call_later(HOLD_SECONDS, let_go)

    def add(self, data: bytes) -> bool:
        """Whether nothing is missing any more."""
        self._pieces.append(data)
        self._missing -= len(data)
        return self._missing <= 0

    def wait_no_more(self) -> None:
        """Nothing is missing: what there is, is to be read."""
        self._missing = 0

    def taken(self) -> bytes:
        """All of it; nothing is held any more."""
        self._timer.cancel()
        return b"".join(self._pieces)

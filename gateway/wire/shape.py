"""Messages told by the shape of their heads: the same names in the same order, with other values.

A parser judges what a head means, and another head of the same shape means the same, with values of its own. So what a
parser has judged twice is known, and a message of a known shape is read by one match of a pattern: at a fifth of the
parser's cost.

Rule 1: a pattern matches less than the parser takes, and finds in it what the parser would. A field is a line: its
name, a colon, one blank, a value of visible characters or bytes beyond ASCII, with blanks or tabs only inside. What
decides how a message is framed or what becomes of the connection is part of the shape, value and all; the one
`Content-Length` is digits.
Rule 2: a message with a length is read if its head is in one piece, with nothing before it and nothing behind its end.
Of a response in chunks the head is read, and what came behind it is for whoever asks to judge (`wire/chunks.py`).
Whoever asks knows that a message begins with the piece. All else is left to the parser, which has seen nothing of it.
"""

import re
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

from gateway.wire.headers import Field, Fields, all_tokens

MOST: Final = 8
"""Shapes that are known at a time; each that does not fit costs a message a fraction of a microsecond."""
PAUSE: Final = 1.0
"""Seconds from one lesson to the next: to learn a shape takes a millisecond."""
MOST_MET: Final = 256
LONGEST: Final = 4096
"""Bytes of a head; less than any bound that the parser has."""

TRANSFER_ENCODING: Final = b"transfer-encoding"

T = TypeVar("T")

_VALUE: Final = rb"(?![\t ])([\t -~\x80-\xff]*+)(?<![\t ])"
_LENGTH: Final = rb"([0-9]{1,15})"
_PART_OF_THE_SHAPE: Final = frozenset(
    {b"connection", b"proxy-connection", b"content-encoding", b"host", TRANSFER_ENCODING}
)
_FRAMING: Final = frozenset({b"content-length", TRANSFER_ENCODING})
_WITHOUT_SHAPE: Final = frozenset({b"upgrade", b"expect", b"sec-websocket-key"})


class Shape(Generic[T]):
    """One shape, and what whoever learned it keeps with it. `length_at` is where Content-Length stands, -1: nowhere."""

    __slots__ = ("_length_at", "_match", "is_in_chunks", "kept", "length_at", "names")

    def __init__(self, start: bytes, fields: Fields, kept: T) -> None:
        """`start` is the pattern of the start line, whose groups come before the values."""
        self.names = tuple([name for name, _ in fields])
        self.kept = kept
        pattern = re.compile(b"%b\r\n%b\r\n" % (start, b"".join([_line(name, value) for name, value in fields])))
        self._match = pattern.match
        lower = [name.lower() for name in self.names]
        self.is_in_chunks = TRANSFER_ENCODING in lower
        self.length_at = -1 if self.is_in_chunks else lower.index(b"content-length")
        self._length_at = pattern.groups - len(fields) + self.length_at  # among all groups

    def read(self, data: bytes) -> tuple[Sequence[bytes], bytes, int] | None:
        """The start line's groups and the values, what is behind the head, and how many bytes the body still lacks.

        Of a body in chunks that is not told: 0. None if `data` does not begin with such a head, or goes on behind it.
        """
        found = self._match(data)
        if found is None:
            return None
        values, end = found.groups(), found.end()
        lacks = 0 if self.is_in_chunks else int(values[self._length_at]) - (len(data) - end)
        return None if end > LONGEST or lacks < 0 else (values, data[end:], lacks)


Found = tuple[Shape[T], Sequence[bytes], bytes, int]
"""A message: its shape, the start line's groups with the values after them, what is behind its head, and how many bytes
of its body are still to come, if that is not in chunks."""


class Shapes(Generic[T]):
    """The shapes that messages were met in more than once, the latest first."""

    def __init__(self) -> None:
        self._known: list[Shape[T]] = []
        self._met: set[tuple[Field, ...]] = set()
        self._refused: set[tuple[Field, ...]] = set()  # they are written in another way
        self._next = 0.0  # lesson, in the monotonic clock's time

    @property
    def can_learn(self) -> bool:
        return monotonic() >= self._next

    def find(self, data: bytes) -> Found[T] | None:
        """The message that `data` is, or begins, if it is one of a known shape."""
        known = self._known
        for index, shape in enumerate(known):
            read = shape.read(data)
            if read is not None:
                if index:
                    known.insert(0, known.pop(index))
                return (shape, *read)
        return None

    def learn(
        self,
        start: bytes,
        fields: Fields,
        data: bytes,
        keep: Callable[[], T],
        check: Callable[[Shape[T], Sequence[bytes]], None] | None = None,
    ) -> None:
        """Take note that the parser found `fields` in `data`; of a shape met before, `keep()` is kept.

        A shape is not kept if `check` raises for it and the groups that it finds in `data`.
        """
        if not self.can_learn or not has_shape(fields) or not (is_whole(fields, data) or is_in_chunks(fields, data)):
            return
        shown = (
            (start, b""),
            *[(name, value if name.lower() in _PART_OF_THE_SHAPE else b"") for name, value in fields],
        )
        if shown in self._refused:
            return
        if shown not in self._met:
            _remember(self._met, shown)
            return
        self._next = monotonic() + PAUSE
        shape = Shape(start, fields, keep())
        read = shape.read(data)
        if read is not None and [*read[0][-len(fields) :]] == [value for _, value in fields]:
            if check is not None:
                check(shape, read[0])
            self._known.insert(0, shape)
            del self._known[MOST:]
        else:
            _remember(self._refused, shown)


def _remember(shapes: set[tuple[Field, ...]], shown: tuple[Field, ...]) -> None:
    if len(shapes) >= MOST_MET:
        shapes.clear()
    shapes.add(shown)


def is_whole(fields: Fields, data: bytes) -> bool:
    """Whether `data` is one message with these fields, head and body, if it begins with that message."""
    end = data.find(b"\r\n\r\n", 0, LONGEST) + 4
    return end > 3 and _framing(fields) == [b"%d" % (len(data) - end)]


def is_in_chunks(fields: Fields, data: bytes) -> bool:
    """Whether a message with these fields that begins `data` has a body in chunks."""
    return data.find(b"\r\n\r\n", 0, LONGEST) > 0 and _framing(fields) == [b"chunked"]


def _framing(fields: Fields) -> list[bytes]:
    """What the fields that frame a message say, all of them."""
    return [value.lower() for name, value in fields if len(name) in (14, 17) and name.lower() in _FRAMING]


def has_shape(fields: Fields) -> bool:
    """Whether a message with these fields, and with one that frames its body, is told by their names."""
    names = [name.lower() for name, _ in fields]
    return all_tokens(names) and _WITHOUT_SHAPE.isdisjoint(names)


def _line(name: bytes, value: bytes) -> bytes:
    kind = name.lower()
    if kind == b"content-length":
        wanted = _LENGTH
    else:
        wanted = b"(%b)" % re.escape(value) if kind in _PART_OF_THE_SHAPE else _VALUE
    return b"%b: %b\r\n" % (re.escape(name), wanted)

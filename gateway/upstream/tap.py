"""Listens to a body without holding it up: keeps the two ends of whatever runs past.

An API tells its usage at the start of a stream or at its end, and how it ended at its end, so two bounded ends are
enough to read both, however long the stream. Where content is captured the ends are larger, so that most bodies are
kept whole.
"""

HEAD = 16 * 1024
TAIL = 64 * 1024
OPENING = 256
PIECE = 32  # bytes that keeping a piece by itself costs, whatever its size


class Tap:
    """`head` is the first `HEAD` bytes, `tail` the last ones after them; together the whole body if it was short.

    `pieces` and `size` tell how much was heard, `first` when the first piece arrived, on the monotonic clock in ns.
    Of `events`, the one that `tail` begins inside has its first bytes in `opening`: its name and type stand there.
    """

    __slots__ = (
        "_events",
        "_head",
        "_head_limit",
        "_late",
        "_opening",
        "_room",
        "_settled_late",
        "_settled_pieces",
        "_settled_size",
        "_tail_limit",
        "first",
    )

    def __init__(self, head_limit: int = HEAD, tail_limit: int = TAIL, *, events: bool = False) -> None:
        self.first: int | None = None
        self._opening = b""
        self._events = events
        self._head = b""
        self._head_limit = head_limit
        self._late: list[bytes] = []  # what was heard since it was last settled, after what is left of the rest
        self._settled_late = 0  # how many of them were left then
        self._settled_pieces = 0  # all but `_late`
        self._settled_size = 0
        self._tail_limit = tail_limit
        self._room = head_limit + 2 * tail_limit  # until what was heard is settled

    def hear(self, piece: bytes) -> None:
        """Take note of `piece`; keeps a reference, copies nothing until the ends are asked for."""
        self._late.append(piece)
        self._room -= len(piece) + PIECE
        if self._room < 0:
            self._settle()

    def _settle(self) -> None:
        """Join what was heard, and forget what lies between the ends."""
        if len(self._late) == self._settled_late:
            return
        late, room = b"".join(self._late), self._head_limit - len(self._head)
        self._settled_pieces, self._settled_size = self.pieces, self.size
        if self._events and len(late) > room + self._tail_limit:
            self._note_opening(late, len(late) - self._tail_limit)
        if room:
            self._head += late[:room]
            late = late[room:]
        late = late[max(len(late) - self._tail_limit, 0) :]
        self._late = [late] if late else []
        self._settled_late = len(self._late)
        self._settled_pieces -= self._settled_late
        self._settled_size -= len(late)
        self._room = self._tail_limit

    def _note_opening(self, late: bytes, cut: int) -> None:
        found = _event_at(late, cut)
        if not found and not self._opening:
            start = self._head + late[:OPENING]
            found = _event_at(start, len(self._head)) or start[:OPENING]
        self._opening = found or self._opening

    @property
    def pieces(self) -> int:
        """How often something was heard."""
        return self._settled_pieces + len(self._late)

    @property
    def size(self) -> int:
        """How many bytes were heard."""
        return self._settled_size + sum(map(len, self._late))

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return len(self._head) + sum(map(len, self._late))

    @property
    def head(self) -> bytes:
        """The first bytes of the body."""
        self._settle()
        return self._head

    @property
    def tail(self) -> bytes:
        """The last bytes of the body, none of them in `head`; a gap lies between if the body was long."""
        self._settle()
        return self._late[0] if self._late else b""

    @property
    def opening(self) -> bytes:
        """The first bytes of the event that `tail` begins inside, or with; b"" where there is no gap before it."""
        self._settle()
        return self._opening

    @property
    def whole(self) -> bool:
        """Whether `head` and `tail` together are the body."""
        return len(self.head) + len(self.tail) == self.size


def _event_at(body: bytes, cut: int) -> bytes:
    """The first bytes of the event that is under way at `cut`; b"" if it began before `body`."""
    lf, crlf = body.rfind(b"\n\n", 0, cut + 1), body.rfind(b"\n\r\n", 0, cut + 2)
    if lf < 0 and crlf < 0:
        return b""
    start = max(lf + 2, crlf + 3)
    return body[start : start + OPENING]

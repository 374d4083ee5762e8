"""Listens to a body without holding it up: keeps the two ends of whatever runs past.

An API tells its usage at the start of a stream or at its end, and how it ended at its end, so two bounded ends are
enough to read both, however long the stream. Where content is captured the ends are larger, so that most bodies are
kept whole.
"""

HEAD = 16 * 1024
TAIL = 64 * 1024


class Tap:
    """`head` is the first `HEAD` bytes, `tail` the last ones after them; together the whole body if it was short."""

    __slots__ = ("_head", "_head_limit", "_head_size", "_tail", "_tail_limit", "_tail_size", "size")

    def __init__(self, head_limit: int = HEAD, tail_limit: int = TAIL) -> None:
        self.size = 0
        self._head: list[bytes] = []
        self._head_size = 0
        self._head_limit = head_limit
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._tail_limit = tail_limit

    def hear(self, chunk: bytes) -> None:
        """Take note of `chunk`; keeps a reference, copies nothing until the ends are asked for."""
        size = len(chunk)
        self.size += size
        if self._head_size < self._head_limit:
            self._hear_head(chunk, size)
            return
        self._tail.append(chunk)
        self._tail_size += size
        if self._tail_size > 2 * self._tail_limit or len(self._tail) > 4096:
            self._trim()

    def _hear_head(self, chunk: bytes, size: int) -> None:
        room = self._head_limit - self._head_size
        self._head.append(chunk[:room])
        self._head_size += min(size, room)
        if size > room:
            self._tail.append(chunk[room:])
            self._tail_size += size - room
            if self._tail_size > 2 * self._tail_limit:
                self._trim()

    def _trim(self) -> None:
        tail = b"".join(self._tail)[-self._tail_limit :]
        self._tail = [tail]
        self._tail_size = len(tail)

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return self._head_size + self._tail_size

    @property
    def head(self) -> bytes:
        """The first bytes of the body."""
        if len(self._head) > 1:
            self._head = [b"".join(self._head)]
        return self._head[0] if self._head else b""

    @property
    def tail(self) -> bytes:
        """The last bytes of the body, none of them in `head`; a gap lies between if the body was long."""
        if len(self._tail) > 1 or self._tail_size > self._tail_limit:
            self._trim()
        return self._tail[0] if self._tail else b""

    @property
    def whole(self) -> bool:
        """Whether `head` and `tail` together are the body."""
        return len(self.head) + len(self.tail) == self.size

    def end(self) -> bytes:
        """The last bytes, wherever they are kept; enough to see how a stream ended."""
        tail = self.tail
        return tail if len(tail) >= 4096 else self.head[-16384:] + tail if self.whole else tail

"""Listens to a body with content codings, and keeps the two ends of the decoded body, however long it is.

A short body is decoded when its ends are asked for. A long one is decoded on the way, in a thread, `BATCH` bytes at a
time, so that neither the coded body nor the decoded one is held in memory.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from threading import Lock

from gateway.upstream.content_coding import Decoding
from gateway.upstream.tap import HEAD, TAIL, Tap

BATCH = 32 * 1024
"""Coded bytes that may wait to be decoded."""


class CodedTap(Tap):
    """`head`, `tail`, `opening` and `whole` are about the decoded body, `pieces` and `size` about the coded one.

    `failed` if the body could not be decoded to its end; then the ends are those of what was decoded.
    """

    __slots__ = ("_coded", "_coded_size", "_decoded", "_decoding", "_lock", "_pieces", "waiting")

    def __init__(
        self, codings: Sequence[bytes], head_limit: int = HEAD, tail_limit: int = TAIL, *, events: bool = False
    ) -> None:
        super().__init__(0, 0)
        self.waiting = 0  # coded bytes that are not decoded yet
        self._coded: deque[bytes] = deque()
        self._coded_size = 0
        self._pieces = 0
        self._decoded = Tap(head_limit, tail_limit, events=events)
        self._decoding = Decoding(codings, self._decoded.hear)
        self._lock = Lock()

    def hear(self, piece: bytes) -> None:
        self._pieces += 1
        self._coded_size += len(piece)
        if self._decoding.failed:
            return
        self._coded.append(piece)
        self.waiting += len(piece)
        if self.waiting >= BATCH:
            self.waiting = 0
            asyncio.get_running_loop().run_in_executor(None, self.decode)

    def decode(self) -> None:
        """Decode what has not been decoded yet. May be called in any thread."""
        with self._lock:
            while self._coded:
                self._decoding.write(self._coded.popleft())

    def _settled(self) -> Tap:
        self.waiting = 0
        self.decode()
        return self._decoded

    @property
    def failed(self) -> bool:
        self._settled()
        return self._decoding.failed

    @property
    def pieces(self) -> int:
        return self._pieces

    @property
    def size(self) -> int:
        return self._coded_size

    @property
    def decoded_size(self) -> int:
        return self._settled().size

    @property
    def kept(self) -> int:
        return self.waiting + self._decoded.kept

    @property
    def head(self) -> bytes:
        return self._settled().head

    @property
    def tail(self) -> bytes:
        return self._settled().tail

    @property
    def whole(self) -> bool:
        return self._settled().whole and not self._decoding.failed

    @property
    def opening(self) -> bytes:
        return self._settled().opening

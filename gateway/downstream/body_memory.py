"""Bounds the memory that large request bodies take, of all requests of this process together.

A buffered body stays in memory until its request is over: it may have to be sent again, and is read for the record. A
body that does not fit is refused before it is read: its client can retry, but a process that runs out of memory loses
all requests.
"""

from typing import Final

from gateway.errors import Overloaded, PayloadTooLarge

SMALL: Final = 1 << 20
"""Bytes up to which a body is not counted: the limit of concurrent requests bounds those."""

RETRY_AFTER: Final = 1  # seconds


class BodyMemory:
    """The budget: at most `max_bytes`, of which `held` are taken."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held = 0


class HeldBody:
    """The share of the budget that one request holds."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._held = 0

    def grow_to(self, size: int) -> None:
        """Hold a body of `size` bytes. Raises Overloaded if there is no room now, PayloadTooLarge if there never is."""
        memory = self._memory
        if size <= SMALL or size <= self._held:
            return
        if size > memory.max_bytes:
            raise PayloadTooLarge(f"The request body has more than the {memory.max_bytes} bytes kept in memory.")
        if memory.held - self._held + size > memory.max_bytes:
            raise Overloaded("There is no memory for a body of this size at the moment.", retry_after=RETRY_AFTER)
        memory.held += size - self._held
        self._held = size

    def release(self) -> None:
        """Give the share back."""
        self._memory.held -= self._held
        self._held = 0

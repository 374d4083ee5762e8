"""How much memory large request bodies take, of all requests of this process together.

A body that is held whole stays in memory until its request is over: it may have to be sent again, and is read for the
record. What does not fit is refused before it is read: a client can come again, but a process that is out of memory
takes everybody's requests along.
"""

from typing import Final

from gateway.errors import Overloaded, PayloadTooLarge

SMALL: Final = 1 << 20
"""Bytes up to which a body is not counted: the number of those is bounded by that of requests served at once."""

RETRY_AFTER: Final = 1  # seconds


class BodyMemory:
    """At most `most` bytes are held."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class HeldBody:
    """What one request holds of it."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._held = 0

    def grow_to(self, size: int) -> None:
        """Hold a body of `size` bytes. Raises Overloaded if there is no room now, PayloadTooLarge if there never is."""
        memory = self._memory
        if size <= SMALL or size <= self._held:
            return
        if size > memory.most:
            raise PayloadTooLarge(f"The request body has more than the {memory.most} bytes that are held in memory.")
        if memory.held - self._held + size > memory.most:
            raise Overloaded("There is no memory for a body of this size at the moment.", retry_after=RETRY_AFTER)
        memory.held += size - self._held
        self._held = size

    def release(self) -> None:
        """Hold nothing any more."""
        self._memory.held -= self._held
        self._held = 0

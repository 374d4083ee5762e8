"""Long work on the event loop, done in turns so that no request waits for it."""

import asyncio
from time import perf_counter

SECONDS = 0.001


class Turn:
    """`if turn.over(): await turn.next()` where the work can be left for a moment."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = perf_counter() + SECONDS

    def over(self) -> bool:
        return perf_counter() >= self._until

    async def next(self) -> None:
        """Let everything else that is ready run once."""
        await asyncio.sleep(0)
        self._until = perf_counter() + SECONDS

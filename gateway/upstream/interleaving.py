"""Several streams of text at once, as one.

Plain tasks and a queue rather than a task group: a group cancels the task that made it, which may then stand outside
of the workflow, where a `yield` has handed a delta on.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

Name = TypeVar("Name")

_AHEAD = 8
"""Deltas that may wait to be taken; after that the streams wait, and so do their providers."""


class Interleaved(Generic[Name]):
    """Opens every stream, gives `(name, delta)` as they come, and closes them all. Raises what the first one raises."""

    def __init__(self, streams: Mapping[Name, AbstractAsyncContextManager[AsyncIterator[str]]]) -> None:
        self._streams = streams
        self._queue: asyncio.Queue[tuple[Name, str] | BaseException | None] = asyncio.Queue(_AHEAD)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> AsyncIterator[tuple[Name, str]]:
        self._tasks = [asyncio.create_task(self._pump(name, stream)) for name, stream in self._streams.items()]
        return self._deltas()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deltas(self) -> AsyncIterator[tuple[Name, str]]:
        running = len(self._tasks)
        while running:
            match await self._queue.get():
                case None:
                    running -= 1
                case BaseException() as error:
                    raise error
                case named_delta:
                    yield named_delta

    async def _pump(self, name: Name, stream: AbstractAsyncContextManager[AsyncIterator[str]]) -> None:
        try:
            async with stream as deltas:
                async for delta in deltas:
                    await self._queue.put((name, delta))
        except Exception as error:
            await self._queue.put(error)
        else:
            await self._queue.put(None)

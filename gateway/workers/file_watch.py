"""Polls a file for changes, which works on every kind of mount."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.settings.file_state import FileState

LOOK_SECONDS = 0.5

logger = logging.getLogger("gateway")


@asynccontextmanager
async def watched(read: FileState, on_change: Callable[[], None], every: float = LOOK_SECONDS) -> AsyncIterator[None]:
    """Call `on_change` whenever a file has changed since it was `read`, and then stayed the same for one look."""
    watching = asyncio.create_task(_watch(read, on_change, every), name="file-watch")
    try:
        yield
    finally:
        watching.cancel()


async def _watch(known: FileState, on_change: Callable[[], None], every: float) -> None:
    before = known
    while True:
        await asyncio.sleep(every)
        now = FileState.of(known.path)
        if now != known and now == before:
            known = now
            logger.info("%s has changed", known.path)
            on_change()
        before = now

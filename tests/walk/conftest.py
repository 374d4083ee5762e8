"""Whole requests: the application as production runs it, a scripted upstream behind it, real sockets between."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.running import Running, Start, environ, run_gateway
from tests.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def start(upstream: ScriptedUpstream) -> AsyncIterator[Start]:
    """Starts a gateway before `upstream`; further variables as keywords."""
    async with AsyncExitStack() as stack:

        async def started(**more: str) -> Running:
            return await run_gateway(stack, environ(upstream.url, **more))

        yield started


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start()

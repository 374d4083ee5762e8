"""Whole requests: the application as production runs it, a scripted upstream behind it, real sockets between.

Where what a provider does is what matters, every request is walked on both roads to it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.running import Running, Start, environ, run_gateway
from tests.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


ON_BOTH_ROADS = {
    "test_canary",
    "test_circuit",
    "test_codings",
    "test_flow",
    "test_modes",
    "test_projects",
    "test_provider_errors",
    "test_provider_urls",
    "test_relay",
    "test_retries",
    "test_spending",
    "test_stream_ends",
    "test_tcp_keepalive",
    "test_upstream_failures",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "road" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in ON_BOTH_ROADS:
        metafunc.parametrize("road", ["direct", "session"])


@pytest.fixture
def road() -> str:
    return "auto"


@pytest.fixture
async def start(upstream: ScriptedUpstream, road: str) -> AsyncIterator[Start]:
    """Starts a gateway before `upstream`; further variables as keywords."""
    async with AsyncExitStack() as stack:

        async def started(**more: str) -> Running:
            return await run_gateway(stack, environ(upstream.url, **{"GATEWAY_UPSTREAM_ROAD": road, **more}))

        yield started


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start()

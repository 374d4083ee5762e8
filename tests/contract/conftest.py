"""Every test of the contract meets every road, and where a body is taken, every way to take it."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
from yarl import URL

from gateway.settings import Timeouts
from gateway.upstream.pool import Pool
from gateway.upstream.transport import Transport
from tests.contract.calling import PATIENT, ROADS, Open, Whole, read_whole, take_piecemeal, take_whole
from tests.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(params=list(ROADS))
def road(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def connect(road: str, upstream: ScriptedUpstream) -> AsyncIterator[Open]:
    """Opens a transport to `upstream`, or to `url`."""
    made: list[Transport] = []

    def opened(timeouts: Timeouts = PATIENT, pool_size: int = 10, url: str = "", pool: Pool | None = None) -> Transport:
        transport: Transport = ROADS[road](URL(url or upstream.url), timeouts, pool_size, pool)
        made.append(transport)
        return transport

    yield opened
    for transport in made:
        await transport.close()


@pytest.fixture(params=[read_whole, take_whole, take_piecemeal])
def whole(request: pytest.FixtureRequest) -> Whole:
    """A body can be read, or be handed over; it is the same one."""
    return cast(Whole, request.param)

"""Which road is taken, and that both share what belongs to the provider."""

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from gateway.telemetry.exchange import Road
from gateway.upstream.roads import roads
from gateway.upstream.transport import Outgoing, Transport
from tests.contract.calling import OK, PATIENT, a_call, get, pieces, post, read_whole, upload
from tests.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture(params=[None, Road.DIRECT, Road.SESSION])
async def forced(request: pytest.FixtureRequest) -> Road | None:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def transport(forced: Road | None, upstream: ScriptedUpstream) -> AsyncIterator[Transport]:
    made = roads(forced)(URL(upstream.url), PATIENT, 1)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("request_", "road"),
    [
        (get(), Road.DIRECT),
        (get(method="HEAD"), Road.DIRECT),
        (post(), Road.DIRECT),
        (upload(pieces(b"a"), 1), Road.SESSION),
        (upload(pieces(b"a")), Road.SESSION),
    ],
    ids=["no body", "HEAD", "whole body", "known length", "unknown length"],
)
async def test_a_body_that_is_streamed_takes_the_session_road(
    upstream: ScriptedUpstream, request_: Outgoing, road: Road
) -> None:
    transport, call = roads()(URL(upstream.url), PATIENT, 1), a_call()
    transport.send(request_, call)
    assert call.road is road
    await transport.close()


async def test_the_road_is_on_the_record_and_may_be_forced(transport: Transport, forced: Road | None) -> None:
    whole, streamed = a_call(), a_call()
    assert await read_whole(transport, post(), whole) == OK
    assert await read_whole(transport, upload(pieces(b"a")), streamed) == OK
    assert (whole.road, streamed.road) == ((forced, forced) if forced else (Road.DIRECT, Road.SESSION))


async def test_both_roads_share_one_pool(transport: Transport, upstream: ScriptedUpstream) -> None:
    for request in (post(), upload(pieces(b"a")), post(), upload(pieces(b"a"), 1), get()):
        async with transport.send(request, a_call()) as response:
            assert [piece async for piece in response.chunks()] == [OK]
            assert (transport.in_use, transport.idle, transport.waiting) == (1, 0, 0)
        assert (transport.in_use, transport.idle, transport.waiting) == (0, 1, 0)
    assert upstream.connections == 1

"""Connections to a provider between two requests: who gets which, and how long they are kept."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from yarl import URL

from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.direct import DirectTransport
from gateway.upstream.transport import Outgoing, field_lines
from tests.scripted import ScriptedUpstream, answer

Open = Callable[[int], DirectTransport]
GET = Outgoing("GET", b"/", field_lines([(b"host", b"x")]))


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def connect(upstream: ScriptedUpstream) -> AsyncIterator[Open]:
    made: list[DirectTransport] = []

    def to_upstream(pool_size: int) -> DirectTransport:
        made.append(DirectTransport(URL(upstream.url), Timeouts(), pool_size))
        return made[-1]

    yield to_upstream
    for transport in made:
        await transport.close()


async def ask(transport: DirectTransport) -> UpstreamCall:
    call = UpstreamCall("openai", "GET", "/", "a" * 16)
    async with transport.send(GET, call) as response:
        assert b"".join([chunk async for chunk in response.chunks()]) == b'{"ok":true}'
    return call


async def test_the_last_one_to_rest_is_the_first_to_be_used(connect: Open, upstream: ScriptedUpstream) -> None:
    transport = connect(10)
    await asyncio.gather(*(ask(transport) for _ in range(3)))
    assert (transport.in_use, transport.idle, upstream.connections) == (0, 3, 3)
    last = transport.pool._resting[-1][1]
    assert (await ask(transport)).reused_connection
    assert transport.pool._resting[-1][1] is last
    assert upstream.connections == 3


async def test_none_rests_for_longer_than_it_may(
    upstream: ScriptedUpstream,
) -> None:
    transport = DirectTransport(URL(upstream.url), Timeouts(pool_idle=0.1), 10)
    await asyncio.gather(*(ask(transport) for _ in range(3)))
    async with asyncio.timeout(5):
        while transport.idle:
            await asyncio.sleep(0.01)
    assert not (await ask(transport)).reused_connection
    assert upstream.connections == 4
    await transport.close()


async def test_whoever_waits_for_a_connection_gets_the_one_that_is_free(
    connect: Open, upstream: ScriptedUpstream
) -> None:
    transport = connect(1)
    calls = await asyncio.gather(*(ask(transport) for _ in range(5)))
    assert (upstream.connections, transport.waiting, transport.in_use) == (1, 0, 0)
    assert [call.waited_for_pool_ns > 0 for call in calls] == [False, True, True, True, True]


async def test_one_that_may_carry_no_further_request_does_not_rest(connect: Open, upstream: ScriptedUpstream) -> None:
    transport = connect(10)
    upstream.will(answer(b'{"ok":true}', "200 OK", "Connection: close"))
    await ask(transport)
    assert (transport.in_use, transport.idle) == (0, 0)
    assert not (await ask(transport)).reused_connection


async def test_a_body_that_is_here_need_not_be_read(connect: Open, upstream: ScriptedUpstream) -> None:
    transport = connect(10)
    upstream.will(answer(b"x" * 5000))
    async with transport.send(GET, UpstreamCall("openai", "GET", "/", "a" * 16)) as response:
        async with asyncio.timeout(5):
            while not response.ready:
                await asyncio.sleep(0.001)
        assert response.whole() == b"x" * 5000
    assert (transport.in_use, transport.idle) == (0, 1)
    assert (await ask(transport)).reused_connection

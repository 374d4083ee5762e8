"""TCP keep-alive on both sides of the gateway, read off the sockets that carry requests."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.process import Process
from tests.raw_http import connected
from tests.running import KEY, Start, environ
from tests.scripted import ScriptedUpstream, answer, pause, until_left
from tests.tcp import keepalive_of, seconds_to_probe

CHAT = "/provider/openai/v1/chat/completions"
SETTINGS = {"IDLE": "41", "INTERVAL": "7", "PROBES": "3"}
AS_SET = {f"GATEWAY_TCP_KEEPALIVE_{name}": value for name, value in SETTINGS.items()}


def towards(upstream: ScriptedUpstream, request: int = -1) -> tuple[int, ...]:
    """The gateway's socket that a request came to `upstream` on."""
    writer = upstream.requests[request].writer
    return keepalive_of(writer.get_extra_info("peername"), writer.get_extra_info("sockname"))


@pytest.mark.parametrize(("names", "expected"), [({}, (1, 60, 15, 4)), (AS_SET, (1, 41, 7, 3))])
async def test_client_connections_are_probed(start: Start, names: dict[str, str], expected: tuple[int, ...]) -> None:
    gateway = await start(**names)
    async with connected(gateway.port) as client:
        await client.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response()).status == 200
        local = client._writer.get_extra_info("sockname")
        assert keepalive_of(("127.0.0.1", gateway.port), local) == expected


@pytest.mark.parametrize(("names", "expected"), [({}, (1, 60, 15, 4)), (AS_SET, (1, 41, 7, 3))])
async def test_provider_connections_are_probed_in_use_and_in_the_pool(
    start: Start, upstream: ScriptedUpstream, names: dict[str, str], expected: tuple[int, ...]
) -> None:
    gateway = await start(**names)
    upstream.will(pause(0.2), answer())
    asking = asyncio.create_task(posted(gateway.session))
    await upstream.received()
    assert towards(upstream) == expected
    await asking
    assert towards(upstream) == expected  # it rests now
    await posted(gateway.session)
    assert upstream.connections == 1
    assert towards(upstream) == expected


async def test_an_idle_time_of_0_leaves_it_to_the_system(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_TCP_KEEPALIVE_IDLE="0")
    await posted(gateway.session)
    assert towards(upstream)[0] == 0


async def test_a_gateway_of_its_own_probes_both_sides(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    names = environ(upstream.url)
    del names["GATEWAY_PORT"]
    upstream.will(until_left())
    async with Process(tmp_path, names) as process, connected(process.port) as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 0\r\n\r\n")
        writer = (await upstream.received()).writer
        from_gateway = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        to_client = ("127.0.0.1", process.port), client._writer.get_extra_info("sockname")
        for local, peer in (from_gateway, to_client):
            async with asyncio.timeout(5):
                while (left := seconds_to_probe(local, peer)) is None:  # what was sent is not acknowledged yet
                    await asyncio.sleep(0.01)
            assert 0 < left <= 60


async def posted(session: ClientSession) -> None:
    async with session.post(CHAT, json={}) as response:
        assert response.status == 200
        await response.read()

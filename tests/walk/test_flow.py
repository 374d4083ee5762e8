"""Bodies of any size go through in little memory, and nobody sends what is not wanted."""

import asyncio
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.process import Process
from tests.running import KEY, Running, environ
from tests.scripted import Received, ScriptedUpstream, answer, begin, end, flood, until_left

MIB = 1 << 20
SLACK = 60 * MIB  # buffers of sockets and allocator
UPLOAD = "/provider/openai/v1/audio/transcriptions"
CHAT = "/provider/openai/v1/chat/completions"


@pytest.fixture
async def process(tmp_path: Path, upstream: ScriptedUpstream, road: str) -> AsyncIterator[Process]:
    names = environ(upstream.url, GATEWAY_UPSTREAM_ROAD=road)
    del names["GATEWAY_PORT"]
    async with Process(tmp_path, names) as running:
        yield running


def resident(process: Process) -> int:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_200_mb_up_in_flat_memory(process: Process, upstream: ScriptedUpstream) -> None:
    size, piece = 200 * MIB, b"x" * (256 * 1024)
    upstream.read_bodies = False
    taken, most = 0, 0

    async def swallow(request: Received) -> None:
        nonlocal taken, most
        while taken < size:
            taken += len(await request.reader.read(MIB))
            most = max(most, resident(process))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(piece)):
            yield piece

    upstream.will(swallow, answer())
    before = resident(process)
    fields = {"X-API-Key": KEY, "Content-Type": "audio/wav", "Content-Length": str(size)}
    async with aiohttp.ClientSession() as session:
        async with session.post(process.url + UPLOAD, data=pieces(), headers=fields) as response:
            assert response.status == 200
    assert taken == size
    assert most - before < SLACK


async def test_500_mb_to_a_client_that_stalls_in_flat_memory(process: Process, upstream: ScriptedUpstream) -> None:
    size = 500 * MIB
    upstream.will(begin(kind="application/octet-stream"), flood(size), end())
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port, limit=65536)
    before = resident(process)
    writer.write(f"GET /provider/openai/v1/files/f/content HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1)  # this is the stall
    assert resident(process) - before < SLACK
    received = 0
    while received < size:
        received += len(await reader.read(MIB))
    assert resident(process) - before < SLACK
    writer.close()


async def test_an_upload_is_as_slow_as_its_upstream(process: Process, upstream: ScriptedUpstream) -> None:
    """The upstream takes nothing: the client is held back after a few buffers, and leaving frees the upstream."""
    upstream.read_bodies = False
    gone = asyncio.Event()

    async def take_nothing(request: Received) -> None:
        await asyncio.sleep(0.5)
        await until_left()(request)
        gone.set()

    upstream.will(take_nothing)
    _, writer = await asyncio.open_connection("127.0.0.1", process.port)
    head = f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {500 * MIB}\r\n\r\n"
    writer.write(head.encode())
    sent = 0
    try:
        async with asyncio.timeout(0.5):
            while sent < 500 * MIB:
                writer.write(b"x" * MIB)
                await writer.drain()
                sent += MIB
    except TimeoutError:
        pass
    assert sent < 60 * MIB
    writer.transport.abort()
    await asyncio.wait_for(gone.wait(), 5)


@pytest.mark.parametrize(
    ("path", "key", "length", "status"),
    [(CHAT, "wrong", 10, b"401"), (CHAT, KEY, 1 << 40, b"413"), ("/nowhere", KEY, 10, b"404")],
)
async def test_a_refusal_costs_no_upload(gateway: Running, path: str, key: str, length: int, status: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    answered = await asyncio.wait_for(reader.read(), 10)
    assert answered.split(b" ")[1] == status
    assert b"100 Continue" not in answered
    writer.close()


async def test_a_body_that_is_wanted_is_invited(gateway: Running, upstream: ScriptedUpstream) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode()
    )
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not upstream.requests
    writer.write(b"{}")
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
    assert "expect" not in (await upstream.received()).fields
    writer.close()

"""The mock as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.test_utils import unused_port


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.mock_upstream", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_tells_its_address_in_one_line_and_ends_cleanly_when_told_to() -> None:
    async with asyncio.timeout(15), started("--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("mock upstream on http://127.0.0.1:")
        headers = {"x-mock-stall-after": "1"}
        body = {"model": "m", "messages": [], "stream": True}
        async with aiohttp.ClientSession(line.split()[-1]) as session:
            async with session.get("/health") as response:
                assert response.status == 200
            async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
                await response.content.readany()  # a stream is open, and would be for ever
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
        assert await process.stdout.read() == b""
        assert await process.stderr.read() == b""


async def test_a_port_that_cannot_be_is_told() -> None:
    async with asyncio.timeout(15), started("--port", "65536") as process:
        assert process.stderr is not None
        assert await process.wait() == 2
        assert "argument --port: invalid" in (await process.stderr.read()).decode()


async def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    port = unused_port()
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    async with asyncio.timeout(15), taken, started("--port", str(port)) as process:
        assert process.stderr is not None
        assert await process.wait() == 1
        (line,) = (await process.stderr.read()).decode().splitlines()
        assert f"127.0.0.1:{port}" in line

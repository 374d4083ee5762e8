"""Gateways that share their limits and tickets through Redis, as processes of their own."""

import asyncio
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.integration.redis_server import PASSWORD, RedisServer
from tests.process import Process
from tests.running import KEY, environ
from tests.scripted import ScriptedUpstream, begin, end, event, until_left

pytestmark = pytest.mark.integration

CHAT = "/provider/openai/v1/chat/completions"
BODY = {"model": "m", "messages": [], "max_tokens": 10}
SECRET = secrets.token_urlsafe(32)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


class Pair:
    """Two gateways before one upstream."""

    def __init__(self, processes: list[Process], sessions: list[aiohttp.ClientSession]) -> None:
        self.processes = processes
        self.sessions = sessions

    async def status(self, which: int) -> int:
        async with self.sessions[which].post(CHAT, json=BODY) as response:
            await response.read()
            return response.status

    async def undecided(self) -> float:
        told = 0.0
        for session in self.sessions:
            async with session.get("/metrics") as response:
                lines = (await response.text()).splitlines()
            told += sum(float(line.split()[1]) for line in lines if line.startswith("gateway_limits_undecided_total"))
        return told


async def pair(
    stack: AsyncExitStack, folder: Path, upstream: ScriptedUpstream, server: RedisServer, **more: str
) -> Pair:
    names = environ(upstream.url, GATEWAY_REDIS_URL=server.url.reveal(), GATEWAY_TICKET_SECRET=SECRET, **more)
    del names["GATEWAY_PORT"]
    processes = [await stack.enter_async_context(Process(folder, names)) for _ in range(2)]
    sessions = [
        await stack.enter_async_context(
            aiohttp.ClientSession(process.url, headers={"X-API-Key": KEY}, connector=aiohttp.TCPConnector(limit=0))
        )
        for process in processes
    ]
    return Pair(processes, sessions)


@pytest.mark.parametrize("limits", ["key: 100 requests/hour", "key: 100 requests/hour, 100000000 tokens/hour"])
async def test_of_a_thousand_requests_over_two_gateways_exactly_a_hundred_pass(
    tmp_path: Path, upstream: ScriptedUpstream, limits: str
) -> None:
    with RedisServer() as server:
        async with AsyncExitStack() as stack:
            both = await pair(
                stack,
                tmp_path,
                upstream,
                server,
                GATEWAY_RATE_LIMITS=limits,
                GATEWAY_RATE_LIMIT_ON_FAILURE="closed",
                GATEWAY_REDIS_TIMEOUT="5",  # what is tested is who passes, not how busy this machine is
            )
            statuses = Counter(await asyncio.gather(*(both.status(number % 2) for number in range(1000))))
            assert statuses == {200: 100, 429: 900}
            assert len(upstream.requests) == 100
            assert await both.undecided() == 0
            assert all(PASSWORD.encode() not in process.written for process in both.processes)


@pytest.mark.parametrize(("on_failure", "status"), [("open", 200), ("closed", 503)])
async def test_without_redis_the_setting_decides_and_it_is_counted(
    tmp_path: Path, upstream: ScriptedUpstream, on_failure: str, status: int
) -> None:
    with RedisServer() as server:
        async with AsyncExitStack() as stack:
            both = await pair(
                stack,
                tmp_path,
                upstream,
                server,
                GATEWAY_RATE_LIMITS="key: 5 requests/hour",
                GATEWAY_RATE_LIMIT_ON_FAILURE=on_failure,
            )
            assert [await both.status(number % 2) for number in range(6)] == [200] * 5 + [429]
            server.kill()
            assert [await both.status(number % 2) for number in range(20)] == [status] * 20
            assert await both.undecided() == 20


async def test_places_of_a_gateway_that_was_killed_come_back(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    with RedisServer() as server:
        async with AsyncExitStack() as stack:
            both = await pair(
                stack,
                tmp_path,
                upstream,
                server,
                GATEWAY_RATE_LIMITS="key: 1 concurrent",
                GATEWAY_RATE_LIMIT_LEASE="1",
            )
            upstream.will(begin(), event(b"{}"), until_left())
            held = await both.sessions[0].post(CHAT, json={**BODY, "stream": True})
            assert held.status == 200
            assert await both.status(1) == 429
            both.processes[0].signal(signal.SIGKILL)
            async with asyncio.timeout(10):
                while await both.status(1) != 200:
                    await asyncio.sleep(0.05)
            held.close()


async def test_a_ticket_bought_at_one_gateway_is_good_at_the_other_once(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    with RedisServer() as server:
        async with AsyncExitStack() as stack:
            both = await pair(stack, tmp_path, upstream, server)
            asked = {"path": f"{CHAT}?stream_mode=sse", "body": BODY}
            async with both.sessions[0].post("/tickets", json=asked) as bought:
                url = (await bought.json())["url"]
            upstream.will(begin(), event(b'{"choices":[]}'), event(b"[DONE]"), end())
            statuses = []
            for process in (both.processes[1], both.processes[0]):
                async with aiohttp.ClientSession(process.url) as browser, browser.get(url) as response:
                    await response.read()
                    statuses.append(response.status)
    assert statuses == [200, 204]

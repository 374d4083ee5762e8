"""A provider that keeps failing is left alone for a while, and everybody can see it."""

import asyncio
import time

import pytest
from aiohttp import ClientSession

from tests.running import OTHER_KEY, Running, Start
from tests.scripted import Received, ScriptedUpstream, answer, begin, end, event, pause, until_left

CHAT = "/provider/openai/v1/chat/completions"
SENSITIVE = {"GATEWAY_CIRCUIT_FAILURES": "3", "GATEWAY_CIRCUIT_SECONDS": "0.5"}
ROLES = ("POINTS", "WRITER", "JUDGE", "CANDIDATE_1", "CANDIDATE_2")
DEMO = {"GATEWAY_PROJECTS": "demo", **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ROLES}}


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start(**SENSITIVE)


async def asked(gateway: Running, path: str = CHAT) -> tuple[int, str | None]:
    """The status, and the gateway's own error if it is one."""
    async with gateway.session.post(path, json={}) as response:
        await response.read()
        return response.status, response.headers.get("x-gateway-error")


async def fail(gateway: Running, upstream: ScriptedUpstream, times: int = 3) -> None:
    for _ in range(times):
        upstream.will(answer(b"{}", "503 Busy"))
        assert await asked(gateway) == (503, None)


async def metrics(gateway: Running) -> dict[str, float]:
    async with gateway.session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def state(gateway: Running) -> str:
    figures = await metrics(gateway)
    states = ("closed", "open", "half_open")
    (now,) = [each for each in states if figures[f'gateway_upstream_circuits{{provider="openai",state="{each}"}}'] == 1]
    return now


async def test_a_provider_that_keeps_failing_is_answered_for_at_once(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    await fail(gateway, upstream)
    assert await state(gateway) == "open"
    async with gateway.session.post(CHAT, json={}) as refused:
        assert refused.status == 503
        assert (await refused.json())["error"]["code"] == "circuit_open"
        assert refused.headers["Retry-After"] == "1"
        assert "x-should-retry" not in refused.headers
    assert len(upstream.requests) == 3
    assert gateway.exchanges[-1].calls == []
    assert await asked(gateway, "/provider/anthropic/v1/messages") == (200, None)


async def test_after_a_while_it_is_called_again_and_is_back(gateway: Running, upstream: ScriptedUpstream) -> None:
    await fail(gateway, upstream)
    upstream.will(answer(b"{}", "500 Oh"))
    async with asyncio.timeout(5):
        while await asked(gateway) != (500, None):
            await asyncio.sleep(0.05)
    assert await asked(gateway) == (503, "circuit_open")
    async with asyncio.timeout(5):
        while await asked(gateway) != (200, None):
            await asyncio.sleep(0.05)
    assert await state(gateway) == "closed"
    assert (await metrics(gateway))['gateway_upstream_circuit_openings_total{provider="openai"}'] == 1
    await fail(gateway, upstream, 2)
    assert await asked(gateway) == (200, None)


async def test_only_one_call_is_let_through_to_see(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_CIRCUIT_FAILURES="3", GATEWAY_CIRCUIT_SECONDS="2")
    await fail(gateway, upstream)
    others_told = asyncio.Event()

    async def until_others_are_told(_: Received) -> None:
        await asyncio.wait_for(others_told.wait(), 5)

    upstream.will(until_others_are_told, answer())
    while await state(gateway) == "open":
        seeing = asyncio.create_task(asked(gateway))
        await asyncio.wait((seeing, asyncio.create_task(asyncio.sleep(0.1))), return_when=asyncio.FIRST_COMPLETED)
    assert await asyncio.gather(*(asked(gateway) for _ in range(10))) == [(503, "circuit_open")] * 10
    others_told.set()
    assert await seeing == (200, None)
    assert len(upstream.requests) == 4


async def test_a_provider_that_is_not_there_is_found_out(start: Start, unused_tcp_port: int) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=f"http://127.0.0.1:{unused_tcp_port}", **SENSITIVE)
    assert [await asked(gateway) for _ in range(4)] == [(502, "upstream_unreachable")] * 3 + [(503, "circuit_open")]


async def test_one_that_does_not_answer_is_found_out(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_FIRST_BYTE_TIMEOUT="0.1", **SENSITIVE)
    for _ in range(3):
        upstream.will(until_left())
    assert [await asked(gateway) for _ in range(3)] == [(504, "upstream_timeout")] * 3
    began = time.monotonic()
    assert await asked(gateway) == (503, "circuit_open")
    assert time.monotonic() - began < 0.1


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "404 No", "429 Slow", "501 No"])
async def test_one_that_refuses_is_well(gateway: Running, upstream: ScriptedUpstream, status: str) -> None:
    for _ in range(6):
        upstream.will(answer(b"{}", status))
        assert await asked(gateway) == (int(status[:3]), None)
    assert await asked(gateway) == (200, None)


async def test_streams_under_way_are_not_touched(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_CIRCUIT_FAILURES="3", GATEWAY_CIRCUIT_SECONDS="60")
    upstream.will(begin(), event(b"1"), pause(0.3), event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        await fail(gateway, upstream)
        assert await state(gateway) == "open"
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_workflows_are_told_as_well(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_CIRCUIT_FAILURES="3", GATEWAY_CIRCUIT_SECONDS="60", **DEMO)
    await fail(gateway, upstream)
    async with gateway.session.post("/projects/demo/summary", json={"text": "words"}) as response:
        assert response.status == 503
        assert (await response.json())["code"] == "circuit_open"
        assert int(response.headers["Retry-After"]) > 50


async def test_it_can_be_switched_off_for_all_or_for_one(start: Start, upstream: ScriptedUpstream) -> None:
    for more in ({"GATEWAY_CIRCUIT_FAILURES": "0"}, {**SENSITIVE, "GATEWAY_PROVIDER_OPENAI_CIRCUIT_FAILURES": "0"}):
        gateway = await start(**more)
        await fail(gateway, upstream, 10)


async def test_a_few_failures_are_nothing_by_default(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start()
    await fail(gateway, upstream, 49)
    assert await state(gateway) == "closed"
    assert await asked(gateway) == (200, None)
    await fail(gateway, upstream, 50)
    assert await state(gateway) == "open"


async def test_readiness_tells_how_many_and_to_a_key_which(gateway: Running, upstream: ScriptedUpstream) -> None:
    await fail(gateway, upstream)
    async with ClientSession() as stranger, stranger.get(gateway.url + "/readyz?verbose") as response:
        assert response.status == 200
        circuits = {"closed": 2, "open": 1, "half_open": 0}
        assert await response.json() == {"status": "ready", "circuits": circuits}
    async with ClientSession() as stranger, stranger.get(gateway.url + "/readyz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with gateway.session.get("/readyz?verbose") as response:
        assert (await response.json())["providers"] == {
            "openai": {"circuit": "open", "calls": 0},
            "anthropic": {"circuit": "closed", "calls": 0},
            "gemini": {"circuit": "closed", "calls": 0},
        }
    async with gateway.session.get("/readyz?verbose", headers={"X-API-Key": OTHER_KEY}) as response:
        assert list((await response.json())["providers"]) == ["anthropic"]
    async with gateway.session.get("/readyz?verbose", headers={"X-API-Key": "wrong"}) as response:
        assert response.status == 200
        assert "providers" not in await response.json()

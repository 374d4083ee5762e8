"""A provider that keeps failing is left alone for a while, and everybody can see it."""

import asyncio
import io
import time

import pytest
from aiohttp import ClientSession

from gateway.telemetry.exchange import Outcome
from gateway.upstream import heads
from tests.raw_http import connected
from tests.running import KEY, OTHER_KEY, Running, Start
from tests.scripted import (
    Received,
    ScriptedUpstream,
    Step,
    answer,
    begin,
    close,
    end,
    event,
    pause,
    reset,
    send,
    until_left,
)

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


# What one client's request can provoke, or what is our own doing, closes no provider to the others.

SHAKY = {"GATEWAY_CIRCUIT_FAILURES": "1", "GATEWAY_CIRCUIT_SECONDS": "60"}
MODELS = "/provider/openai/v1/models"


async def still_well(gateway: Running) -> bool:
    """Whether one failure would have opened the circuit, and has not."""
    return await state(gateway) == "closed" and await asked(gateway) == (200, None)


async def test_a_connection_that_ends_before_an_answer_counts(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**SHAKY)
    upstream.will(close())
    assert await asked(gateway) == (502, "upstream_error")
    assert await state(gateway) == "open"


async def test_a_head_that_is_answered_with_a_body_is_no_failure(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**SHAKY)
    for _ in range(3):
        upstream.will(answer(b"x" * 1000, "200 OK", "X-Theirs: 1"))
        async with gateway.session.head(MODELS) as response:
            assert (response.status, response.headers["Content-Length"]) == (200, "1000")
            assert response.headers["X-Theirs"] == "1"
            assert "x-gateway-error" not in response.headers
    assert await still_well(gateway)
    assert upstream.connections == 4  # none of them was used again
    assert [exchange.outcome for exchange in gateway.exchanges if exchange.method == "HEAD"] == [Outcome.COMPLETE] * 3


@pytest.mark.parametrize(
    "script",
    [
        (send(b"not HTTP\r\n\r\n"),),
        (send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),),
        (send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),),
        (send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),),
    ],
    ids=["no HTTP", "101", "two lengths", "a coding"],
)
async def test_an_answer_that_cannot_be_passed_on_says_nothing(
    start: Start, upstream: ScriptedUpstream, script: tuple[Step, ...]
) -> None:
    gateway = await start(**SHAKY)
    upstream.will(*script, until_left())
    status, code = await asked(gateway)
    assert (status, code) in {(502, "upstream_error"), (504, "upstream_timeout")}
    assert await still_well(gateway)


async def test_an_idle_connection_that_ends_says_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**SHAKY)
    assert await asked(gateway) == (200, None)
    upstream.will(close())
    assert await asked(gateway) == (502, "upstream_error")
    assert await still_well(gateway)


async def test_a_client_that_leaves_says_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**SHAKY)
    upstream.will(until_left())
    upstream.will(begin(), event(b"1"), until_left())
    post = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 2\r\n\r\n{{}}"
    async with connected(gateway.port) as client:
        await client.send(post)
        await upstream.received()
        client.leave()
    async with connected(gateway.port) as client:
        await client.send(post)
        await client.interim()
        client.leave()
    for number in (1, 2):
        await asyncio.wait_for((await upstream.received(number)).closed.wait(), 5)
    assert await still_well(gateway)


BAD_UPLOADS = {
    "leaves": ("Transfer-Encoding: chunked", "5\r\nab"),
    "leaves early": ("Content-Length: 20000000", "ab"),
    "bad framing": ("Transfer-Encoding: chunked", "5\r\nabcde\r\nno size\r\n"),
    "too much": ("Transfer-Encoding: chunked", "3000\r\n" + "x" * 0x3000 + "\r\n" + "3000\r\n" + "x" * 0x3000 + "\r\n"),
}


@pytest.mark.parametrize("named", BAD_UPLOADS)
async def test_an_upload_that_is_broken_says_nothing(start: Start, named: str) -> None:
    framing, body = BAD_UPLOADS[named]
    limit = "20000" if named == "too much" else "30000000"
    async with ScriptedUpstream(read_bodies=False) as upstream:
        gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=upstream.url, GATEWAY_MAX_UPLOAD_BYTES=limit, **SHAKY)
        for _ in range(2):
            upstream.will(until_left())
        async with connected(gateway.port) as client:
            head = f"POST /provider/openai/v1/files HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{framing}\r\n\r\n"
            await client.send(head, body, 0.1)
            if named.startswith("leaves"):
                client.leave()
            else:
                assert (await client.response()).status in (400, 413)
        await gateway.exchange()
        assert await state(gateway) == "closed"


async def test_a_large_request_that_is_broken_off_says_nothing(start: Start) -> None:
    async with ScriptedUpstream(read_bodies=False) as upstream:
        gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=upstream.url, **SHAKY)
        upstream.will(pause(0.05), reset())
        body = io.BytesIO(b'"' + b"x" * (24 << 20) + b'"')
        async with gateway.session.post(CHAT, data=body, headers={"Content-Type": "application/json"}) as response:
            assert (response.status, response.headers["x-gateway-error"]) == (502, "upstream_error")
        assert await state(gateway) == "closed"


async def test_a_pool_that_is_full_says_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(
        GATEWAY_POOL_SIZE="1",
        GATEWAY_PROVIDER_OPENAI_MAX_CONCURRENT="5",
        GATEWAY_CONNECT_TIMEOUT="0.2",
        **SHAKY,
    )
    upstream.will(begin(), event(b"1"), pause(0.6), event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert await asked(gateway) == (504, "upstream_timeout")
        await response.read()
    assert await still_well(gateway)


async def test_a_deadline_of_the_client_says_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**SHAKY)
    upstream.will(until_left())
    async with gateway.session.post(CHAT, json={}, headers={"X-Gateway-Deadline": "0.2"}) as response:
        assert response.headers["x-gateway-error"] == "deadline_exceeded"
    assert await still_well(gateway)


async def test_a_fault_of_ours_says_nothing_and_is_no_clients_leaving(
    start: Start, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start(**SHAKY)

    def broken(*_: object) -> None:
        raise TypeError("a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(heads, "write", broken)
        assert await asked(gateway) == (500, "internal_error")
    (call,) = (await gateway.exchange()).calls
    assert (call.outcome, call.error) == (Outcome.FAULT, "internal_error")
    assert await still_well(gateway)

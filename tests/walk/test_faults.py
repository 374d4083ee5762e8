"""A fault of the gateway's own, wherever it happens, ends in an answer or a closed connection, never in silence."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.downstream import connection, cors, head, known_request
from gateway.downstream.guarded_request import GuardedRequest
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.runner import GuardedServer
from gateway.downstream.stream import Outflow
from gateway.telemetry.exchange import Outcome
from gateway.upstream import known_response, protocol
from gateway.wire import shape
from tests.guarded_app import BROAD, GOOD, assert_serves_on, on_both_loops, served
from tests.raw_http import RawClient, connected
from tests.running import KEY, Start
from tests.scripted import ScriptedUpstream, begin, end, event, pause, send

CHAT = "/provider/openai/v1/chat/completions"


class Fault(Exception):
    """A bug; its text is as secret as what it quotes."""


def failing(*_: Any, **__: Any) -> Any:
    raise Fault(KEY)


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


async def post(client: RawClient, more: str = "") -> int:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n{more}Content-Type: application/json\r\n"
    await client.send(f"{head}Content-Length: 2\r\n\r\n{{}}")
    return (await client.response()).status


RECOGNIZERS = {
    "a request or response": (shape.Shapes, "find"),
    "a head that is repeated": (known_request, "Said"),
    "whether a request is the one parsed": (known_request, "_check"),
    "whether a request can be learned": (known_request, "is_whole"),
    "what the head of a request holds": (head.Heads, "_where"),
    "whether a response can be learned": (protocol, "learn"),
    "a response's layout": (known_response, "layout_of"),
    "a response": (protocol.UpstreamProtocol, "_receive_known"),
}


@pytest.mark.parametrize("what", RECOGNIZERS)
async def test_what_recognizing_fails_at_a_parser_reads(
    start: Start, what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    owner, name = RECOGNIZERS[what]
    monkeypatch.setattr(owner, name, failing)
    gateway = await start()
    async with connected(gateway.port) as client:
        assert [await post(client) for _ in range(6)] == [200] * 6
    count = gateway.gateway.fallbacks.count
    assert count > 1
    async with gateway.session.get("/metrics") as response:
        (line,) = [line for line in (await response.text()).splitlines() if line.startswith("gateway_recognition")]
    assert float(line.split()[1]) >= count
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "recognizing a message failed" in record.getMessage()
    assert "Fault" in record.getMessage() and KEY not in record.getMessage() and record.exc_info is None


async def test_chunks_that_recognizing_fails_at_a_parser_reads(
    start: Start, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    expected = b'data: {"choices":[]}\n\ndata: [DONE]\n\n'

    async def streamed() -> bytes:
        upstream.will(begin(), event(b'{"choices":[]}'), event(b"[DONE]"), end())
        async with gateway.session.post(CHAT, json={}) as response:
            return await response.read()

    assert [await streamed() for _ in range(3)] == [expected] * 3
    monkeypatch.setattr(protocol, "walk", failing)
    assert [await streamed() for _ in range(3)] == [expected] * 3
    assert gateway.gateway.fallbacks.count > 0


@pytest.mark.parametrize("path", [CHAT, "/livez", "/nothing"])
async def test_a_signal_that_fails_is_a_500(start: Start, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(request: web.Request, response: web.StreamResponse) -> None:
        raise Fault

    monkeypatch.setattr(cors, "_vary", fail)
    gateway = await start(GATEWAY_CORS_ORIGINS="https://app.example.com")
    for number in range(4):
        async with gateway.session.post(path, json={}) as response:
            assert response.status == 500
            assert response.headers["x-gateway-error"] == "internal_error"
        exchange = await gateway.exchange(number + 1)
        assert (exchange.status, exchange.outcome, exchange.error) == (500, Outcome.FAULT, "internal_error")


CONNECTIONS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "judging a head": (connection, "objection_to", failing),
    "making a request": (GuardedRequest, "__init__", failing),
    "answering a fault": (RelayedResponse, "prepare", failing),
    "refusing": (GuardedServer, "refusal", failing),
}


@pytest.mark.parametrize("what", CONNECTIONS)
@on_both_loops
async def test_what_fails_without_an_answer_closes_the_connection(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(BROAD) as it:
        with monkeypatch.context() as patched:
            patched.setattr(*CONNECTIONS[what])
            for _ in range(2):
                async with connected(it.port) as client:
                    await client.send(GOOD.replace(b"/echo", b"/fail"))
                    assert await client.rest() == b""
        assert "a connection failed" in caplog.text
        await assert_serves_on(it)


@on_both_loops
async def test_a_fault_while_a_request_is_served_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(BROAD) as it, connected(it.port) as client:
        await client.send(GOOD.replace(b"/echo", b"/hang"))
        await it.started.wait()
        monkeypatch.setattr(connection, "objection_to", failing)
        await client.send(GOOD)
        assert await client.rest() == b""
        async with asyncio.timeout(5):
            while not it.left_at:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("road", ["direct", "session"])
@pytest.mark.parametrize("place", ["feed_data", "data_received"])
async def test_a_fault_while_a_provider_answers_is_an_answer(
    start: Start, road: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    monkeypatch.setattr(protocol.UpstreamProtocol, place, failing)
    async with connected(gateway.port) as client:
        assert await post(client) == 500


async def test_a_fault_while_a_stream_is_passed_on_breaks_it_off(
    start: Start, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    takes, taken = iter((Outflow.take, failing)), event(b'{"choices":[]}')
    upstream.will(begin(), taken, pause(0.1), taken, pause(0.1), event(b"[DONE]"), end())
    monkeypatch.setattr(Outflow, "take", lambda *given: next(takes, failing)(*given))
    async with connected(gateway.port) as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 0\r\n\r\n")
        received = await client.rest()
    assert received.startswith(b"HTTP/1.1 200 ") and b"[DONE]" not in received
    assert not received.endswith(b"\r\n0\r\n\r\n")
    assert (await gateway.exchange()).outcome is not Outcome.COMPLETE


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 40"])
async def test_a_fault_at_the_last_piece_of_a_body_breaks_it_off(
    start: Start, upstream: ScriptedUpstream, framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    chunked = framing.startswith("Transfer")
    first, last = (b"14\r\n%b\r\n", b"14\r\n%b\r\n0\r\n\r\n") if chunked else (b"%b", b"%b")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{framing}\r\n\r\n".encode()
    take, count = Outflow.take, 0

    def failing_at_the_last(*given: Any) -> bool:
        nonlocal count
        count += 1
        return take(*given) if count % 2 else failing()

    monkeypatch.setattr(Outflow, "take", failing_at_the_last)
    for _ in range(4):  # parsed, then recognized
        count = 0
        upstream.will(send(head), pause(0.05), send(first % (b"a" * 20)), pause(0.05), send(last % (b"b" * 20)))
        async with connected(gateway.port) as client:
            await client.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 0\r\n\r\n")
            received = await client.rest()
        assert b"a" * 20 in received and b"b" * 20 not in received
        assert not received.endswith(b"0\r\n\r\n")
    assert {exchange.outcome for exchange in gateway.exchanges} == {Outcome.FAULT}


async def test_a_fault_before_anything_was_passed_on_is_an_answer(
    start: Start, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(4):
        upstream.will(send(head + b'16\r\ndata: {"choices":[]}\n\n\r\n'), pause(0.1), end())
    monkeypatch.setattr(Outflow, "take", failing)
    async with connected(gateway.port) as client:
        assert [await post(client) for _ in range(4)] == [500] * 4
    assert (await gateway.exchange()).outcome is Outcome.FAULT


@on_both_loops
async def test_a_repeated_field_is_answered_each_time() -> None:
    async with served(BROAD) as it, connected(it.port) as client:
        for number in range(6):
            fields = f"X-A: {number}\r\nX-B: 1\r\nx-a: b{number}\r\nContent-Length: 0\r\n\r\n"
            await client.send(f"POST /echo HTTP/1.1\r\nHost: gateway\r\n{fields}")
            answer = await client.response()
            assert answer.status == 200
            assert f'["X-A", "{number}"], ["X-B", "1"], ["x-a", "b{number}"]'.encode() in answer.body

"""When a stream is complete: the client and the record see the same end, of each API and on either road."""

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import pytest

from gateway.telemetry.exchange import Outcome
from gateway.wire import shape
from tests.raw_http import RawClient, connected
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream, Step, answer, begin, chunk, close, end, pause, send, until_left

CHAT = "/provider/openai/v1/chat/completions"
COMPLETIONS = "/provider/openai/v1/completions"
RESPONSES = "/provider/openai/v1/responses"
MESSAGES = "/provider/anthropic/v1/messages"
GENERATE = "/provider/gemini/v1beta/models/m:streamGenerateContent"
DONE = b"data: [DONE]\n\n"
COMPLETE, TRUNCATED, GONE = Outcome.COMPLETE, Outcome.UPSTREAM_TRUNCATED, Outcome.CLIENT_GONE


def events(*documents: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


def said(text: str, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]}


def finished(index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
ERROR = b'{"error":{"message":"theirs","type":"server_error"}}'
BEGUN = {"type": "response.created", "response": {"id": "r", "model": "m"}}
SHORT, LONG = [said("a"), said("b", 1), finished(1)], [said("c" * 60)] * 1000
STREAMS: dict[str, tuple[str, bytes, Outcome]] = {
    "a marker": (CHAT, events(said("a"), finished()) + DONE, COMPLETE),
    "a finish": (CHAT, events(said("a"), finished()), COMPLETE),
    "a finish and usage": (CHAT, events(said("a"), finished(), USAGE), COMPLETE),
    "no finish": (CHAT, events(said("a")), TRUNCATED),
    "one of two choices": (CHAT, events(said("a"), said("b", 1), finished()), TRUNCATED),
    "both choices": (CHAT, events(said("a"), said("b", 1), finished(1), finished()), COMPLETE),
    "a choice that finished long ago": (CHAT, events(*SHORT, *LONG, finished()), COMPLETE),
    "a choice that goes on": (CHAT, events(*SHORT, *LONG), TRUNCATED),
    "an event that is cut": (CHAT, events(said("a"), finished()) + b'data: {"usage"', TRUNCATED),
    "nothing": (CHAT, b"", COMPLETE),
    "comments": (CHAT, b": PROCESSING\n\n", COMPLETE),
    "text": (COMPLETIONS, events({"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}), COMPLETE),
    "llama.cpp": ("/provider/openai/completion", events({"content": "a", "stop": False}, {"stop": True}), COMPLETE),
    "llama.cpp cut": ("/provider/openai/completion", events({"content": "a", "stop": False}), TRUNCATED),
    "responses": (RESPONSES, events(BEGUN, {"type": "response.completed", "response": {}}), COMPLETE),
    "responses cut": (RESPONSES, events(BEGUN), TRUNCATED),
    "messages": (MESSAGES, events({"type": "message_start"}, {"type": "message_stop"}), COMPLETE),
    "messages with a reason": (
        MESSAGES,
        events({"type": "message_start"}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        COMPLETE,
    ),
    "messages cut": (MESSAGES, events({"type": "message_start"}), TRUNCATED),
    "candidates": (GENERATE, events({"candidates": [{"content": {}, "finishReason": "STOP"}]}), COMPLETE),
    "candidates blocked": (GENERATE, events({"promptFeedback": {"blockReason": "OTHER"}}), COMPLETE),
    "candidates cut": (GENERATE, events({"candidates": [{"content": {"parts": []}}]}), TRUNCATED),
    "speech": ("/provider/openai/v1/audio/speech", events({"type": "speech.audio.done"}), COMPLETE),
    "speech cut": ("/provider/openai/v1/audio/speech", events({"type": "speech.audio.delta"}), TRUNCATED),
    "an unknown path": ("/provider/openai/v1/threads/t/runs", events(said("a")), COMPLETE),
}


async def ask(gateway: Running, path: str, **more: Any) -> tuple[bytes, bool]:
    """What comes of a stream, and whether it ends cleanly."""
    received, mode = b"", more.pop("mode", "")
    async with gateway.session.post(path + mode, json={"stream": True, **more}) as response:
        assert response.status == 200
        try:
            async for piece in response.content.iter_any():
                received += piece
        except aiohttp.ClientPayloadError:
            return received, False
    return received, True


def pieces(body: bytes, size: int) -> list[Step]:
    return [chunk(body[start : start + size]) for start in range(0, len(body), size)]


@pytest.mark.parametrize(("path", "body", "outcome"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_that_is_framed_to_its_end(
    gateway: Running, upstream: ScriptedUpstream, path: str, body: bytes, outcome: Outcome
) -> None:
    upstream.will(begin(), *pieces(body, 5000), end())
    received, clean = await ask(gateway, path)
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].outcome) == (outcome, outcome)
    assert clean is (outcome is COMPLETE)
    if clean:
        assert received == body
    else:
        assert received.startswith(body) and b"error" in received[len(body) :]


@pytest.mark.parametrize(("path", "body", "outcome"), STREAMS.values(), ids=STREAMS)
async def test_a_compressed_one(
    gateway: Running, upstream: ScriptedUpstream, path: str, body: bytes, outcome: Outcome
) -> None:
    upstream.will(begin("Content-Encoding: gzip"), chunk(gzip.compress(body)), end())
    received, clean = await ask(gateway, path)
    assert gzip.decompress(received) == body
    assert (await gateway.exchange()).outcome is outcome
    assert clean is (outcome is COMPLETE)


@pytest.mark.parametrize("mode", ["ndjson", "text"])
@pytest.mark.parametrize(
    ("path", "body", "outcome"),
    [case for case in STREAMS.values() if case[0] in (CHAT, RESPONSES, MESSAGES, GENERATE)],
)
async def test_one_that_is_translated(
    gateway: Running, upstream: ScriptedUpstream, mode: str, path: str, body: bytes, outcome: Outcome
) -> None:
    upstream.will(begin(), *pieces(body, 5000), end())
    _, clean = await ask(gateway, f"{path}?stream_mode={mode}")
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].outcome) == (outcome, outcome)
    assert clean is (outcome is COMPLETE)


@pytest.mark.parametrize("body", [events(said("a"), finished()), events(said("a"), finished()) + DONE])
async def test_framing_that_is_cut_is_truncated_whatever_came(
    gateway: Running, upstream: ScriptedUpstream, body: bytes
) -> None:
    upstream.will(begin(), chunk(body), pause(0.01), close())
    _, clean = await ask(gateway, CHAT)
    assert not clean
    assert (await gateway.exchange()).outcome is TRUNCATED


LINES = {
    "Ollama": ("/provider/openai/api/chat", {"done": False}, {"done": True}, "application/x-ndjson"),
    "Cohere": (
        "/provider/openai/v1/chat",
        {"event_type": "text-generation"},
        {"event_type": "stream-end"},
        "application/stream+json",
    ),
}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("path", "line", "last", "kind"), LINES.values(), ids=LINES)
async def test_a_stream_of_lines(
    gateway: Running,
    upstream: ScriptedUpstream,
    path: str,
    line: Any,
    last: Any,
    kind: str,
    whole: bool,
    at_once: bool,
) -> None:
    body = b"".join(json.dumps(one).encode() + b"\n" for one in ([line, last] if whole else [line]))
    upstream.will(answer(body, kind=kind)) if at_once else upstream.will(begin(kind=kind), chunk(body), end())
    received, clean = await ask(gateway, path)
    assert received == body
    assert clean is whole
    assert (await gateway.exchange()).outcome is (COMPLETE if whole else TRUNCATED)


@pytest.mark.parametrize(
    ("rule", "path", "body", "outcome"),
    [
        ("marker", CHAT, events(said("a"), finished()), TRUNCATED),
        ("marker", CHAT, events(said("a"), finished()) + DONE, COMPLETE),
        ("marker", CHAT, b'{"choices":[]}', COMPLETE),
        ("marker", "/provider/openai/v1/threads/t/runs", events(said("a")), COMPLETE),
        ("finish", CHAT, events(said("a"), finished()), COMPLETE),
        ("finish", CHAT, events(said("a")), TRUNCATED),
        ("framing", CHAT, events(said("a")), COMPLETE),
        ("framing", CHAT, b'data: {"cho', COMPLETE),
    ],
)
async def test_a_provider_may_have_a_rule_of_its_own(
    start: Start, upstream: ScriptedUpstream, rule: str, path: str, body: bytes, outcome: Outcome
) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_STREAM_END=rule)
    upstream.will(begin(), *pieces(body, 5000), end())
    _, clean = await ask(gateway, path)
    assert (await gateway.exchange()).outcome is outcome
    assert clean is (outcome is COMPLETE)


async def test_a_stream_that_ends_before_anything_was_passed_on_is_a_502(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_STREAM_END="marker")
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n"))
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert (response.status, response.headers["x-gateway-error"]) == (502, "upstream_truncated")
    assert (await gateway.exchange()).outcome is TRUNCATED


def large(path: str, size: int) -> bytes:
    """A stream whose last event is that large."""
    text, usage = "x" * size, {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    if path == RESPONSES:
        whole = {"id": "r", "model": "m", "status": "completed", "instructions": text, "usage": usage, "tools": []}
        return events(BEGUN, {"type": "response.completed", "sequence_number": 1, "response": whole})
    if path == CHAT:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
        return events(said("a"), {"id": "c", "model": "m", "choices": [choice], "usage": USAGE["usage"]})
    candidate = {"content": {"parts": [{"inlineData": {"data": text}}]}, "finishReason": "STOP", "index": 0}
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
    return events({"candidates": [{"content": {}}]}, {"candidates": [candidate], "usageMetadata": counts})


@pytest.fixture(params=[False, True], ids=["parsed", "recognised"])
async def recognised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(shape, "PAUSE", 0.0)
    return bool(request.param)


async def teach(gateway: Running, upstream: ScriptedUpstream, recognised: bool) -> int:
    """Let the gateway know the shape of the heads that come; how many exchanges that took."""
    for _ in range(3 if recognised else 0):
        upstream.will(begin(), pause(0.001), chunk(DONE), end())
        await ask(gateway, CHAT)
    return 3 if recognised else 0


@pytest.mark.parametrize("marker", [b"", DONE])
@pytest.mark.parametrize("size", [59_000, 65_300, 82_000, 1_000_000])
@pytest.mark.parametrize("path", [RESPONSES, CHAT, GENERATE])
async def test_a_last_event_of_any_size(
    gateway: Running, upstream: ScriptedUpstream, recognised: bool, path: str, size: int, marker: bytes
) -> None:
    before, body = await teach(gateway, upstream, recognised), large(path, size) + marker
    for number, step in enumerate((len(body), 40_000, 1357), before + 1):
        upstream.will(begin(), pause(0.001), *pieces(body, step), end())
        received, clean = await ask(gateway, path)
        assert clean and received == body
        exchange = await gateway.exchange(number)
        assert (exchange.outcome, exchange.calls[0].outcome) == (COMPLETE, COMPLETE)
        usage = exchange.calls[0].facts.usage
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (3, 4)


async def test_a_large_last_event_may_be_split_at_any_byte(
    gateway: Running, upstream: ScriptedUpstream, recognised: bool
) -> None:
    number, body = await teach(gateway, upstream, recognised), large(RESPONSES, 66_000) + DONE
    start, ends = body.index(b"response.completed"), len(body)
    for cut in (*range(start - 12, start + 30, 3), *range(ends - 65_560, ends - 65_520, 4), *range(ends - 40, ends, 3)):
        number += 1
        upstream.will(begin(), chunk(body[:cut]), pause(0.001), chunk(body[cut:]), end())
        assert await ask(gateway, RESPONSES) == (body, True)
        assert (await gateway.exchange(number)).outcome is COMPLETE


DOCUMENT = json.dumps({"id": "c", "model": "m", "choices": [], "usage": USAGE["usage"]}, indent=1).encode()


@pytest.mark.parametrize("size", [7, 10_000])
@pytest.mark.parametrize("body", [DOCUMENT, ERROR, b"", b"Internal Server Error", b"<html><p>Try later</p></html>"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, GENERATE])
async def test_what_is_no_stream_but_called_one_comes_as_it_came(
    gateway: Running, upstream: ScriptedUpstream, path: str, body: bytes, size: int
) -> None:
    upstream.will(begin(), *pieces(body, size), end())
    assert await ask(gateway, path) == (body, True)
    exchange = await gateway.exchange()
    assert exchange.outcome is COMPLETE
    if body is DOCUMENT and path == CHAT:
        facts = exchange.calls[0].facts
        assert facts.usage is not None
        assert (facts.response_model, facts.usage.output_tokens, facts.streamed) == ("m", 4, False)


async def test_a_document_called_a_stream_that_is_cut_gets_no_words_of_ours(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(begin(), chunk(DOCUMENT[:50]), pause(0.01), close())
    assert await ask(gateway, CHAT) == (DOCUMENT[:50], False)
    assert (await gateway.exchange()).outcome is TRUNCATED


@pytest.mark.parametrize("mode", ["ndjson", "text"])
async def test_a_document_called_a_stream_is_translated_as_a_document(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    document = {"choices": [{"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"}]}
    upstream.will(begin(), *pieces(json.dumps(document, indent=1).encode(), 11), end())
    received, clean = await ask(gateway, f"{CHAT}?stream_mode={mode}")
    assert clean
    assert received == b"hello" if mode == "text" else json.loads(received) == document


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_stream_with_a_length_is_framed_anew_so_that_a_missing_end_shows(
    gateway: Running, upstream: ScriptedUpstream, recognised: bool, whole: bool, at_once: bool
) -> None:
    body = events(said("a"), *([finished()] if whole else []))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    for number in range(1, 5):
        upstream.will(send(head + body) if at_once else send(head), *([] if at_once else (pause(0.01), send(body))))
        async with gateway.session.post(CHAT, json={"stream": True}) as response:
            assert "content-length" not in response.headers
            assert response.headers["transfer-encoding"] == "chunked"
            if whole:
                assert await response.read() == body
            else:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await response.read()
        exchange = await gateway.exchange(number)
        assert exchange.outcome is (COMPLETE if whole else TRUNCATED)


async def test_a_head_alone_keeps_the_length_of_its_stream(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_STREAM_END="marker")
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 50\r\n\r\n"))
    async with gateway.session.head(CHAT) as response:
        assert response.headers["content-length"] == "50"
    assert (await gateway.exchange()).outcome is COMPLETE


ENDS = {
    "[DONE]": (CHAT, events(said("a"), finished(), USAGE) + DONE),
    "a finish": (CHAT, events(said("a"), finished())),
    "response.completed": (RESPONSES, large(RESPONSES, 10)),
    "a large response.completed": (RESPONSES, large(RESPONSES, 100_000)),
    "message_stop": (MESSAGES, events({"type": "message_start"}, {"type": "message_stop"})),
    "a finishReason": (GENERATE, large(GENERATE, 10)),
}


async def read_and_leave(gateway: Running, target: str, until: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1 << 20)
    await send_request(RawClient(reader, writer), target)
    await asyncio.wait_for(reader.readuntil(until), 5)
    writer.transport.abort()


async def send_request(client: RawClient, target: str) -> None:
    body = b'{"stream":true}'
    await client.send(
        f"POST {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


@pytest.mark.parametrize("mode", ["", "?stream_mode=ndjson"])
@pytest.mark.parametrize(("path", "body"), ENDS.values(), ids=ENDS)
async def test_a_client_that_leaves_after_the_end_has_had_it_all(
    gateway: Running, upstream: ScriptedUpstream, recognised: bool, path: str, body: bytes, mode: str
) -> None:
    before = await teach(gateway, upstream, recognised)
    left = asyncio.Event()

    async def until_gone(_: object) -> None:
        await asyncio.wait_for(left.wait(), 5)
        await asyncio.sleep(0.05)

    upstream.will(begin(), chunk(body), until_gone, end())
    lines = [line for line in body.split(b"\n") if line and not (mode and line.startswith(b"data: ["))]
    await read_and_leave(gateway, path + mode, lines[-1].removeprefix(b"data: ")[-30:])
    left.set()
    exchange = await gateway.exchange(before + 1)
    assert (exchange.outcome, exchange.calls[0].outcome) == (COMPLETE, COMPLETE)
    assert exchange.error is None
    connections = upstream.connections
    await ask(gateway, path)
    assert upstream.connections == connections


async def test_what_follows_the_finish_is_still_read_for_each_view_and_limit(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_METRICS_ACCESS="open", GATEWAY_RATE_LIMITS="key: 10000 tokens/day")
    upstream.will(begin(), chunk(events(said("a"), finished())), pause(0.05), chunk(events(USAGE) + DONE), end())
    await read_and_leave(gateway, CHAT, b'"stop"}]}\n\n')
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].outcome) == (COMPLETE, COMPLETE)
    assert exchange.calls[0].facts.usage is not None
    async with gateway.session.get("/metrics") as response:
        figures = await response.text()
    assert 'outcome="complete"' in figures and "client_gone" not in figures
    async with gateway.session.get("/provider/openai/v1/models") as response:
        assert ";r=9993" in response.headers["ratelimit"]


async def test_a_provider_that_does_not_come_to_its_end_is_let_go(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(), chunk(events(said("a"), finished()) + DONE), until_left())
    await read_and_leave(gateway, CHAT, b"[DONE]\n\n")
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].outcome) == (COMPLETE, COMPLETE)
    await asyncio.wait_for(upstream.requests[0].closed.wait(), 5)


@pytest.mark.parametrize("body", [events(said("a")), events(BEGUN), b": ping\n\n"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, "/provider/openai/v1/threads/t/runs"])
async def test_a_client_that_leaves_before_the_end_is_gone(
    gateway: Running, upstream: ScriptedUpstream, path: str, body: bytes
) -> None:
    upstream.will(begin(), chunk(body), pause(0.2), chunk(DONE), end())
    await read_and_leave(gateway, path, body[-10:])
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].outcome) == (GONE, GONE)


async def test_a_client_that_leaves_with_the_end_unread_is_gone(gateway: Running, upstream: ScriptedUpstream) -> None:
    body = events(*[said("x" * 1000)] * 8000, finished()) + DONE
    upstream.will(begin(), chunk(body), pause(5), end())
    async with connected(gateway.port, receive_buffer=4096) as client:
        await send_request(client, CHAT)
        await client.read(10_000)
        await asyncio.sleep(0.3)
        client.reset()
    assert (await gateway.exchange()).outcome is GONE

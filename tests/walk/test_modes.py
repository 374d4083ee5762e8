"""`?stream_mode=` and `X-Stream-Mode`: the shape a client asks for, whatever the dialect."""

import asyncio
import gc
import gzip
import json
from types import AsyncGeneratorType

import aiohttp
import pytest

from gateway.telemetry.exchange import Outcome
from tests.raw_http import connected
from tests.running import KEY, Running
from tests.scripted import ScriptedUpstream, answer, begin, chunk, end, event, flood, pause, reset, send

OPENAI = "/provider/openai/v1/chat/completions"
ANTHROPIC = "/provider/anthropic/v1/messages"
GEMINI = "/provider/gemini/v1beta/models/m:generateContent"


def openai_delta(text: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()


def openai_stream(*texts: str) -> tuple[object, ...]:
    return (begin(), *(event(openai_delta(text)) for text in texts), event(b"[DONE]"), end())


def anthropic_stream(*texts: str) -> tuple[object, ...]:
    events = [("message_start", {"message": {"usage": {"input_tokens": 1}}})]
    events += [("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}}) for text in texts]
    events.append(("message_stop", {}))
    frames = [f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode() for kind, more in events]
    return (begin(), *(chunk(frame) for frame in frames), end())


def gemini_stream(*texts: str) -> tuple[object, ...]:
    documents = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in texts]
    documents.append({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]})
    return (begin(), *(event(json.dumps(document).encode()) for document in documents), end())


STREAMS = {
    OPENAI: (openai_stream, {"model": "m", "messages": []}),
    ANTHROPIC: (anthropic_stream, {"model": "m", "messages": [], "max_tokens": 5}),
    GEMINI: (gemini_stream, {"contents": []}),
}


@pytest.mark.parametrize("path", STREAMS)
async def test_text_is_the_bare_text_as_it_is_written(gateway: Running, upstream: ScriptedUpstream, path: str) -> None:
    stream, body = STREAMS[path]
    upstream.will(*stream("Hel", "lo ", "wörld"))  # type: ignore[arg-type]
    async with gateway.session.post(f"{path}?stream_mode=text", json=body) as response:
        assert response.content_type == "text/plain"
        assert await response.text() == "Hello wörld"
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.stream_mode) == (Outcome.COMPLETE, "text")


@pytest.mark.parametrize("path", STREAMS)
async def test_ndjson_is_a_document_per_line(gateway: Running, upstream: ScriptedUpstream, path: str) -> None:
    stream, body = STREAMS[path]
    upstream.will(*stream("a", "b"))  # type: ignore[arg-type]
    async with gateway.session.post(path, json=body, headers={"X-Stream-Mode": "ndjson"}) as response:
        assert response.content_type == "application/x-ndjson"
        lines = (await response.read()).splitlines()
    assert [type(json.loads(line)) for line in lines] == [dict] * len(lines)
    assert len(lines) >= 3 if path != OPENAI else len(lines) == 2


@pytest.mark.parametrize("path", STREAMS)
async def test_sse_is_the_providers_own_stream_byte_for_byte(
    gateway: Running, upstream: ScriptedUpstream, path: str
) -> None:
    stream, body = STREAMS[path]
    upstream.will(*stream("a"))  # type: ignore[arg-type]
    async with gateway.session.post(f"{path}?x=1&stream_mode=sse&y=2", json=body) as response:
        assert response.content_type == "text/event-stream"
        assert (await response.read()).count(b"\n\n") >= 2
    got = await upstream.received()
    assert b"stream_mode" not in got.target
    if path == GEMINI:
        assert b":streamGenerateContent?" in got.target
        assert b"alt=sse" in got.target
    else:
        assert got.target.endswith(b"?x=1&y=2")
        assert json.loads(got.body)["stream"] is True


async def test_the_rest_of_the_body_stays_byte_for_byte(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(*openai_stream("a"))  # type: ignore[arg-type]
    body = b'{ "model":"m",\t"x":1e400, "x": "\\u00e9" }'
    async with gateway.session.post(
        f"{OPENAI}?stream_mode=text", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        await response.read()
    sent = (await upstream.received()).body
    assert sent.replace(b'"stream":true,', b"", 1) == body


async def test_json_asks_for_one_document(gateway: Running, upstream: ScriptedUpstream) -> None:
    async with gateway.session.post(f"{OPENAI}?stream_mode=json", json={"model": "m"}) as response:
        assert await response.json() == {"ok": True}
    assert (await upstream.received()).target == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (f"{OPENAI}?stream_mode=json", {"stream": True}, {}),
        (f"{OPENAI}?stream_mode=sse", {"stream": False}, {}),
        (f"{OPENAI}?stream_mode=sometimes", {}, {}),
        (f"{OPENAI}?stream_mode=sse", {}, {"X-Stream-Mode": "text"}),
        (f"{OPENAI}?stream_mode=sse", [], {}),
        ("/provider/openai/v1/embeddings?stream_mode=sse", {}, {}),
    ],
)
async def test_a_contradiction_is_a_400_that_names_it(
    gateway: Running, upstream: ScriptedUpstream, path: str, body: object, fields: dict[str, str]
) -> None:
    async with gateway.session.post(path, json=body, headers=fields) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"
    assert not upstream.requests


async def test_a_document_where_a_stream_was_asked_for_is_one_event(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(answer(b'{"choices": [{"message":\n {"content":"all"}}]}'))
    async with gateway.session.post(f"{OPENAI}?stream_mode=sse", json={}) as response:
        assert response.content_type == "text/event-stream"
        events = (await response.read()).split(b"\n\n")
    assert json.loads(events[0].removeprefix(b"data: "))["choices"][0]["message"]["content"] == "all"
    assert events[1:] == [b"data: [DONE]", b""]


@pytest.mark.parametrize("mode", ["text", "ndjson", "sse"])
async def test_what_the_provider_refuses_comes_through_as_it_was(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    upstream.will(answer(b'{"error":{"message":"no"}}', "429 Too Many Requests", "Retry-After: 3"))
    async with gateway.session.post(f"{OPENAI}?stream_mode={mode}", json={}) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        assert await response.read() == b'{"error":{"message":"no"}}'


@pytest.mark.parametrize("mode", ["text", "ndjson", "sse"])
async def test_a_stream_that_is_cut_is_visibly_cut_in_every_mode(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    upstream.will(begin(), event(openai_delta("hi")), pause(0.05), reset())
    received = b""
    async with gateway.session.post(f"{OPENAI}?stream_mode={mode}", json={}) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    if mode == "ndjson":
        assert json.loads(received.splitlines()[-1])["error"]["code"] == "upstream_truncated"
    if mode == "text":
        assert received == b"hi"
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


@pytest.mark.parametrize("mode", ["text", "ndjson"])
async def test_what_came_before_an_event_that_cannot_be_shaped_is_not_lost(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    upstream.will(begin(), chunk(b"data: " + openai_delta("hi") + b"\n\ndata: {nonsense\n\n"), end())
    received = b""
    async with gateway.session.post(f"{OPENAI}?stream_mode={mode}", json={}) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    assert received.startswith(b"hi" if mode == "text" else openai_delta("hi") + b"\n")
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_ERROR


@pytest.mark.parametrize("mode", ["text", "ndjson"])
async def test_a_coding_that_was_not_asked_for_is_a_502_and_no_empty_answer(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    stream = gzip.compress(b"data: " + openai_delta("hi") + b"\n\ndata: [DONE]\n\n")
    upstream.will(answer(stream, "200 OK", "Content-Encoding: gzip", kind="text/event-stream"))
    async with gateway.session.post(f"{OPENAI}?stream_mode={mode}", json={}) as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("mode", ["text", "ndjson", "sse"])
async def test_an_answer_without_a_body_has_nothing_to_shape(
    gateway: Running, upstream: ScriptedUpstream, mode: str
) -> None:
    upstream.will(send(b"HTTP/1.1 204 No Content\r\n\r\n"))
    async with gateway.session.post(f"{OPENAI}?stream_mode={mode}", json={}) as response:
        assert (response.status, await response.read()) == (204, b"")
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE


def is_open(generator: AsyncGeneratorType[object, object]) -> bool:
    return generator.ag_code.co_name in ("translated", "chunks") and generator.ag_frame is not None


async def test_a_client_that_leaves_a_translated_stream_leaves_no_generator_open(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 60_000)
    for number in range(1, 6):
        upstream.will(begin(), flood(64 << 20, piece))
        async with connected(gateway.port, receive_buffer=4096) as client:
            await client.send(
                "POST /provider/openai/v1/chat/completions?stream_mode=ndjson HTTP/1.1\r\nHost: x\r\n"
                f"X-API-Key: {KEY}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            )
            await client.read(10_000)
            await asyncio.sleep(0.05)
            client.reset()
        assert (await gateway.exchange(number)).outcome is Outcome.CLIENT_GONE
        assert [each for each in gc.get_objects() if isinstance(each, AsyncGeneratorType) and is_open(each)] == []

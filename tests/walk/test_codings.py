"""Content codings of answers: relayed byte for byte, and read for the log, the metrics, the spans and the limits."""

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import brotli
import pytest
import zstandard

from gateway.settings.tracing import ContentSettings
from gateway.telemetry.access_log import json_line
from gateway.telemetry.content import ContentRules
from gateway.telemetry.exchange import Outcome
from gateway.telemetry.span_tree import SpanTree
from gateway.upstream import coded_tap
from tests.read_spans import of_scope
from tests.running import Running, Start
from tests.scripted import ScriptedUpstream, answer, begin, chunk, end

CHAT = "/provider/openai/v1/chat/completions"
MESSAGES = "/provider/anthropic/v1/messages"
GENERATE = "/provider/gemini/v1beta/models/m:streamGenerateContent?alt=sse"
USAGE = b'"usage":{"prompt_tokens":30,"completion_tokens":7}'
ANSWER = b'{"id":"c","model":"m","choices":[{"finish_reason":"stop"}],%b}' % USAGE
SAID = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
LIMITS = "key: 1000000 tokens/365d"

Compress = Callable[[bytes], bytes]


def flushed(coding: str) -> Compress:
    """Compresses piece by piece: each piece can be decoded as soon as it is there."""
    if coding == "br":
        stream = brotli.Compressor(quality=1)
        return lambda piece: bytes(stream.process(piece) + stream.flush())
    if coding == "zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        return lambda piece: frame.compress(piece) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    deflate = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    return lambda piece: deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH)


WHOLE: dict[str, Compress] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstandard.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body), quality=1),
    "identity": lambda body: body,
}
STREAMED = ("gzip", "deflate", "br", "zstd")


def events(count: int = 40, usage: bool = True) -> Iterator[bytes]:
    """Those of a chat stream, of words at random."""
    words = random.Random(1)
    for _ in range(count):
        delta = {"id": "c", "model": "m", "choices": [{"delta": {"content": f"{words.getrandbits(64):x} "}}]}
        yield b"data: " + json.dumps(delta).encode() + b"\n\n"
    yield b'data: {"id":"c","model":"m","choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    if usage:
        yield b'data: {"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":7}}\n\n'
    yield b"data: [DONE]\n\n"


async def remaining(gateway: Running) -> int:
    async with gateway.session.get("/provider/openai/v1/models") as response:
        return int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])


async def must_show_usage(gateway: Running, count: int) -> None:
    """Every view has 30 tokens in and 7 out for the exchange number `count`, the last one."""
    async with asyncio.timeout(5):
        while len(called := [exchange for exchange in gateway.exchanges if exchange.calls]) < count:
            await asyncio.sleep(0.005)
    exchange = called[-1]
    usage = exchange.calls[0].facts.usage
    assert usage is not None
    assert (exchange.outcome, usage.input_tokens, usage.output_tokens) == (Outcome.COMPLETE, 30, 7)
    line = json.loads(json_line(exchange))
    assert (line["input_tokens"], line["output_tokens"], line["model"]) == (30, 7, "m")
    spans = of_scope(SpanTree(ContentRules(ContentSettings()), {}).encoded(exchange))
    assert spans[-1].attributes["llm.token_count.prompt"] == 30
    assert spans[-1].attributes["llm.token_count.completion"] == 7
    async with gateway.session.get("/metrics") as response:
        figures = await response.text()
    assert f'type="input"}} {30 * count}\n' in figures
    assert f'type="output"}} {7 * count}\n' in figures


@pytest.mark.parametrize("coding", WHOLE)
async def test_usage_is_read_off_a_coded_answer(start: Start, upstream: ScriptedUpstream, coding: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=LIMITS)
    for count in range(1, 5):  # from the third on its head is recognised
        body = WHOLE[coding](ANSWER)
        upstream.will(answer(body, "200 OK", f"Content-Encoding: {coding}"))
        async with gateway.session.post(CHAT, json=SAID, headers={"Accept-Encoding": coding}) as response:
            assert await response.read() == body
            assert response.headers["Content-Encoding"] == coding
        await must_show_usage(gateway, count)
    assert await remaining(gateway) == 1_000_000 - 4 * 37


@pytest.mark.parametrize("coding", STREAMED)
async def test_usage_is_read_off_a_coded_stream(start: Start, upstream: ScriptedUpstream, coding: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=LIMITS)
    for count in range(1, 4):
        compress = flushed(coding)
        pieces = [compress(each) for each in events()]
        upstream.will(begin(f"Content-Encoding: {coding}"), *map(chunk, pieces), end())
        async with gateway.session.post(CHAT, json={**SAID, "stream": True}) as response:
            assert await response.read() == b"".join(pieces)
        await must_show_usage(gateway, count)
    assert await remaining(gateway) == 1_000_000 - 3 * 37


@pytest.mark.parametrize("coding", STREAMED)
async def test_however_long_it_is(start: Start, upstream: ScriptedUpstream, coding: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=LIMITS)
    compress = flushed(coding)
    pieces = [compress(each) for each in events(10_000)]
    assert sum(map(len, pieces)) > 5 * coded_tap.BATCH
    upstream.will(begin(f"Content-Encoding: {coding}"), *map(chunk, pieces), end())
    async with gateway.session.post(CHAT, json={**SAID, "stream": True}) as response:
        assert await response.read() == b"".join(pieces)
    await must_show_usage(gateway, 1)
    assert await remaining(gateway) == 1_000_000 - 37


@pytest.mark.parametrize("coding", STREAMED)
async def test_usage_is_read_off_a_long_coded_document(start: Start, upstream: ScriptedUpstream, coding: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=LIMITS)
    noise = random.Random(1).randbytes(1 << 20).hex().encode()
    body = WHOLE[coding](ANSWER.replace(b'"choices"', b'"padding":"%b","choices"' % noise))
    upstream.will(answer(body, "200 OK", f"Content-Encoding: {coding}"))
    async with gateway.session.post(CHAT, json=SAID) as response:
        assert await response.read() == body
    await must_show_usage(gateway, 1)
    assert await remaining(gateway) == 1_000_000 - 37


@pytest.mark.parametrize("coding", STREAMED)
@pytest.mark.parametrize("path", [MESSAGES, GENERATE])
async def test_every_dialects_coded_streams_are_read(
    start: Start, upstream: ScriptedUpstream, coding: str, path: str
) -> None:
    messages = (
        b'{"type":"message_start","message":{"id":"c","model":"m","usage":{"input_tokens":30,"output_tokens":1}}}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}',
        b'{"type":"message_stop"}',
    )
    candidates = (
        b'{"responseId":"c","modelVersion":"m","candidates":[{"finishReason":"STOP"}],'
        b'"usageMetadata":{"promptTokenCount":30,"candidatesTokenCount":7}}',
    )
    gateway = await start(GATEWAY_RATE_LIMITS=LIMITS)
    compress = flushed(coding)
    pieces = [compress(b"data: %b\n\n" % data) for data in (messages if path == MESSAGES else candidates)]
    upstream.will(begin(f"Content-Encoding: {coding}"), *map(chunk, pieces), end())
    async with gateway.session.post(path, json={**SAID, "stream": True}) as response:
        assert await response.read() == b"".join(pieces)
    await must_show_usage(gateway, 1)
    assert await remaining(gateway) == 1_000_000 - 37


@pytest.mark.parametrize("coding", STREAMED)
async def test_a_coded_stream_that_lacks_its_end_is_broken_off(
    gateway: Running, upstream: ScriptedUpstream, coding: str
) -> None:
    compress = flushed(coding)
    pieces = [compress(each) for each in [*events()][:20]]
    upstream.will(begin(f"Content-Encoding: {coding}"), *map(chunk, pieces), end())
    response = await gateway.session.post(CHAT, json={**SAID, "stream": True})
    with pytest.raises(Exception, match="Response payload is not completed"):
        await response.read()
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_several_fields_are_one_list(gateway: Running, upstream: ScriptedUpstream) -> None:
    body = WHOLE["gzip, br"](ANSWER)
    for count in range(1, 5):
        upstream.will(answer(body, "200 OK", "Content-Encoding: gzip", "content-encoding: br"))
        async with gateway.session.post(CHAT, json=SAID) as response:
            assert await response.read() == body
        await must_show_usage(gateway, count)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("compress", b"\x1f\x9d\x90"),
        ("br", b"not brotli at all"),
        ("zstd", zstandard.compress(bytes(100 << 20))),
    ],
)
async def test_what_cannot_be_decoded_is_relayed_and_counted(
    gateway: Running, upstream: ScriptedUpstream, coding: str, body: bytes
) -> None:
    upstream.will(answer(body, "200 OK", f"Content-Encoding: {coding}"))
    async with gateway.session.post(CHAT, json=SAID) as response:
        assert await response.read() == body
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].facts.usage) == (Outcome.COMPLETE, None)
    unread = 'gateway_usage_errors_total{provider="openai",reason="content_coding"}'
    async with gateway.session.get("/metrics") as metrics:
        assert unread + " 1\n" in await metrics.text()


@pytest.mark.parametrize("coding", WHOLE)
async def test_a_coded_request_is_read_for_the_record(
    gateway: Running, upstream: ScriptedUpstream, coding: str
) -> None:
    for count, padding in enumerate((0, 0, 0, 5000), 1):
        plain = json.dumps({**SAID, "padding": random.Random(1).randbytes(padding).hex()}).encode()
        body = WHOLE[coding](plain)
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        async with gateway.session.post(CHAT, data=body, headers=headers) as response:
            assert response.status == 200
        assert upstream.requests[-1].body == body
        assert (await gateway.exchange(count)).calls[0].facts.request_model == "m"


async def test_what_nobody_reads_is_not_decoded(
    gateway: Running, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.upstream.coded_tap.Decoding", None)
    body = gzip.compress(random.Random(1).randbytes(200_000))
    upstream.will(answer(body, "200 OK", "Content-Encoding: gzip", kind="application/octet-stream"))
    async with gateway.session.get("/provider/openai/v1/files/f/content") as response:
        assert await response.read() == body
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE

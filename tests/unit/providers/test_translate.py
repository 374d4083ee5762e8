"""Streams in another shape: complete where the provider's was, visibly broken where it was not."""

import json
from collections.abc import AsyncIterator

import pytest

from gateway.errors import IdleTimeout, UpstreamError, UpstreamTruncated
from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.gemini import GEMINI
from gateway.providers.openai import OPENAI
from gateway.providers.provider import Dialect
from gateway.providers.translate import error_frame, translated
from gateway.wire.mode import StreamMode
from tests.unit.providers.samples import (
    CHAT_ANSWER,
    CHAT_ERROR,
    CHAT_EVENTS,
    CHAT_PATH,
    CHAT_STREAM,
    DONE,
    GEMINI_ANSWER,
    GEMINI_EVENTS,
    GEMINI_STREAM,
    GEMINI_STREAM_PATH,
    INTERACTIONS_ERROR,
    INTERACTIONS_EVENTS,
    INTERACTIONS_PATH,
    INTERACTIONS_STREAM,
    MESSAGES_ANSWER,
    MESSAGES_ERROR,
    MESSAGES_EVENTS,
    MESSAGES_PATH,
    MESSAGES_STREAM,
    RESPONSES_EVENTS,
    RESPONSES_PATH,
    RESPONSES_STREAM,
    event_stream,
    interaction_stream,
)

Stream = tuple[Dialect, str, bytes, list[dict[str, object]], str]

STREAMS: list[Stream] = [
    (OPENAI, CHAT_PATH, CHAT_STREAM, CHAT_EVENTS, "A cät."),
    (OPENAI, RESPONSES_PATH, RESPONSES_STREAM, RESPONSES_EVENTS, "It is sunny."),
    (
        ANTHROPIC,
        MESSAGES_PATH,
        MESSAGES_STREAM,
        [event for event in MESSAGES_EVENTS if event["type"] != "ping"],
        "A cat.",
    ),
    (GEMINI, GEMINI_STREAM_PATH, GEMINI_STREAM, GEMINI_EVENTS, "A cat."),
    (GEMINI, INTERACTIONS_PATH, INTERACTIONS_STREAM, INTERACTIONS_EVENTS, "It is sunny."),
]
each_stream = pytest.mark.parametrize(
    "stream", STREAMS, ids=["chat", "responses", "messages", "gemini", "interactions"]
)


class Source:
    """The chunks of an upstream's body, that knows whether it was closed."""

    def __init__(self, body: bytes, size: int = 1000, failure: Exception | None = None) -> None:
        self.closed = False
        self._body = body
        self._size = size
        self._failure = failure

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for start in range(0, len(self._body), self._size):
                yield self._body[start : start + self._size]
            if self._failure:
                raise self._failure
        finally:
            self.closed = True


async def all_of(
    source: Source, dialect: Dialect, mode: StreamMode, path: str, *, streamed: bool = True
) -> list[bytes]:
    return [frame async for frame in translated(source.chunks(), dialect, mode, streamed=streamed)]


@each_stream
@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
async def test_events_become_lines_without_pings_and_end_markers(stream: Stream, size: int):
    dialect, path, body, events, _ = stream
    lines = b"".join(await all_of(Source(body, size), dialect, StreamMode.NDJSON, path))
    assert lines.endswith(b"\n")
    assert [json.loads(line) for line in lines.splitlines()] == events


@each_stream
@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
async def test_events_become_the_bare_text(stream: Stream, size: int):
    dialect, path, body, _, said = stream
    assert b"".join(await all_of(Source(body, size), dialect, StreamMode.TEXT, path)).decode() == said


@each_stream
async def test_text_is_sent_as_it_is_written(stream: Stream):
    dialect, path, body, _, _ = stream
    frames = await all_of(Source(body, 100), dialect, StreamMode.TEXT, path)
    assert len(frames) > 1
    assert all(frames)


@each_stream
@pytest.mark.parametrize("mode", [StreamMode.SSE, StreamMode.JSON])
async def test_events_asked_for_as_events_stay_byte_for_byte(stream: Stream, mode: StreamMode):
    dialect, path, body, _, _ = stream
    assert b"".join(await all_of(Source(body), dialect, mode, path)) == body


@each_stream
@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
async def test_an_event_that_lacks_its_blank_line_is_not_lost(stream: Stream, mode: StreamMode):
    dialect, path, body, _, _ = stream
    whole = b"".join(await all_of(Source(body), dialect, mode, path))
    for size in (1, 1000):
        assert b"".join(await all_of(Source(body.rstrip(b"\r\n"), size), dialect, mode, path)) == whole


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT, StreamMode.SSE])
async def test_what_the_upstream_fails_at_comes_through(mode: StreamMode):
    source = Source(CHAT_STREAM[:500], failure=IdleTimeout())
    with pytest.raises(IdleTimeout):
        await all_of(source, OPENAI, mode, CHAT_PATH)
    assert source.closed


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
@pytest.mark.parametrize("data", [b"not json", b"[1]", b'{"a":', b"[" * 100_000])
async def test_an_event_that_is_no_json_object_raises(mode: StreamMode, data: bytes):
    with pytest.raises(UpstreamError):
        await all_of(Source(b"data: " + data + b"\n\n" + DONE), OPENAI, mode, CHAT_PATH)


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
async def test_an_event_without_an_end_raises(mode: StreamMode):
    with pytest.raises(UpstreamError):
        await all_of(Source(b"data: " + b"x" * 9_000_000, 1_000_000), OPENAI, mode, CHAT_PATH)


ERRORS = [
    (OPENAI, CHAT_PATH, event_stream([CHAT_EVENTS[1], CHAT_ERROR]), CHAT_ERROR),
    (ANTHROPIC, MESSAGES_PATH, event_stream([MESSAGES_EVENTS[7], MESSAGES_ERROR], named=True), MESSAGES_ERROR),
    (
        OPENAI,
        RESPONSES_PATH,
        event_stream([{"type": "error", "message": "x", "code": "y"}], named=True),
        {"error": {"type": "error", "message": "x", "code": "y"}},
    ),
    (GEMINI, GEMINI_STREAM_PATH, event_stream([{"error": {"code": 503}}]), {"error": {"code": 503}}),
    (GEMINI, INTERACTIONS_PATH, interaction_stream([INTERACTIONS_ERROR]), INTERACTIONS_ERROR),
]
each_error = pytest.mark.parametrize(("dialect", "path", "body", "line"), ERRORS)


@each_error
async def test_the_upstreams_own_error_is_a_line_that_says_error(
    dialect: Dialect, path: str, body: bytes, line: object
):
    lines = b"".join(await all_of(Source(body), dialect, StreamMode.NDJSON, path)).splitlines()
    assert json.loads(lines[-1]) == line


@each_error
async def test_the_upstreams_own_error_breaks_off_bare_text(dialect: Dialect, path: str, body: bytes, line: object):
    with pytest.raises(UpstreamError):
        await all_of(Source(body), dialect, StreamMode.TEXT, path)


async def test_an_event_over_several_lines_is_one_line():
    body = b'data: {"choices":\ndata: [{"delta":{"content":"a"}}]}\n\n' + DONE
    assert await all_of(Source(body), OPENAI, StreamMode.NDJSON, CHAT_PATH) == [
        b'{"choices": [{"delta":{"content":"a"}}]}\n'
    ]
    assert await all_of(Source(body), OPENAI, StreamMode.TEXT, CHAT_PATH) == [b"a"]


async def test_half_a_surrogate_pair_does_not_break_the_text():
    body = b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n' + DONE
    assert await all_of(Source(body), OPENAI, StreamMode.TEXT, CHAT_PATH) == [b"a?"]
    (line,) = await all_of(Source(body), OPENAI, StreamMode.NDJSON, CHAT_PATH)
    assert line == body[6 : body.index(b"\n")] + b"\n"


DOCUMENTS = [(OPENAI, CHAT_ANSWER), (ANTHROPIC, MESSAGES_ANSWER), (GEMINI, GEMINI_ANSWER)]
each_document = pytest.mark.parametrize(("dialect", "answer"), DOCUMENTS)


@each_document
async def test_a_document_instead_of_a_stream_becomes_one_event_one_line_or_its_text(dialect: Dialect, answer: object):
    pretty = json.dumps(answer, indent=2).encode()

    async def framed(mode: StreamMode) -> bytes:
        return b"".join(await all_of(Source(pretty), dialect, mode, "", streamed=False))

    line = await framed(StreamMode.NDJSON)
    assert line.count(b"\n") == 1
    assert json.loads(line) == answer
    assert await framed(StreamMode.TEXT) == b"A cat."
    event, _, end = (await framed(StreamMode.SSE)).partition(b"\n\n")
    assert json.loads(event.removeprefix(b"data: ")) == answer
    assert end == dialect.end_of_stream()
    assert await framed(StreamMode.JSON) == pretty


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT, StreamMode.SSE])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id":'])
async def test_an_answer_that_is_no_document_raises(mode: StreamMode, body: bytes):
    with pytest.raises(UpstreamError):
        await all_of(Source(body), OPENAI, mode, "", streamed=False)


@each_document
@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
@pytest.mark.parametrize("size", [1, 9, 10_000])
async def test_a_document_that_is_called_a_stream_is_a_document(
    dialect: Dialect, answer: object, mode: StreamMode, size: int
):
    pretty = b"\n" + json.dumps(answer, indent=2).encode()
    called, plainly = [
        b"".join(await all_of(Source(pretty, size), dialect, mode, "", streamed=streamed)) for streamed in (True, False)
    ]
    assert called == plainly


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
async def test_a_page_that_is_called_a_stream_raises_and_nothing_is_nothing(mode: StreamMode):
    for page in (b"<html><p>Try later</p></html>", b"Internal Server Error", b"no"):
        with pytest.raises(UpstreamError):
            await all_of(Source(page), OPENAI, mode, "")
    for nothing in (b"", b"\n\n", b": ping\n\n"):
        assert await all_of(Source(nothing), OPENAI, mode, "") == []


async def test_a_document_over_the_bound_raises():
    frames = translated(
        Source(b"x" * 5000).chunks(), OPENAI, StreamMode.NDJSON, streamed=False, most_document_bytes=4000
    )
    with pytest.raises(UpstreamError, match="larger"):
        await anext(frames)


async def test_a_reader_that_leaves_closes_the_upstream():
    source = Source(CHAT_STREAM, 300)
    frames = translated(source.chunks(), OPENAI, StreamMode.NDJSON, streamed=True)
    assert await anext(frames)
    assert not source.closed
    await frames.aclose()
    assert source.closed


@each_document
def test_our_own_error_in_a_running_answer(dialect: Dialect, answer: object):
    error = UpstreamTruncated()
    path = {"openai": CHAT_PATH, "anthropic": MESSAGES_PATH, "gemini": GEMINI_STREAM_PATH}[dialect.name]
    frames = {mode: error_frame(dialect, mode, "req_1", path)(error) for mode in StreamMode}
    assert frames[StreamMode.SSE] == dialect.stream_error(error, "req_1", path)
    assert frames[StreamMode.NDJSON] == dialect.error(error, "req_1") + b"\n"
    assert json.loads(frames[StreamMode.NDJSON])["error"]["message"] == error.message
    assert frames[StreamMode.TEXT] == b""
    assert frames[StreamMode.JSON] == b""

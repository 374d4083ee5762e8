"""A workflow's frames are written as each mode has them, and a silent event stream is kept alive."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from gateway.downstream.workflow_frames import PING, WRITERS, error_frame, written
from gateway.errors import UpstreamTimeout
from gateway.projects import Chat, Delta, Endpoint, Operation
from gateway.projects.running import Run
from gateway.schema import openapi
from gateway.schema.frames import DeltaFrame, StepFrame
from gateway.telemetry.exchange import Exchange, TraceIds
from gateway.upstream.chat import Tell
from gateway.wire.mode import StreamMode


class Asked(msgspec.Struct):
    text: str = "hello"


class Said(msgspec.Struct):
    text: str


def run(workflow: Callable[[Chat, Any], AsyncGenerator[Any, None]]) -> Run:
    def open_chat(exchange: Exchange, tell: Tell) -> Chat:
        return Chat(None, exchange, {}, http=no_session, tell=tell)  # type: ignore[arg-type]

    exchange = Exchange("req_1", "POST", "/projects/demo/say", TraceIds("a" * 32, "b" * 16))
    operation = Operation("POST", "/say", "Say", request=Asked, response=Said)
    return Run(Endpoint(operation, workflow), open_chat, exchange, Asked())


def no_session(exchange: Exchange) -> ClientSession:
    raise AssertionError("these workflows call nobody")


async def all_of(workflow: Any, mode: StreamMode, ping: float = 60.0) -> list[bytes]:
    async with run(workflow) as frames:
        opening = await frames.opening(ping)
        return [piece async for piece in written(frames, opening, mode, ping)]


async def talks(chat: Chat, asked: Asked) -> AsyncGenerator[str | Delta | Said, None]:
    yield "one\n"
    yield Delta("aside", source="other")
    yield "two"
    yield Said("one two")


async def is_terse(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
    yield Said("déjà")


async def is_slow(chat: Chat, asked: Asked) -> AsyncGenerator[str | Said, None]:
    await asyncio.sleep(0.12)
    yield "at last"
    await asyncio.sleep(0.12)
    yield Said("at last")


async def test_events_are_named_by_what_they_hold() -> None:
    pieces = await all_of(talks, StreamMode.SSE)
    assert pieces[0] == b'event: delta\ndata: {"type":"delta","text":"one\\n"}\n\n'
    assert pieces[1] == b'event: delta\ndata: {"type":"delta","text":"aside","source":"other"}\n\n'
    assert pieces[-1] == b'event: done\ndata: {"type":"done"}\n\n'


async def test_lines_hold_one_document_each() -> None:
    pieces = await all_of(talks, StreamMode.NDJSON)
    assert pieces[0] == b'{"type":"delta","text":"one\\n"}\n'
    assert all(piece.count(b"\n") == 1 and piece.endswith(b"\n") for piece in pieces)


async def test_text_is_what_the_answer_itself_says() -> None:
    assert await all_of(talks, StreamMode.TEXT) == [b"one\n", b"two"]


async def test_a_workflow_without_a_word_shows_its_reply_as_text() -> None:
    assert await all_of(is_terse, StreamMode.TEXT) == ['{"text":"déjà"}'.encode()]


async def test_a_silent_event_stream_is_kept_alive_from_its_first_pause_on() -> None:
    pieces = await all_of(is_slow, StreamMode.SSE, ping=0.05)
    said = [piece for piece in pieces if piece != PING]
    assert pieces[0] == PING and pieces.count(PING) >= 3
    assert b"at last" in said[0] and said[-1].startswith(b"event: done")
    assert pieces.index(said[0]) < max(index for index, piece in enumerate(pieces) if piece == PING)


async def test_a_ping_is_a_comment_that_no_reader_sees() -> None:
    assert PING == b": ping\n\n"


@pytest.mark.parametrize("mode", [StreamMode.NDJSON, StreamMode.TEXT])
async def test_the_other_modes_are_silent_when_nothing_is_said(mode: StreamMode) -> None:
    async with run(is_slow) as frames:
        pieces = [piece async for piece in written(frames, await frames.opening(), mode, 0.02)]
    assert PING not in pieces


def test_an_error_is_told_in_the_words_of_its_mode() -> None:
    error = UpstreamTimeout("Too slow.")
    told = {mode: error_frame(mode, "req_1", "/projects/demo/say")(error) for mode in WRITERS}
    assert told[StreamMode.TEXT] == b""
    assert told[StreamMode.SSE].startswith(b'event: error\ndata: {"type":"error","error":{')
    frame = msgspec.json.decode(told[StreamMode.NDJSON])
    assert (frame["type"], frame["error"]["code"], frame["error"]["request_id"]) == (
        "error",
        "upstream_timeout",
        "req_1",
    )


def test_steps_are_left_out_of_text() -> None:
    assert WRITERS[StreamMode.TEXT](StepFrame("points", "started")) == b""
    assert WRITERS[StreamMode.TEXT](DeltaFrame("hi", source="other")) == b""


def test_the_document_names_the_media_types_that_are_served() -> None:
    served = {mode.value: mode.content_type.partition(";")[0] for mode in StreamMode}
    assert served == dict(openapi.MODES)

"""Last words stand by themselves, wherever the stream was cut."""

import pytest
from aiohttp import web

from gateway.downstream.stream import last_words
from gateway.wire.sse import Decoder

EVENTS = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
LINES = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
WORDS = b'data: {"error":{}}\n\n'
STREAM = b'id: 7\ndata: {"a":1}\n\n: ping\n\ndata: {"b":2}\r\n\r\n'


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_the_error_is_an_event_of_its_own_wherever_the_stream_was_cut(cut: int) -> None:
    written = STREAM[:cut]
    events = Decoder().feed(written + last_words(EVENTS, written, WORDS))
    assert events[-1].data == b'{"error":{}}'


@pytest.mark.parametrize("written", [b"", b"data: x\n\n", b"data: x\r\n\r\n"])
def test_nothing_is_added_between_whole_events(written: bytes) -> None:
    assert last_words(EVENTS, written, WORDS) == WORDS


def test_a_format_without_words_for_an_error_gets_none() -> None:
    assert last_words(EVENTS, b"half a li", b"") == b""


def test_a_line_follows_a_line_with_nothing_between() -> None:
    assert last_words(LINES, b'{"a":1}\n', b'{"error":{}}\n') == b'{"error":{}}\n'

"""Events off a body at hand are those a decoder of streams gives."""

import random

import pytest

from gateway.providers.reading import ends
from gateway.wire.sse import Decoder

BODY = (
    b"\xef\xbb\xbf: hi\n\ndata: one\n\nevent: e\ndata: two\nid: 3\n\n\n\ndata:three\ndata: more\n\n"
    b"event: none\n\ndata: four\n\n"
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_forward_and_backward_give_what_the_decoder_gives(line_end: bytes):
    body = ends.plain(BODY.replace(b"\n", line_end))
    expected = [event.data for event in Decoder().feed(BODY.replace(b"\n", line_end))]
    assert expected == [b"one", b"two", b"three\nmore", b"four"]
    assert list(ends.forward(body)) == expected
    assert list(ends.backward(body)) == expected[::-1]


def test_random_bodies_too():
    lines = [b"data: a", b"data:b", b": c", b"event: d", b"", b"", b"id: 1"]
    for seed in range(300):
        chosen = random.Random(seed)
        body = b"\n".join(chosen.choice(lines) for _ in range(chosen.randrange(20))) + b"\n\n"
        expected = [event.data for event in Decoder().feed(body)]
        assert list(ends.forward(body)) == expected, seed
        assert list(ends.backward(body)) == expected[::-1], seed


def test_an_unfinished_event_is_given_too():
    assert list(ends.forward(b"data: a\n\ndata: b")) == [b"a", b"b"]
    assert list(ends.backward(b"data: a\n\ndata: b\n")) == [b"b", b"a"]


@pytest.mark.parametrize("head", [b"data: x", b"event: x", b": x", b"id: 1", b"\xef\xbb\xbf\r\n\ndata:x", b"retry: 1"])
def test_an_event_stream_is_known_by_its_first_line(head: bytes):
    assert ends.is_event_stream(head)


@pytest.mark.parametrize("head", [b"", b"{}", b"[1]", b"database: x", b"<html>", b' {"data": 1}'])
def test_what_is_no_event_stream(head: bytes):
    assert not ends.is_event_stream(head)


def test_a_tail_that_is_the_rest_of_one_event():
    assert ends.rest_of_an_event(b'xx"}}\n\n') == b'xx"}}'
    assert ends.rest_of_an_event(b'xx"}}\n\ndata: [DONE]\n\n: bye\n\n') == b'xx"}}'
    assert ends.rest_of_an_event(b'data: {"x":1}\n\n') == b""
    assert ends.rest_of_an_event(b'xx"}}\n\ndata: {}\n\n') == b""

"""Event streams: what is encoded is decoded again, whatever pieces it comes in."""

import pytest

from gateway.wire import sse
from gateway.wire.sse import Decoder, Event

# Every rule of the format once: BOM, the three line ends mixed, comments, several data lines, ids, an unknown field,
# fields without a colon or a space, an event without data, an empty one, an unfinished one.
SAMPLE = (
    b"\xef\xbb\xbf: hello\n"
    b'data: {"a":"\xc3\xa9"}\r\n\r\n'
    b"event: ping\rdata: one\rdata:two\rdata:  three\r\r"
    b"id: 7\nunknown: x\ndata: with id\n\r\n"
    b"event: nothing\n\n"
    b":only a comment\r\n\r\n"
    b"data\n\n"
    b"id: bad\0id\nretry: 250\nretry: soon\ndata: a:b\r\r\n"
    b"id\ndata: last\n\n"
    b"data: never finished\n"
)
EVENTS = [
    Event('{"a":"é"}'.encode()),
    Event(b"one\ntwo\n three", b"ping"),
    Event(b"with id", id=b"7"),
    Event(b"", id=b"7"),
    Event(b"a:b", id=b"7"),
    Event(b"last"),
]


def decoded(*chunks: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_a_stream_in_one_piece():
    assert decoded(SAMPLE) == EVENTS


def test_a_stream_cut_at_any_one_byte_gives_the_same_events():
    for cut in range(len(SAMPLE) + 1):
        assert decoded(SAMPLE[:cut], SAMPLE[cut:]) == EVENTS, cut


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_a_stream_in_small_pieces_gives_the_same_events(size: int):
    pieces = [SAMPLE[start : start + size] for start in range(0, len(SAMPLE), size)]
    assert decoded(*pieces) == EVENTS


def test_empty_chunks_change_nothing():
    chunks = [piece for start in range(len(SAMPLE)) for piece in (b"", SAMPLE[start : start + 1], b"")]
    assert decoded(*chunks) == EVENTS


def test_an_event_is_given_as_soon_as_its_blank_line_began():
    assert decoded(b"data: x\r\n\r") == [Event(b"x")]
    assert decoded(b"data: x\r\n\r", b"\ndata: y\r\n", b"\r\n") == [Event(b"x"), Event(b"y")]


def test_the_time_to_reconnect_is_told():
    decoder = Decoder()
    decoder.feed(SAMPLE)
    assert decoder.retry == 250


def test_only_the_first_line_may_begin_with_a_bom():
    assert decoded(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [Event(b"a")]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 60, b"x" * 60],
        [b"data: " + b"x" * 60 + b"\n", b"data: " + b"x" * 60 + b"\n"],
        [b"data: " + b"x" * 120 + b"\n\n"],
        [b":" + b"x" * 60, b"x" * 60],
    ],
)
def test_an_event_without_an_end_is_refused_before_it_fills_the_memory(chunks: list[bytes]):
    decoder = Decoder(most=100)
    with pytest.raises(sse.EventTooLarge, match="100 bytes"):
        for chunk in chunks:
            decoder.feed(chunk)


def test_many_events_below_the_bound_are_no_large_event():
    decoder = Decoder(most=100)
    assert len(decoder.feed(b"data: 12345678\n\n" * 50)) == 50


def test_what_is_encoded_is_decoded_again():
    encoded = sse.encode("one\ntwo\r\nthree\rfour", event="delta", id="5", retry=10, comment="a\nb")
    assert encoded == (b": a\n: b\nevent: delta\nid: 5\nretry: 10\ndata: one\ndata: two\ndata: three\ndata: four\n\n")
    assert decoded(encoded) == [Event(b"one\ntwo\nthree\nfour", b"delta", b"5")]
    assert decoded(sse.encode(b'{"a":1}')) == [Event(b'{"a":1}')]
    assert decoded(sse.encode("")) == [Event(b"")]
    assert decoded(sse.encode(retry=5), sse.encode(comment="x")) == []


@pytest.mark.parametrize("field", [{"event": "a\nb"}, {"event": "a\rb"}, {"id": "a\nb"}, {"id": "a\0b"}])
def test_a_line_end_cannot_be_smuggled_into_a_field(field: dict[str, str]):
    with pytest.raises(ValueError, match="cannot hold"):
        sse.encode("x", **field)  # type: ignore[arg-type]


def test_a_keepalive_dispatches_nothing_and_stays_between_events():
    assert decoded(sse.KEEPALIVE, b"data: a\n\n", sse.KEEPALIVE, b"data: b\n\n") == [Event(b"a"), Event(b"b")]


@pytest.mark.parametrize("end", [b"", b"a\n\n", b"a\r\n\r\n", b"a\r\r", b"a\n\r\n", b"a\r\n\n", b"a\n\r", b"a\r\r\n"])
def test_between_two_events(end: bytes):
    assert sse.at_boundary(end)


@pytest.mark.parametrize("end", [b"data: x", b"data: x\n", b"data: x\r\n", b"data: x\r", b"\n "])
def test_inside_an_event(end: bytes):
    assert not sse.at_boundary(end)

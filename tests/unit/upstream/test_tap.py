"""The two ends of a body, however it was cut; a copy for whoever looks later."""

import pytest

from gateway.upstream.tap import Tap

BODY = bytes(range(256)) * 40


@pytest.mark.parametrize("size", [1, 7, 100, 1000, len(BODY)])
@pytest.mark.parametrize("length", [0, 5, 10, 11, 30, 31, 500, len(BODY)])
def test_the_ends_are_the_same_however_the_body_was_cut(size: int, length: int) -> None:
    body, tap = BODY[:length], Tap(10, 20)
    for start in range(0, length, size):
        tap.hear(body[start : start + size])
    assert (tap.size, tap.pieces) == (length, -(-length // size))
    assert tap.head == body[:10]
    assert tap.tail == body[10:][-20:]
    assert tap.whole == (length <= 30)
    assert (tap.size, tap.pieces) == (length, -(-length // size))


def test_what_is_kept_is_bounded() -> None:
    tap = Tap(10, 20)
    for _ in range(50_000):
        tap.hear(b"x")
    kept = tap.kept + len(tap._late)
    assert kept < 10_000


def test_there_may_be_no_end() -> None:
    tap = Tap(10, 0)
    for _ in range(100):
        tap.hear(b"x" * 100)
    assert (tap.head, tap.tail, tap.size) == (b"x" * 10, b"", 10_000)
    assert tap.kept == 10


EVENTS = [b"event: n%d\ndata: %b\n\n" % (number, b"x" * size) for number, size in enumerate((5, 300, 40, 2000, 1, 90))]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("piece", [7, 64, 1000, 5000])
def test_the_event_that_the_tail_begins_inside_is_known_by_its_first_bytes(piece: int, line_end: bytes) -> None:
    events = [event.replace(b"\n", line_end) for event in EVENTS]
    body, starts = b"".join(events), [sum(map(len, events[:number])) for number in range(len(events))]
    for length in range(600, len(body)):
        tap = Tap(100, 450, events=True)
        for start in range(0, length, piece):
            tap.hear(body[start : min(start + piece, length)])
        cut = length - len(tap.tail)
        assert tap.tail == body[cut:length]
        begun = max(start for start in starts if start <= cut + len(line_end))
        assert tap.opening == body[begun : min(begun + 256, length)], length

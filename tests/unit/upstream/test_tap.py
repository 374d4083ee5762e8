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


@pytest.mark.parametrize("length", [3, 9, 15, 4096, 20_000, 200_000])
def test_the_end_is_enough_to_see_how_a_stream_ended(length: int) -> None:
    tap = Tap()
    for _ in range(length // 3):
        tap.hear(b"abc")
    tap.hear(b"data: [DONE]\n\n")
    assert tap.end().endswith(b"abcdata: [DONE]\n\n")

"""Chunks that are told at a glance are those that aiohttp's parser finds, and it stands where they say."""

import asyncio
import random

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser
from aiohttp.streams import StreamReader

from gateway.wire.chunks import ENDED, LOST, MOST_SIZES, SIZES, size_of, walk

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"5\r\nabcde\r\n1A\r\n" + b"z" * 26 + b"\r\n3\r\n0\r\n\r\n"


class Parsed:
    """What aiohttp's parser makes of a body."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        protocol = BaseProtocol(self._loop)
        self._parser = HttpResponseParser(protocol, self._loop, 1 << 29, read_until_eof=True)
        ((_, self._body),), _, _ = self._parser.feed_data(HEAD)
        assert isinstance(self._body, StreamReader)

    def feed(self, data: bytes) -> bool:
        """Whether the parser takes `data`, and nothing of it for another message."""
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except (HttpProcessingError, AssertionError):
            return False
        return not (messages or upgraded)

    @property
    def body(self) -> bytes:
        return b"".join(self._body._buffer)

    @property
    def ended(self) -> bool:
        return self._body.is_eof()

    def close(self) -> None:
        self._loop.close()


@pytest.mark.parametrize(
    ("data", "missing", "chunks", "left"),
    [
        (b"", 0, [], 0),
        (b"3\r\nabc\r\n", 0, [b"abc"], 0),
        (b"3\r\nabc\r\n2\r\n\r\n\r\n", 0, [b"abc", b"\r\n"], 0),
        (b"3\r\nabc\r\n0\r\n\r\n", 0, [b"abc"], ENDED),
        (b"0\r\n\r\n", 0, [], ENDED),
        (b"3\r\nab", 0, [], 3),
        (b"3\r\n", 0, [], 5),
        (b"3\r\nabc\r", 0, [], 1),
        (b"\n2\r\nxy\r\n", 1, [b"xy"], 0),
        (b"c\r\n", 3, [], 0),
        (b"c\r\n0\r\n\r\n", 3, [], ENDED),
        (b"", 3, [], 3),
    ],
)
def test_what_is_plain_is_told(data: bytes, missing: int, chunks: list[bytes], left: int) -> None:
    assert walk(data, missing) == (chunks, left)


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (b"3", 0),
        (b"3\r", 0),
        (b"3;x=y\r\nabc\r\n", 0),
        (b"3 \r\nabc\r\n", 0),
        (b"+3\r\nabc\r\n", 0),
        (b"0x3\r\nabc\r\n", 0),
        (b"1_0\r\n" + b"a" * 16 + b"\r\n", 0),
        (b"\r\n3\r\nabc\r\n", 0),
        (b"3\r\nabcd\r\n", 0),
        (b"3\nabc\n", 0),
        (b"3\r\nabc\n2\r\nxy\r\n", 0),
        (b"3\r\nabcx", 0),
        (b"\r2\r\nxy\r\n", 1),
        (b"c\n2\r\nxy\r\n", 3),
        (b"000000003\r\nabc\r\n", 0),
        (b"0\r\nX-Sum: 1\r\n\r\n", 0),
        (b"0\r\n\r\nHTTP/1.1 200 OK\r\n", 0),
        (b"0\r\n", 0),
        (b"3\r\nabc\r\n", LOST),
        (b"3\r\nabc\r\n", ENDED),
    ],
)
def test_what_is_not_plain_is_lost(data: bytes, missing: int) -> None:
    assert walk(data, missing)[1] == LOST


@pytest.mark.parametrize(("line", "size"), [(b"a", 10), (b"00Ff", 255), (b"0", LOST), (b"", LOST), (b"g", LOST)])
def test_a_size_is_hexadecimal_digits(line: bytes, size: int) -> None:
    assert size_of(line) == size


def test_the_parser_finds_the_same_in_damaged_bodies_however_they_are_cut() -> None:
    chosen = random.Random(7)
    bits = [b"", b"\r\n", b"\r", b"\n", b" ", b";x", b"0", b"1", b"A", b"+", b"0x", b"\0", b"5\r\nabcde\r\n"]
    told = dict.fromkeys(("between", "inside", "ended"), 0)
    for _ in range(8_000):
        data = EVENTS + chosen.choice([b"", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"])
        for _ in range(chosen.choice([0, 1, 1, 2])):
            at = chosen.randrange(len(data) + 1)
            data = data[:at] + chosen.choice(bits) + data[at + chosen.choice([0, 0, 1, 2]) :]
        cuts = sorted(chosen.sample(range(1, len(data)), chosen.choice([0, 1, 2, 3])))
        parsed, missing, seen = Parsed(), 0, b""
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            piece, before = data[start:end], missing
            chunks, missing = walk(piece, before)
            taken = parsed.feed(piece)
            if missing == LOST:
                break
            if not taken:
                # What was left of a chunk is the parser's to judge: it saw all of that, and ends the response.
                assert before > 0, data
                break
            if before == 0 and missing in (0, ENDED):
                assert parsed.body == seen + b"".join(chunks), data
            assert parsed.ended == (missing == ENDED), data
            if missing == ENDED:
                told["ended"] += 1
                break
            told["inside" if missing else "between"] += 1
            seen = parsed.body
        else:
            rest = (b"x" * max(missing - 2, 0) + b"\r\n"[-missing:]) if missing else b""
            assert parsed.feed(rest + b"2\r\nok\r\n0\r\n\r\n"), data
            assert (parsed.ended, parsed.body[-2:]) == (True, b"ok"), data
        parsed.close()
    assert min(told.values()) > 400


def test_of_sizes_only_real_ones_are_kept_and_not_too_many() -> None:
    for line in (b"0", b"", b"x", b"1" * 9, b"5;ext=1", b"\r", b"1" * 100_000):
        assert size_of(line) == LOST
        assert line not in SIZES
    for size in range(1, 2 * MOST_SIZES):
        assert size_of(b"%x" % size) == size_of(b"%x" % size) == size
        assert len(SIZES) <= MOST_SIZES
    assert SIZES[b"%x" % (2 * MOST_SIZES - 1)] == 2 * MOST_SIZES - 1

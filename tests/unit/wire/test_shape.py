"""A head that a shape takes is one that aiohttp's parser takes, too, and finds the same in."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.wire import shape
from gateway.wire.shape import Found, Shapes

REQUEST = (
    b"POST /v1/chat HTTP/1.1\r\nHost: gateway:8080\r\nConnection: keep-alive\r\nX-API-Key: secret\r\n"
    b"Accept: */*\r\nContent-Length: 4\r\nX-Last: a b\tc\r\n\r\nbody"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: today\r\nServer: x\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n"
    b"Content-Length: 4\r\nX-Last: \xc3\xa9\xff\r\n\r\nbody"
)
STARTS = {REQUEST: rb"POST (/[!-\"$-~]*+) HTTP/1\.1", RESPONSE: rb"HTTP/1\.1 200 OK"}
BOTH = pytest.mark.parametrize("sample", [REQUEST, RESPONSE], ids=["request", "response"])


class Judge:
    """aiohttp's parser, a new one for each message, as strict or lax as the gateway has it."""

    def __init__(self, sample: bytes) -> None:
        self._is_request = sample is REQUEST
        self._loop = asyncio.new_event_loop()

    def judge(self, data: bytes) -> tuple[Any, bytes] | None:
        """The one message that `data` is, and its body; None if it is none, or not to its end, or more."""
        kind, options = (HttpRequestParser, {}) if self._is_request else (HttpResponseParser, {"read_until_eof": True})
        parser = kind(BaseProtocol(self._loop), self._loop, 1 << 16, auto_decompress=False, **options)  # type: ignore[arg-type]
        try:
            messages, upgraded, tail = parser.feed_data(data)
        except HttpProcessingError:
            return None
        if len(messages) != 1 or upgraded or tail or not messages[0][1].is_eof():
            return None
        message, payload = messages[0]
        return message, b"" if payload is EMPTY_PAYLOAD else b"".join(payload._buffer)

    def close(self) -> None:
        self._loop.close()


@pytest.fixture
def judge(sample: bytes) -> Iterator[Judge]:
    made = Judge(sample)
    yield made
    made.close()


def learned(sample: bytes, judge: Judge) -> Shapes[str]:
    shapes, judged = Shapes[str](), judge.judge(sample)
    assert judged is not None
    for _ in range(2):
        assert shapes.find(sample) is None
        shapes.learn(STARTS[sample], judged[0].raw_headers, sample, lambda: "kept")
    return shapes


def fields_of(found: Found[str]) -> list[tuple[bytes, bytes]]:
    shape, values, _, _ = found
    return [*zip(shape.names, values[-len(shape.names) :], strict=True)]


@BOTH
def test_what_was_met_twice_is_known(sample: bytes, judge: Judge) -> None:
    other = sample.replace(b"4\r\n", b"11\r\n").replace(b"body", b"longer body").replace(b"a b\tc", b"\xe9")
    found = learned(sample, judge).find(other)
    assert found is not None
    judged = judge.judge(other)
    assert judged is not None
    assert (fields_of(found), found[2]) == ([*judged[0].raw_headers], b"longer body")
    assert found[0].kept == "kept"


@BOTH
def test_nothing_is_taken_that_the_parser_would_not_take_or_would_read_differently(sample: bytes, judge: Judge) -> None:
    shapes, chosen = learned(sample, judge), random.Random(11)
    bits = [b"", b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b"\x7f", b"\x80", b"\x0b", b"0", b"#", b"-1", b"+4"]
    bits += [b"a", b"chunked", b"close", b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked", b"\r\n folded", b"HTTP/1.0"]
    taken = 0
    for _ in range(20_000):
        data = sample
        for _ in range(chosen.choice([1, 1, 2, 3])):
            at = chosen.randrange(len(data) + 1)
            data = data[:at] + chosen.choice(bits) + data[at + chosen.choice([0, 0, 1, 2]) :]
        found = shapes.find(data)
        if found is None:
            continue
        taken += 1
        lacking = b"x" * found[3]
        found, judged = (*found[:2], found[2] + lacking, 0), judge.judge(data + lacking)
        assert judged is not None, data
        message, body = judged
        assert (fields_of(found), found[2]) == ([*message.raw_headers], body), data
        assert message.version is HttpVersion11
        assert not (message.should_close or message.chunked or message.upgrade)
        if sample is REQUEST:
            assert (found[1][0], message.url.raw_path) == (message.path.encode(), message.path.partition("?")[0])
        else:
            assert (message.code, message.reason) == (200, "OK")
    assert taken > 1000


@BOTH
def test_what_a_body_lacks_is_told(sample: bytes, judge: Judge) -> None:
    shapes = learned(sample, judge)
    for lacks in range(5):
        found = shapes.find(sample[: len(sample) - lacks])
        assert found is not None
        assert found[2:] == (b"body"[: 4 - lacks], lacks)
    assert shapes.find(sample[:-5]) is None


@BOTH
@pytest.mark.parametrize(
    ("what", "instead"),
    [
        (b"Content-Length: 4", b"Content-Length: 3"),
        (b"Connection: keep-alive", b"Connection: close"),
        (b"X-Last", b"X-Lost"),
        (b"X-Last: ", b"X-Last:"),
        (b"X-Last: ", b"X-Last:  "),
        (b"\r\n\r\n", b" \r\n\r\n"),
        (b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_what_decides_what_a_message_is_decides_whether_it_is_known(
    sample: bytes, judge: Judge, what: bytes, instead: bytes
) -> None:
    shapes = learned(sample, judge)
    assert shapes.find(sample.replace(what, instead)) is None
    assert shapes.find(sample + b"G") is None
    assert shapes.find(b"\r\n" + sample) is None
    assert shapes.find(sample) is not None


@pytest.mark.parametrize(
    "field",
    [
        *(b"Transfer-Encoding: chunked", b"Upgrade: x", b"Expect: 100-continue", b"Content-Length: 4", b"A(: b"),
        b"Sec-WebSocket-Key: x",
    ],
)
def test_what_is_framed_in_another_way_has_no_shape(field: bytes) -> None:
    data = REQUEST.replace(b"X-Last: a b\tc", field)
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in data.split(b"\r\n")[1:-2])]
    shapes = Shapes[None]()
    for _ in range(3):
        shapes.learn(STARTS[REQUEST], fields, data, lambda: None)
    assert shapes.find(data) is None
    assert shapes.can_learn


def test_what_is_long_is_not_known() -> None:
    data = REQUEST.replace(b"secret", b"s" * shape.LONGEST)
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in data.split(b"\r\n")[1:-2])]
    shapes = Shapes[None]()
    for _ in range(3):
        shapes.learn(STARTS[REQUEST], fields, data, lambda: None)
    assert shapes.find(data) is None
    short = REQUEST.replace(b"secret", b"s")
    for _ in range(3):
        shapes.learn(STARTS[REQUEST], [(n, b"s" if n == b"X-API-Key" else v) for n, v in fields], short, lambda: None)
    assert shapes.find(short) is not None
    assert shapes.find(data) is None


def test_the_latest_shapes_are_kept_and_lessons_have_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)
    shapes = Shapes[int]()

    def teach(number: int) -> bytes:
        data = b"GET / HTTP/1.1\r\nX-%d: x\r\nContent-Length: 0\r\n\r\n" % number
        for _ in range(2):
            shapes.learn(
                rb"GET / HTTP/1\.1", [(b"X-%d" % number, b"x"), (b"Content-Length", b"0")], data, lambda: number
            )
        return data

    taught = [teach(number) for number in range(shape.MOST + 2)]
    known = [shapes.find(data) is not None for data in taught]
    assert known == [False, False, *[True] * shape.MOST]
    monkeypatch.setattr(shape, "PAUSE", 60.0)
    assert shapes.find(teach(1000)) is not None
    assert not shapes.can_learn
    assert shapes.find(teach(1001)) is None


def test_what_is_written_in_another_way_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)
    made: list[None] = []
    shapes = Shapes[None]()
    for _ in range(9):
        data = b"GET / HTTP/1.1\r\nX:1\r\nContent-Length: 0\r\n\r\n"
        shapes.learn(rb"GET / HTTP/1\.1", [(b"X", b"1"), (b"Content-Length", b"0")], data, lambda: made.append(None))
    assert shapes.find(data) is None
    assert len(made) == 1


def test_other_values_of_what_is_part_of_a_shape_are_another_shape() -> None:
    shapes = Shapes[None]()
    for host in (b"a", b"b", b"c", b"d"):
        data = b"GET / HTTP/1.1\r\nHost: %b\r\nContent-Length: 0\r\n\r\n" % host
        shapes.learn(rb"GET / HTTP/1\.1", [(b"Host", host), (b"Content-Length", b"0")], data, lambda: None)
        assert shapes.find(data) is None
    assert shapes.can_learn

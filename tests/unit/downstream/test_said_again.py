"""A client that says on a connection what it said there before is read as if it had said it for the first time."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser

from gateway.downstream import known_request
from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.head import Heads, Told
from gateway.downstream.known_request import MOST_HEADS, KnownRequest, KnownRequests, OneConnection, Said
from gateway.wire import shape
from tests.guarded_app import on_both_loops, served
from tests.raw_http import connected


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


def asked(body: bytes = b"{}", *, key: str = "secret", length: str | None = None, own: str = "a b\tc") -> bytes:
    said = str(len(body)) if length is None else length
    head = (
        f"POST /seen HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {key}\r\ncontent-LENGTH: {said}\r\nX-Last: {own}\r\n\r\n"
    )
    return head.encode("latin-1") + body


@pytest.fixture
def known() -> Iterator[KnownRequests]:
    """What knows the shape of `asked`."""
    loop = asyncio.new_event_loop()
    requests = KnownRequests(ConnectionBounds())
    for _ in range(2):
        parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16)
        ((message, _),), _, _ = parser.feed_data(asked())
        requests.learn(message, asked())
    yield requests
    loop.close()


def facts(request: KnownRequest) -> tuple[object, ...]:
    return (request.method, request.path, request.url, request.body, request.length, request.raw_headers)


def said(request: KnownRequest) -> Said:
    assert request.said is not None
    return request.said


def test_what_is_said_again_is_read_as_the_first_time(known: KnownRequests) -> None:
    one = OneConnection(known)
    for body in (b"{}", b"{}", b"", b"x" * 12, b"y" * 100_000, b"\r\n\r\n", asked()):
        request, fresh = one.read(asked(body)), known.read(asked(body))
        assert request is not None and fresh is not None
        assert facts(request) == facts(fresh)
        assert [*request.headers.items()] == [*fresh.headers.items()]
        assert request.headers["Content-Length"] == str(len(body))


def test_nothing_that_is_said_otherwise_is_taken_for_the_same(known: KnownRequests) -> None:
    one, chosen = OneConnection(known), random.Random(3)
    sample, last = asked(b"body"), None
    for _ in range(2):
        request = one.read(sample)
        assert request is not None
        last = request.said
    assert last is not None
    bits = [
        b"",
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"0",
        b"4",
        b"-",
        b"+",
        b"_",
        b"\xb2",
        b"a",
        b"a" * 20,
    ]
    taken = 0
    for _ in range(30_000):
        data = sample
        for _ in range(chosen.choice([1, 1, 1, 2])):
            at = chosen.randrange(len(data) + 1)
            data = data[:at] + chosen.choice(bits) + data[at + chosen.choice([0, 1, 2]) :]
        again = last.again(data)
        if again is not None:
            taken += 1
            fresh = known.read(data)
            assert fresh is not None, data
            assert facts(again) == facts(fresh), data
            assert data.partition(b"content-LENGTH")[0] == sample.partition(b"content-LENGTH")[0]
    assert taken > 100


@pytest.mark.parametrize("length", ["", "3", "5", "-4", "+4", " 4", "4 ", "4_0", "4.0", "4" * 20, "x", "4\r\nA: b"])
def test_a_length_that_is_not_the_bodys_is_for_others_to_judge(known: KnownRequests, length: str) -> None:
    one = OneConnection(known)
    requests = [one.read(asked(b"body")) for _ in range(2)]
    assert requests[1] is not None
    assert said(requests[1]).again(asked(b"body", length=length)) is None
    assert said(requests[1]).again(asked(b"body", length="04")) is not None


def test_a_connection_that_brings_one_request_keeps_nothing_of_it(known: KnownRequests) -> None:
    one = OneConnection(known)
    first, second, third = (one.read(asked()) for _ in range(3))
    assert first is not None and second is not None and third is not None
    assert first.said is None
    assert second.said is third.said is not None


def test_where_many_clients_share_a_connection_no_more_is_kept(known: KnownRequests) -> None:
    one = OneConnection(known)
    requests = [one.read(asked(key=f"key-{number}")) for number in range(MOST_HEADS + 3)]
    assert [request is not None and request.said is not None for request in requests] == [
        False,
        *[True] * MOST_HEADS,
        False,
        False,
    ]
    assert [dict(request.raw_headers)[b"X-API-Key"] for request in requests if request is not None] == [
        b"key-%d" % number for number in range(MOST_HEADS + 3)
    ]
    again = one.read(asked(b"again", key=f"key-{MOST_HEADS}"))
    assert again is not None and again.said is not None


@on_both_loops
async def test_a_head_that_is_said_again_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads()
    told: list[Told] = []
    lookups: list[bytes] = []

    def read(of: KnownRequests, data: bytes) -> KnownRequest | None:
        if data:
            lookups.append(data)
        return original(of, data)

    original = known_request.KnownRequests.read
    monkeypatch.setattr(known_request.KnownRequests, "read", read)

    async def handle(request: web.Request) -> web.Response:
        told.append(heads.read(request))
        return web.Response(body=await request.read())

    async with served(handlers={"/seen": handle}) as it:
        for _ in range(2):
            async with connected(it.port) as client:
                for number in range(6):
                    await client.send(asked(b"x" * number))
                    assert (await client.response()).body == b"x" * number
    assert lookups[-2:] == [asked(b""), asked(b"x")]  # on the second connection, by their shape
    assert len(lookups) < 7
    assert len({id(each) for each in told[-5:]}) == 1
    assert {(*each.keys,) for each in told} == {(b"secret",)}

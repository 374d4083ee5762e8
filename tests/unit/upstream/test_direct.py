"""The transport's contract, over real sockets; parametrised so that every transport meets the same one."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest
from aiohttp import TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.streams import StreamReader
from yarl import URL

from gateway.errors import (
    GatewayError,
    IdleTimeout,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.direct import DirectTransport
from gateway.upstream.transport import Outgoing, Transport, field_lines
from tests.scripted import (
    ScriptedUpstream,
    answer,
    begin,
    chunk,
    close,
    end,
    flood,
    pause,
    reset,
    send,
    until_left,
)

QUICK = Timeouts(connect=0.3, first_byte=0.3, idle=0.3)
PATIENT = Timeouts(connect=5, first_byte=5, idle=5)
HOST = field_lines([(b"host", b"x")])
Open = Callable[..., Transport]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def connect(upstream: ScriptedUpstream) -> AsyncIterator[Open]:
    made: list[Transport] = []

    def to_upstream(timeouts: Timeouts = PATIENT, pool_size: int = 10, url: str = "") -> Transport:
        made.append(DirectTransport(URL(url or upstream.url), timeouts, pool_size))
        return made[-1]

    yield to_upstream
    for transport in made:
        await transport.close()


def a_call() -> UpstreamCall:
    return UpstreamCall("mock", "POST", "/v1/chat", "0" * 16)


def get(target: bytes = b"/", method: str = "GET") -> Outgoing:
    return Outgoing(method, target, HOST)


def post(body: bytes = b"{}") -> Outgoing:
    return Outgoing("POST", b"/v1/chat", HOST, body, len(body))


class Gathered:
    """A sink with room for everything, or for one piece at a time."""

    def __init__(self, *, roomy: bool = True) -> None:
        self.pieces: list[bytes] = []
        self.waits = 0
        self.came = asyncio.Event()
        self.roomy = roomy

    def take(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        self.came.set()
        return self.roomy

    async def taken(self) -> None:
        self.waits += 1
        await asyncio.sleep(0)


async def read_whole(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    async with transport.send(request, call or a_call()) as response:
        return b"".join([piece async for piece in response.chunks()])


async def take_whole(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    sink = Gathered()
    async with transport.send(request, call or a_call()) as response:
        await response.hand_over(sink)
    return b"".join(sink.pieces)


async def take_piecemeal(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    sink = Gathered(roomy=False)
    async with transport.send(request, call or a_call()) as response:
        await response.hand_over(sink)
    assert sink.waits == len(sink.pieces)
    return b"".join(sink.pieces)


Whole = Callable[..., Awaitable[bytes]]


@pytest.fixture(params=[read_whole, take_whole, take_piecemeal])
def whole(request: pytest.FixtureRequest) -> Whole:
    """A body can be read, or be handed over; it is the same one."""
    return cast(Whole, request.param)


async def test_target_and_fields_go_out_verbatim(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    fields = [(b"Host", b"x"), (b"X-Odd", b"\xe9\xff caf\xc3\xa9"), (b"x-odd", b""), (b"X-ODD", b"2")]
    target = b"/v1/%7Emodels//a%2Fb;p=1?a=1&a=2&&b=+%20&c?"
    await whole(connect(), Outgoing("GET", target, field_lines(fields)))
    got = await upstream.received()
    assert got.target == target
    assert got.raw_fields == fields


async def test_a_bare_question_mark_is_kept(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    await whole(connect(), get(b"/v1/models?"))
    assert (await upstream.received()).target == b"/v1/models?"


@pytest.mark.parametrize(
    ("steps", "body"),
    [
        ((answer(b"hello"),), b"hello"),
        ((begin(), chunk(b"a"), chunk(b"bc"), end()), b"abc"),
        ((send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"), close()), b"to the end"),
        ((send(b"HTTP/1.0 200 OK\r\n\r\nold"), close()), b"old"),
        ((send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), answer(b"after")), b"after"),
        ((begin("Trailer: x-sum"), chunk(b"a"), send(b"0\r\nx-sum: 1\r\n\r\n")), b"a"),
        ((send(b"HTTP/1.1 204 No Content\r\n\r\n"),), b""),
        ((send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),), b""),
        (
            (send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"),),
            b"\x1f\x8b\x00",
        ),
    ],
)
async def test_a_body_arrives_as_it_was_sent(
    upstream: ScriptedUpstream, connect: Open, steps: tuple[object, ...], body: bytes, whole: Whole
) -> None:
    upstream.will(*steps)  # type: ignore[arg-type]
    assert await whole(connect(), get()) == body


async def test_a_response_may_be_cut_at_every_byte(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    transport = connect()
    for cut in range(1, len(raw)):
        upstream.will(send(raw[:cut]), pause(0.001), send(raw[cut:]))
        assert await whole(transport, get()) == b"abcde"
    assert upstream.connections == 1


async def test_head_has_no_body_whatever_its_length_says(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"))
    transport = connect()
    assert await whole(transport, get(method="HEAD")) == b""
    assert await whole(transport, get()) == b'{"ok":true}'
    assert upstream.connections == 1


async def test_chunks_are_handed_over_as_they_come(upstream: ScriptedUpstream, connect: Open) -> None:
    taken = asyncio.Event()

    async def until_taken(_: object) -> None:
        await asyncio.wait_for(taken.wait(), 5)

    upstream.will(begin(), chunk(b"first"), until_taken, chunk(b"second"), end())
    async with connect().send(get(), a_call()) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"first"
        taken.set()
        assert [piece async for piece in chunks] == [b"second"]


async def test_a_connection_is_used_again(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport, second = connect(), a_call()
    await whole(transport, post())
    await whole(transport, post(), second)
    assert upstream.connections == 1
    assert second.reused_connection


async def test_a_connection_that_the_provider_closed_costs_a_new_one_and_no_request(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    upstream.will(answer(), close())
    await whole(transport, post())
    assert await whole(transport, post()) == b'{"ok":true}'
    assert len(upstream.requests) == 2
    assert upstream.connections == 2


async def test_bytes_on_an_idle_connection_answer_nobody(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    upstream.will(answer(b"mine"), send(poison))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == b'{"ok":true}'
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine" + poison))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == b'{"ok":true}'


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nX-A: ", b"H", b"\r\n"])
async def test_what_follows_a_response_is_no_part_of_the_next(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, more: bytes
) -> None:
    transport = connect()
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine" + more))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == b'{"ok":true}'
    upstream.will(begin(), chunk(b"mi"), pause(0.01), send(b"2\r\nne\r\n0\r\n\r\n" + more))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == b'{"ok":true}'


async def test_a_request_that_may_have_been_processed_is_not_sent_again(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    await whole(transport, post())
    upstream.will(reset())
    with pytest.raises(UpstreamError):
        await whole(transport, post())
    assert len(upstream.requests) == 2


MALFORMED = [
    b"HELO there\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 1\r\n\r\na",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 099 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_answer_is_the_upstreams_fault(
    upstream: ScriptedUpstream, connect: Open, raw: bytes, whole: Whole
) -> None:
    upstream.will(send(raw), close())
    transport = connect()
    with pytest.raises(UpstreamError):
        await whole(transport, get())
    assert await whole(transport, get()) == b'{"ok":true}'


BROKEN_OFF = {
    "length, closed": (send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), close()),
    "length, reset": (send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), pause(0.05), reset()),
    "chunked, closed": (begin(), chunk(b"abc"), close()),
    "chunked, reset": (begin(), chunk(b"abc"), pause(0.05), reset()),
    "inside a chunk": (begin(), send(b"a\r\nabc"), close()),
    "garbage for a chunk": (begin(), chunk(b"abc"), pause(0.05), send(b"zz\r\n")),
    "garbage after a chunk": (begin(), send(b"3\r\nabc"), pause(0.05), send(b"XX")),
    "to the end, reset": (send(b"HTTP/1.1 200 OK\r\n\r\nabc"), pause(0.05), reset()),
}


@pytest.mark.parametrize("steps", BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_a_body_that_is_broken_off_never_ends_cleanly(
    upstream: ScriptedUpstream, connect: Open, steps: tuple[object, ...], whole: Whole
) -> None:
    upstream.will(*steps, until_left())  # type: ignore[arg-type]
    with pytest.raises(UpstreamTruncated):
        async with asyncio.timeout(5):
            await whole(connect(), get())


async def test_nobody_listens(connect: Open, upstream: ScriptedUpstream, whole: Whole) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.url
    with pytest.raises(UpstreamUnreachable):
        await whole(connect(url=url), get())


async def test_a_name_that_does_not_resolve(connect: Open, whole: Whole) -> None:
    with pytest.raises(UpstreamUnreachable):
        await whole(connect(url="http://no-such-host.invalid"), get())


async def test_a_provider_that_never_begins_runs_into_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(until_left())
    with pytest.raises(UpstreamTimeout):
        await whole(connect(QUICK), get())
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_interim_responses_do_not_put_off_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(send(b"HTTP/1.1 100 Continue\r\n\r\n"), until_left())
    with pytest.raises(UpstreamTimeout):
        await whole(connect(QUICK), get())


async def test_a_provider_that_falls_silent_runs_into_the_idle_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(begin(), chunk(b"abc"), until_left())
    with pytest.raises(IdleTimeout):
        await whole(connect(QUICK), get())


async def test_a_slow_reader_is_no_silent_provider_and_slows_it_down(upstream: ScriptedUpstream, connect: Open) -> None:
    size = 8 << 20
    upstream.will(begin(), flood(size), end())
    received = 0
    async with connect(QUICK).send(get(), a_call()) as response:
        chunks = response.chunks()
        received += len(await anext(chunks))
        await asyncio.sleep(3 * QUICK.idle)
        async for piece in chunks:
            received += len(piece)
    assert received == size


async def test_a_sink_that_is_full_slows_the_provider_and_is_no_silent_provider(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    size = 8 << 20
    upstream.will(begin(), flood(size), end())

    class Slow(Gathered):
        async def taken(self) -> None:
            self.waits += 1
            had = len(self.pieces)
            await asyncio.sleep(3 * QUICK.idle if self.waits == 1 else 0)
            assert len(self.pieces) == had

    sink = Slow(roomy=False)
    async with connect(QUICK).send(get(), a_call()) as response:
        await response.hand_over(sink)
    assert sum(map(len, sink.pieces)) == size
    assert max(map(len, sink.pieces)) < 2 << 20


async def test_a_sink_gets_a_piece_when_it_arrives(upstream: ScriptedUpstream, connect: Open) -> None:
    sink = Gathered()

    async def until_taken(_: object) -> None:
        await asyncio.wait_for(sink.came.wait(), 5)

    upstream.will(begin(), chunk(b"first"), until_taken, chunk(b"second"), end())
    async with connect().send(get(), a_call()) as response:
        await response.hand_over(sink)
    assert sink.pieces == [b"first", b"second"]


async def test_a_sink_that_takes_no_more_ends_the_call(upstream: ScriptedUpstream, connect: Open) -> None:
    class Gone(Gathered):
        async def taken(self) -> None:
            raise ConnectionResetError

    upstream.will(begin(), chunk(b"a"), until_left())
    with pytest.raises(ConnectionResetError):
        async with connect().send(get(), a_call()) as response:
            await response.hand_over(Gone(roomy=False))
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_a_body_of_known_length_streams_up(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    request = Outgoing("POST", b"/up", HOST, pieces(b"ab", b"", b"c"), 3)
    await whole(connect(), request)
    got = await upstream.received()
    assert got.fields["content-length"] == "3"
    assert got.body == b"abc"


async def test_a_body_of_unknown_length_streams_up_in_chunks(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    await whole(connect(), Outgoing("POST", b"/up", HOST, pieces(b"ab", b"c"), None))
    got = await upstream.received()
    assert "content-length" not in got.fields
    assert got.body == b"abc"


async def test_a_body_that_fails_on_our_side_breaks_the_request_off(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"ab"
        raise GatewayError("ours")

    upstream.read_bodies = False
    upstream.will(until_left())
    with pytest.raises(GatewayError, match="ours"):
        await whole(connect(), Outgoing("POST", b"/up", HOST, failing(), 10))
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_an_answer_may_come_before_the_upload_is_done(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.001)

    upstream.read_bodies = False
    upstream.will(answer(b"too large", "413 Payload Too Large"))
    async with connect().send(Outgoing("POST", b"/up", HOST, endless(), None), a_call()) as response:
        assert response.status == 413
        assert b"".join([piece async for piece in response.chunks()]) == b"too large"
    assert await whole(connect(), get()) == b'{"ok":true}'


@pytest.mark.parametrize("when", ["before the head", "in the body"])
async def test_leaving_the_block_frees_the_upstream_at_once(
    upstream: ScriptedUpstream, connect: Open, when: str
) -> None:
    upstream.will(*((begin(), chunk(b"a")) if when == "in the body" else ()), until_left())
    entered = asyncio.Event()

    async def call() -> None:
        async with connect().send(post(), a_call()) as response:
            async for _ in response.chunks():
                entered.set()

    task = asyncio.create_task(call())
    got = await upstream.received()
    if when == "in the body":
        await asyncio.wait_for(entered.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(got.closed.wait(), 0.2)


async def test_a_pool_that_is_full_makes_calls_wait_and_then_fail(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect(QUICK, pool_size=1)
    upstream.will(begin(), chunk(b"a"), until_left())
    async with transport.send(get(), a_call()):
        with pytest.raises(UpstreamTimeout):
            await whole(transport, get())


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (TCPConnector, "connect", ["self", "req", "traces", "timeout"]),
        (TCPConnector, "_release", ["self", "key", "protocol", "should_close"]),
        (ResponseHandler, "set_exception", ["self", "exc", "exc_cause"]),
        (ResponseHandler, "connection_lost", ["self", "exc"]),
        (ResponseHandler, "data_received", ["self", "data"]),
        (ResponseHandler, "_drain_helper", ["self"]),
        (ResponseHandler, "read", ["self"]),
        (StreamReader, "readany", ["self"]),
        (StreamReader, "is_eof", ["self"]),
        (StreamReader, "at_eof", ["self"]),
        (StreamReader, "feed_data", ["self", "data", "size"]),
        (StreamReader, "begin_http_chunk_receiving", ["self"]),
        (StreamReader, "end_http_chunk_receiving", ["self"]),
        (ResponseHandler, "_pause_reading_for_buffer", ["self"]),
        (ResponseHandler, "_resume_reading_for_buffer", ["self"]),
    ],
)
def test_what_is_used_of_aiohttp_314_is_where_it_was(owner: type, name: str, parameters: list[str]) -> None:
    found = getattr(owner, name, None)
    assert found is not None, f"aiohttp 3.14 had {owner.__name__}.{name}; gateway/upstream/direct.py builds on it"
    assert list(inspect.signature(found).parameters) == parameters, f"{owner.__name__}.{name} changed its parameters"


async def test_what_is_used_of_aiohttps_objects_is_where_it_was() -> None:
    connector = TCPConnector()
    for name in ("_factory", "_acquired", "_conns", "_waiters"):
        assert hasattr(connector, name), (
            f"aiohttp 3.14 had TCPConnector.{name}; gateway/upstream/direct.py builds on it"
        )
    await connector.close()
    for name in ("_buffer", "_eof", "_exception", "_waiter"):
        assert hasattr(StreamReader(ResponseHandler(asyncio.get_running_loop()), 1024), name), (
            f"aiohttp 3.14 had StreamReader.{name}; gateway/upstream/protocol.py builds on it"
        )
    handler = ResponseHandler(asyncio.get_running_loop())
    for name in ("_reading_paused", "_buffer_paused", "should_close", "transport"):
        assert hasattr(handler, name), (
            f"aiohttp 3.14 had ResponseHandler.{name}; gateway/upstream/direct.py builds on it"
        )
    assert "_protocol" in inspect.getsource(Connection.__init__), "aiohttp 3.14 had Connection._protocol"
    request = ClientRequest("GET", URL("http://x"), loop=asyncio.get_running_loop())
    assert request.connection_key.host == "x"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part

"""What goes up: targets and fields verbatim, bodies of known and unknown length, and how they end early."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.settings import Timeouts
from gateway.upstream.transport import Outgoing, field_lines
from tests.contract.calling import OK, PATIENT, QUICK, Open, Whole, a_call, get, pieces, post, read_whole, upload
from tests.scripted import ScriptedUpstream, answer, begin, chunk, close, end, reset, until_left

FIELDS = [
    (b"Host", b"x"),
    (b"X-Odd", b"\xe9\xff caf\xc3\xa9"),  # no UTF-8
    (b"x-odd", b""),
    (b"X-ODD", b"2"),
    (b"X-Odd", b"3"),
    (b"User-Agent", b"curl"),
    (b"Accept-Encoding", b"br"),
]


async def test_target_and_fields_go_out_verbatim(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    target = b"/v1/%7Emodels//a%2Fb;p=1/../%2e%2e/?a=1&a=2&&b=+%20&c?"
    await whole(connect(), Outgoing("GET", target, field_lines(FIELDS)))
    got = await upstream.received()
    assert got.target == target
    assert got.raw_fields == FIELDS


@pytest.mark.parametrize(
    "target", [b"/v1/models?", b"//host/@x:1/", b"/\xc3\xa9\xff?\xe9", b"/a?b%zz", b"/%", b"/a;b=c?d=e:f@g"]
)
async def test_a_target_that_libraries_like_to_tidy_goes_out_as_it_is(
    upstream: ScriptedUpstream, connect: Open, target: bytes
) -> None:
    async with connect().send(get(target), a_call()):
        assert (await upstream.received()).target == target


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND", "get"])
async def test_a_method_goes_out_as_it_is_and_nothing_is_said_of_a_body(
    upstream: ScriptedUpstream, connect: Open, method: str
) -> None:
    upstream.will(answer(b""))
    async with connect().send(get(method=method), a_call()):
        got = await upstream.received()
    assert got.method == method
    assert got.raw_fields == [(b"host", b"x")]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_method_that_usually_has_a_body_says_that_there_is_none(
    upstream: ScriptedUpstream, connect: Open, method: str
) -> None:
    async with connect().send(get(method=method), a_call()):
        got = await upstream.received()
    assert got.raw_fields == [(b"host", b"x"), (b"content-length", b"0")]


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
async def test_a_body_that_is_there_goes_up_with_its_length(
    upstream: ScriptedUpstream, connect: Open, size: int, whole: Whole
) -> None:
    call = a_call()
    await whole(connect(), post(b"x" * size), call)
    got = await upstream.received()
    assert got.fields["content-length"] == str(size)
    assert len(got.body) == call.bytes_sent == size


async def test_a_body_of_known_length_streams_up(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    call = a_call()
    await whole(connect(), upload(pieces(b"ab", b"", b"c", b""), 3), call)
    got = await upstream.received()
    assert got.raw_fields == [(b"host", b"x"), (b"content-length", b"3")]
    assert got.body == b"abc"
    assert call.bytes_sent == 3


async def test_a_body_of_unknown_length_streams_up_in_chunks(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    call = a_call()
    await whole(connect(), upload(pieces(b"ab", b"", b"c")), call)
    got = await upstream.received()
    assert got.raw_fields == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
    assert got.body == b"abc"
    assert call.bytes_sent == 3


async def test_a_streamed_body_may_be_empty(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    assert await whole(transport, upload(pieces(), 0)) == OK
    assert await whole(transport, upload(pieces())) == OK
    assert [got.body for got in upstream.requests] == [b"", b""]
    assert upstream.connections == 1


async def test_the_head_does_not_wait_for_the_body_to_begin(upstream: ScriptedUpstream, connect: Open) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    upstream.read_bodies = False
    upstream.will(answer(b"no", "401 Unauthorized"))
    async with connect().send(upload(never()), a_call()) as response:
        assert response.status == 401


async def test_a_body_that_fails_on_our_side_breaks_the_request_off(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"ab"
        raise GatewayError("ours")

    upstream.read_bodies = False
    upstream.will(until_left())
    with pytest.raises(GatewayError, match="ours"):
        await whole(connect(), upload(failing(), 10))
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_a_body_that_is_shorter_than_it_said_breaks_the_request_off(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.read_bodies = False
    upstream.will(until_left())
    with pytest.raises(UpstreamError):
        await whole(connect(), upload(pieces(b"ab"), 10))
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_a_body_that_is_longer_than_it_said_is_no_next_request(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.read_bodies = False
    upstream.will(until_left())
    with pytest.raises(UpstreamError):
        await whole(connect(), upload(pieces(b"ab", b"GET / HTTP/1.1\r\n\r\n"), 2))
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_an_answer_may_come_before_the_upload_is_done(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport, left = connect(), False

    async def unfinished() -> AsyncIterator[bytes]:
        nonlocal left
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            left = True

    upstream.read_bodies = False
    upstream.will(answer(b"too large", "413 Payload Too Large"))
    async with transport.send(upload(unfinished()), a_call()) as response:
        assert response.status == 413
        assert b"".join([piece async for piece in response.chunks()]) == b"too large"
    assert left
    assert await whole(transport, get()) == OK
    assert upstream.connections == 2  # in the middle of a request the first could not be used again


async def test_an_answer_and_an_upload_may_run_at_once(upstream: ScriptedUpstream, connect: Open) -> None:
    heard = asyncio.Event()

    async def when_heard() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.wait_for(heard.wait(), 5)
        yield b"b"

    async def the_rest_came(request: object) -> None:
        got = upstream.requests[0]
        assert await got.reader.readexactly(17) == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"

    upstream.read_bodies = False
    upstream.will(begin(), chunk(b"1"), the_rest_came, chunk(b"2"), end(), close())
    async with connect().send(upload(when_heard()), a_call()) as response:
        chunks = response.chunks()
        assert await anext(chunks) == b"1"
        heard.set()
        assert [piece async for piece in chunks] == [b"2"]


@pytest.mark.parametrize("how", [close, reset])
@pytest.mark.parametrize("after", [0, 100_000])
async def test_an_upstream_that_dies_in_the_middle_of_an_upload_is_an_upstreams_failure(
    upstream: ScriptedUpstream, connect: Open, how: object, after: int, whole: Whole
) -> None:
    async def part_of_it(request: object) -> None:
        await upstream.requests[0].reader.readexactly(after)

    transport = connect()
    upstream.read_bodies = False
    upstream.will(part_of_it, how())  # type: ignore[operator]
    with pytest.raises(UpstreamError):
        async with asyncio.timeout(5):
            await whole(transport, upload(endless()))
    assert transport.in_use == 0
    assert await whole(transport, get()) == OK


async def test_an_upstream_that_does_not_read_stops_the_upload_and_runs_into_a_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1 << 16
            yield b"x" * (1 << 16)

    upstream.read_bodies = False
    upstream.will(left_unread)
    with pytest.raises(UpstreamTimeout, match="stopped taking"):
        await whole(connect(QUICK), upload(counted()))
    assert taken < 64 << 20  # what sockets hold, and no more


async def test_a_slow_body_is_no_slow_provider(upstream: ScriptedUpstream, connect: Open) -> None:
    timeouts = Timeouts(connect=5, first_byte=0.5, idle=0.5)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(0.8)
        yield b"x"

    assert await read_whole(connect(timeouts), upload(slow())) == OK


async def test_the_first_byte_timeout_runs_from_the_end_of_the_upload(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(until_left())
    with pytest.raises(UpstreamTimeout, match="first-byte"):
        await whole(connect(Timeouts(connect=5, first_byte=0.3, idle=PATIENT.idle)), upload(pieces(b"a")))


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1000
        await asyncio.sleep(0.001)


async def left_unread(request: object) -> None:
    await asyncio.sleep(10)

"""What comes down: every framing, cut anywhere, and what is refused because it is none."""

import asyncio

import pytest

from gateway.errors import UpstreamError, UpstreamTimeout, UpstreamTruncated
from gateway.upstream.tap import Tap
from tests.contract.calling import OK, QUICK, Gathered, Open, Whole, a_call, get, read_whole
from tests.scripted import (
    Received,
    ScriptedUpstream,
    Step,
    answer,
    begin,
    chunk,
    close,
    end,
    pause,
    reset,
    send,
    until_left,
)

BODIES: dict[str, tuple[tuple[Step, ...], bytes]] = {
    "length": ((answer(b"hello"),), b"hello"),
    "chunked": ((begin(), chunk(b"a"), chunk(b"bc"), end()), b"abc"),
    "chunks with extensions": ((begin(), send(b"2;x=1\r\nab\r\n0;y\r\n\r\n")), b"ab"),
    "to the end": ((send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end"), close()), b"to the end"),
    "HTTP/1.0": ((send(b"HTTP/1.0 200 OK\r\n\r\nold"), close()), b"old"),
    "interim": ((send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), answer(b"after")), b"after"),
    "interim, apart": ((send(b"HTTP/1.1 100 Continue\r\n\r\n"), pause(0.01), answer(b"after")), b"after"),
    "trailers": ((begin("Trailer: x-sum"), chunk(b"a"), send(b"0\r\nx-sum: 1\r\n\r\n")), b"a"),
    "204": ((send(b"HTTP/1.1 204 No Content\r\n\r\n"),), b""),
    "304": ((send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),), b""),
    "no length, but 0": ((answer(b""),), b""),
    "coded": (
        (send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"),),
        b"\x1f\x8b\x00",
    ),
}


@pytest.mark.parametrize(("steps", "body"), BODIES.values(), ids=BODIES)
async def test_a_body_arrives_as_it_was_sent(
    upstream: ScriptedUpstream, connect: Open, steps: tuple[Step, ...], body: bytes, whole: Whole
) -> None:
    transport = connect()
    upstream.will(*steps)
    assert await whole(transport, get()) == body
    assert await whole(transport, get()) == OK


async def test_status_reason_and_fields_are_what_was_sent(upstream: ScriptedUpstream, connect: Open) -> None:
    upstream.will(
        send(
            b"HTTP/1.1 299 Odd but true\r\n"
            b"X-B: \xe9\xff\r\nx-b: \r\nX-B: 2\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"
        )
    )
    async with connect().send(get(), a_call()) as response:
        assert (response.status, response.reason) == (299, "Odd but true")
        assert response.fields == (
            (b"X-B", b"\xe9\xff"),
            (b"x-b", b""),
            (b"X-B", b"2"),
            (b"Set-Cookie", b"a"),
            (b"Content-Length", b"0"),
        )


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect", "401 Unauthorized", "500 Oh"])
async def test_nothing_is_made_of_a_status(upstream: ScriptedUpstream, connect: Open, status: str) -> None:
    transport = connect()
    upstream.will(answer(b"as it came", status, f"Location: {upstream.url}/elsewhere", "Set-Cookie: a=b"))
    async with transport.send(get(), a_call()) as response:
        assert f"{response.status} {response.reason}" == status
        assert [piece async for piece in response.chunks()] == [b"as it came"]
    async with transport.send(get(), a_call()):
        assert "Cookie" not in (await upstream.received(2)).fields


async def test_head_has_no_body_whatever_its_length_says(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"))
    upstream.will(begin())
    transport = connect()
    assert await whole(transport, get(method="HEAD")) == b""
    assert await whole(transport, get(method="HEAD")) == b""
    assert await whole(transport, get()) == OK
    assert upstream.connections == 3


async def test_trailers_belong_to_no_response(upstream: ScriptedUpstream, connect: Open) -> None:
    transport = connect()
    upstream.will(begin(), chunk(b"a"), send(b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"))
    for _ in range(2):
        async with transport.send(get(), a_call()) as response:
            assert b"x-sum" not in {name.lower() for name, _ in response.fields}
            assert [piece async for piece in response.chunks()]
    assert upstream.connections == 1


WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nabcde",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
}


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
async def test_a_response_may_be_cut_at_every_byte(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, raw: bytes
) -> None:
    transport = connect()
    for cut in range(1, len(raw)):
        upstream.will(send(raw[:cut]), pause(0.001), send(raw[cut:]))
        assert await whole(transport, get()) == b"abcde"
    upstream.will(*(step for at in range(len(raw)) for step in (send(raw[at : at + 1]), pause(0))))
    assert await whole(transport, get()) == b"abcde"
    assert upstream.connections == 1


@pytest.mark.parametrize("raw", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("how", [close, reset])
async def test_an_upstream_may_die_at_every_byte_and_the_response_never_ends_cleanly(
    upstream: ScriptedUpstream, connect: Open, raw: bytes, how: object
) -> None:
    transport, head = connect(), raw.rindex(b"HTTP/1.1 200") + raw[raw.rindex(b"HTTP/1.1 200") :].index(b"\r\n\r\n") + 4
    for cut in range(len(raw)):
        upstream.will(send(raw[:cut]), pause(0.001), how())  # type: ignore[operator]
        got = Gathered()
        with pytest.raises(UpstreamError) as failed:
            async with asyncio.timeout(5), transport.send(get(), a_call()) as response:
                await response.hand_over(got, Tap())
        assert isinstance(failed.value, UpstreamTruncated) == (cut >= head), cut
        assert b"abcde".startswith(b"".join(got.pieces))
        assert (transport.in_use, transport.idle) == (0, 0)


@pytest.mark.parametrize(
    ("head", "framing", "data"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n", b"", b"abcde"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5;x=y\r\n", b"abcde\r\n0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabcde\r\n0\r\n\r\n", b""),
    ],
)
async def test_a_nul_anywhere_but_in_a_body_is_refused(
    upstream: ScriptedUpstream, connect: Open, head: bytes, framing: bytes, data: bytes
) -> None:
    transport, raw = connect(), head + framing
    in_the_body = range(raw.index(b"abcde"), raw.index(b"abcde") + 5) if b"abcde" in raw else ()
    for at in set(range(len(raw))).difference(in_the_body):
        upstream.will(send(raw[:at] + b"\0" + raw[at:] + data), close())
        with pytest.raises(UpstreamError):
            async with asyncio.timeout(5):
                await read_whole(transport, get())
        assert transport.in_use == 0


async def test_a_folded_field_is_unfolded(upstream: ScriptedUpstream, connect: Open) -> None:
    """As RFC 9112, section 5.2, allows a gateway."""
    upstream.will(send(b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n"))
    async with connect().send(get(), a_call()) as response:
        assert response.fields[0] == (b"X-A", b"a b")


async def test_chunks_are_handed_over_as_they_come(upstream: ScriptedUpstream, connect: Open) -> None:
    taken = asyncio.Event()

    async def until_taken(_: Received) -> None:
        await asyncio.wait_for(taken.wait(), 5)

    upstream.will(begin(), until_taken, chunk(b"first"), until_taken, chunk(b"second"), end())
    async with connect().send(get(), a_call()) as response:
        assert not response.ready
        taken.set()
        chunks = response.chunks()
        assert await anext(chunks) == b"first"
        assert [piece async for piece in chunks] == [b"second"]
        assert response.ready


async def test_a_sink_gets_a_piece_when_it_arrives(upstream: ScriptedUpstream, connect: Open) -> None:
    sink = Gathered()

    async def until_taken(_: Received) -> None:
        await asyncio.wait_for(sink.came.wait(), 5)

    upstream.will(begin(), chunk(b"first"), until_taken, chunk(b"second"), end())
    async with connect().send(get(), a_call()) as response:
        await response.hand_over(sink, Tap())
    assert sink.pieces == [b"first", b"second"]


async def test_a_body_that_came_with_its_head_is_ready_and_may_be_known_whole(
    upstream: ScriptedUpstream, connect: Open, road: str
) -> None:
    transport = connect()
    async with transport.send(get(), a_call()) as response:
        assert response.ready
        # On the session road a body is read before it is known.
        assert response.whole() == {"direct": OK, "session": None}[road]
    assert transport.idle == 1
    upstream.will(begin(), chunk(b"a"), until_left())
    async with transport.send(get(), a_call()) as response:
        assert response.whole() is None


def with_fields(*fields: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"Content-Length: 2", b"", b"ok"))


HUGE = {
    "many": with_fields(*(b"X-%d: %b" % (number, b"v" * 900) for number in range(250))),
    "long": with_fields(b"X-Long: " + b"v" * 32_000),
}
TOO_HUGE = {
    "many": with_fields(*(b"X-%d: v" % number for number in range(300))),
    "long": with_fields(b"X-Long: " + b"v" * 70_000),
    "endless": b"HTTP/1.1 200 OK\r\nX-Long: " + b"v" * 2_000_000,
}


@pytest.mark.parametrize("raw", HUGE.values(), ids=HUGE)
async def test_a_huge_head_passes(upstream: ScriptedUpstream, connect: Open, raw: bytes) -> None:
    upstream.will(send(raw))
    async with connect().send(get(), a_call()) as response:
        lines = [b"%b: %b" % field for field in response.fields]
        assert b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b"ok")) == raw


@pytest.mark.parametrize("raw", TOO_HUGE.values(), ids=TOO_HUGE)
async def test_a_head_that_is_too_large_is_refused(
    upstream: ScriptedUpstream, connect: Open, raw: bytes, whole: Whole
) -> None:
    upstream.will(send(raw), until_left())
    with pytest.raises(UpstreamError):
        await whole(connect(), get())


MALFORMED = {
    "no HTTP": b"HELO there\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"1\r\na\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "NUL": b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 1\r\n\r\na",
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 1\r\n\r\na",
    "no field": b"HTTP/1.1 200 OK\r\nwhat is this\r\nContent-Length: 1\r\n\r\na",
    "switched protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim responses only": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_answer_is_the_upstreams_fault(
    upstream: ScriptedUpstream, connect: Open, raw: bytes, whole: Whole
) -> None:
    upstream.will(send(raw), close())
    transport = connect()
    with pytest.raises(UpstreamError):
        await whole(transport, get())
    assert await whole(transport, get()) == OK


async def test_interim_responses_without_end_are_no_answer(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, road: str
) -> None:
    async def without_end(request: Received) -> None:
        while True:
            request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.001)

    upstream.will(without_end)
    # `ClientResponse` skips interim responses without counting them: on its road the first-byte timeout ends it.
    ended_by = {"direct": UpstreamError, "session": UpstreamTimeout}[road]
    with pytest.raises(ended_by):
        await whole(connect(QUICK), get())


BROKEN_OFF: dict[str, tuple[Step, ...]] = {
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
    upstream: ScriptedUpstream, connect: Open, steps: tuple[Step, ...], whole: Whole
) -> None:
    upstream.will(*steps, until_left())
    with pytest.raises(UpstreamTruncated):
        async with asyncio.timeout(5):
            await whole(connect(), get())


SURPLUS = {
    "hello": b"hello",
    "chunks": b"5\r\nhello\r\n0\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    "the beginning of one": b"HTTP/1.1 200 OK\r\nX-A: ",
    "a line end": b"\r\n",
}
HEADS = {
    "HEAD": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
    "HEAD in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    "HEAD after an interim one": (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "204 with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine", b"mine"),
    "a body in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n", b"mine"),
}


@pytest.mark.parametrize("named", HEADS)
@pytest.mark.parametrize("more", SURPLUS)
async def test_what_stands_behind_a_response_takes_nothing_away_from_it(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, named: str, more: str
) -> None:
    transport, (raw, body) = connect(), HEADS[named]
    method = "HEAD" if named.startswith("HEAD") else "GET"
    for _ in range(4):  # from the third on a response may be known by its shape
        upstream.will(send(raw + SURPLUS[more]))
        assert await whole(transport, get(method=method)) == body
        assert await whole(transport, get(b"/another")) == OK


@pytest.mark.parametrize("more", SURPLUS)
async def test_a_body_of_an_answer_to_head_may_come_at_any_byte(
    upstream: ScriptedUpstream, connect: Open, more: str
) -> None:
    raw, _ = HEADS["HEAD after an interim one"]
    transport, raw = connect(), raw + SURPLUS[more]
    for cut in range(1, len(raw)):
        upstream.will(send(raw[:cut]), pause(0.002), send(raw[cut:]))
        assert await read_whole(transport, get(method="HEAD")) == b""
        assert await read_whole(transport, get(b"/another")) == OK


async def test_a_connection_that_carried_a_head_request_is_not_used_again(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    upstream.will(send(HEADS["HEAD"][0]), until_left())
    await whole(transport, get(method="HEAD"))
    assert transport.idle == 0
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)

"""Streams that look like those before them: whether a parser reads them or not, they arrive and end the same."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import GatewayError, UpstreamError, UpstreamTruncated
from gateway.upstream.protocol import UpstreamProtocol
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Transport
from gateway.wire import shape
from tests.contract.calling import OK, QUICK, Gathered, Open, Whole, a_call, post, upload
from tests.scripted import ScriptedUpstream, close, pause, reset, send

HEAD = b"HTTP/1.1 200 OK\r\nX-Own: %d\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
PLAIN = (b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n")
FRAMINGS = {
    "plain": PLAIN,
    "an extension": (b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n", b"0\r\n\r\n"),
    "trailers": (b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\nX-Sum: 1\r\n\r\n"),
    "many digits": (b"0000000003\r\nabc\r\n", b"02\r\nde\r\n", b"000\r\n\r\n"),
}


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


async def met(transport: Transport, upstream: ScriptedUpstream) -> None:
    """Let `transport` know the shape of HEAD."""
    for number in range(3):
        upstream.will(send(HEAD % number + b"".join(PLAIN)))
        async with transport.send(post(), a_call()) as response:
            assert dict(response.fields)[b"X-Own"] == b"%d" % number
            body = response.whole()
            assert (b"".join([piece async for piece in response.chunks()]) if body is None else body) == b"abcde"


@pytest.mark.parametrize("pieces", FRAMINGS.values(), ids=FRAMINGS)
async def test_a_stream_may_be_cut_at_every_byte(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, pieces: tuple[bytes, ...]
) -> None:
    transport, raw = connect(), HEAD % 7 + b"".join(pieces)
    await met(transport, upstream)
    for cut in range(len(HEAD) - 8, len(raw)):
        upstream.will(send(raw[:cut]), pause(0.001), send(raw[cut:]))
        assert await whole(transport, post()) == b"abcde"
    upstream.will(send(HEAD % 7), *(step for byte in b"".join(pieces) for step in (pause(0), send(bytes((byte,))))))
    assert await whole(transport, post()) == b"abcde"
    upstream.will(send(HEAD % 7), *(step for piece in pieces for step in (pause(0.002), send(piece))))
    assert await whole(transport, post()) == b"abcde"
    assert (transport.in_use, transport.idle, upstream.connections) == (0, 1, 1)


@pytest.mark.parametrize("road", ["direct"])
async def test_a_plain_stream_needs_no_parser(
    upstream: ScriptedUpstream, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = connect()
    await met(transport, upstream)
    monkeypatch.delattr(UpstreamProtocol, "_parse")
    upstream.will(send(HEAD % 1), *(step for piece in PLAIN for step in (pause(0.002), send(piece))))
    sink = Gathered()
    tap = await sink.fill(transport, post())
    assert (sink.pieces, sink.framed) == ([b"abc", b"de"], [*PLAIN[:2]])
    assert (tap.pieces, tap.size, tap.head) == (2, 5, b"abcde")
    upstream.will(send(HEAD % 1 + PLAIN[0]), pause(0.002), send(PLAIN[1] + PLAIN[0] + PLAIN[2]))
    sink = Gathered()
    await sink.fill(transport, post())
    assert (sink.pieces, sink.framed) == ([b"abc", b"deabc"], [b"", PLAIN[1] + PLAIN[0]])


@pytest.mark.parametrize("how", [close, reset])
@pytest.mark.parametrize("pieces", FRAMINGS.values(), ids=FRAMINGS)
async def test_an_upstream_may_die_at_every_byte_and_the_stream_never_ends_cleanly(
    upstream: ScriptedUpstream, connect: Open, pieces: tuple[bytes, ...], how: object
) -> None:
    transport, raw = connect(), HEAD % 7 + b"".join(pieces)
    await met(transport, upstream)
    head = raw.index(b"\r\n\r\n") + 4
    for cut in range(head, len(raw)):
        sink = Gathered()
        upstream.will(send(raw[:head]), pause(0.002), send(raw[head:cut]), pause(0.001), how())  # type: ignore[operator]
        with pytest.raises(UpstreamTruncated):
            await sink.fill(transport, post())
        assert b"abcde".startswith(b"".join(sink.pieces))
        assert (transport.in_use, transport.idle) == (0, 0)


@pytest.mark.parametrize(
    "broken",
    [
        b"xyz\r\n",
        b"3\r\nabcXY",
        b"3\r\nabc\n\r",
        b"3\r\nabcd\r\n",
        b"-1\r\n\r\n",
        b"3\r\nabc",
        b"\r\n\r\n",
        b"0x1\r\na\r\n",
    ],
)
@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"], ids=["no end", "an end"])
async def test_broken_chunks_end_a_stream_visibly(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, broken: bytes, before: int, end: bytes
) -> None:
    transport = connect()
    await met(transport, upstream)
    steps = [step for piece in (*PLAIN[:before], broken) for step in (pause(0.002), send(piece))]
    upstream.will(send(HEAD % 1), *steps, pause(0.002), send(end), close())
    with pytest.raises(UpstreamError):
        await whole(transport, post())
    assert await whole(transport, post()) == OK


@pytest.mark.parametrize("behind", [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"x", b"\r\n"])
@pytest.mark.parametrize("later", [False, True])
async def test_what_comes_behind_answers_nobody(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, behind: bytes, later: bool
) -> None:
    transport = connect()
    await met(transport, upstream)
    last = [send(b"".join(PLAIN[1:])), pause(0.005), send(behind)] if later else [send(b"".join(PLAIN[1:]) + behind)]
    upstream.will(send(HEAD % 1 + PLAIN[0]), pause(0.002), *last)
    try:
        assert await whole(transport, post()) == b"abcde"
    except GatewayError:
        assert behind == b"x"  # no response, by which the one before it is spoilt, too
    await asyncio.sleep(0.02 if later else 0)
    assert await whole(transport, post()) == OK


async def test_pieces_that_come_before_an_upload_has_ended_are_kept(
    upstream: ScriptedUpstream, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn of the loop counts while a transport waits for both at once."""
    receive = UpstreamProtocol.data_received

    def in_two_turns(self: UpstreamProtocol, data: bytes) -> None:
        now, _, later = data.partition(b"|")
        receive(self, now)
        if later:
            asyncio.get_running_loop().call_soon(receive, self, later)

    monkeypatch.setattr(UpstreamProtocol, "data_received", in_two_turns)
    transport = connect(QUICK)
    await met(transport, upstream)
    for piecemeal in (False, True):
        pauses = [pause(0.03), send(PLAIN[1]), pause(0.03), send(PLAIN[2])]
        upstream.will(pause(0.01), send(HEAD % 1 + PLAIN[0] + b"|" + PLAIN[1]), *pauses)
        sink = Gathered(roomy=not piecemeal)
        await sink.fill(transport, upload(slowly(), 10))
        assert b"".join(sink.pieces) == b"abcdede"


async def test_an_answer_that_comes_during_an_upload_is_not_cut_by_the_limit_for_its_head(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    transport = connect(QUICK)
    await met(transport, upstream)
    steady = [step for _ in range(16) for step in (pause(0.05), send(b"cd\r\n4\r\nab"))]
    upstream.will(pause(0.01), send(HEAD % 1 + b"4\r\nab"), *steady, send(b"cd\r\n0\r\n\r\n"))
    sink = Gathered()
    await sink.fill(transport, upload(slowly(), 10))
    assert b"".join(sink.pieces) == b"abcd" * 17


async def slowly() -> AsyncIterator[bytes]:
    yield b"x" * 10
    await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [close, reset])
@pytest.mark.parametrize("chunks", [0, 1])
async def test_a_provider_that_dies_before_anybody_reads_is_told_as_ever(
    upstream: ScriptedUpstream, connect: Open, how: object, chunks: int
) -> None:
    transport = connect()
    await met(transport, upstream)
    for handed_over in (False, True):
        upstream.will(send(HEAD % 1 + b"".join(PLAIN[:chunks])), pause(0.002), how())  # type: ignore[operator]
        with pytest.raises(UpstreamTruncated):
            async with transport.send(post(), a_call()) as response:
                await asyncio.sleep(0.03)
                if handed_over:
                    await response.hand_over(Gathered(), Tap())
                assert [piece async for piece in response.chunks()]
                assert [piece async for piece in response.chunks()]
        assert (transport.in_use, transport.idle) == (0, 0)


async def test_both_framings_at_once_are_refused(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    await met(transport, upstream)
    for _ in range(3):
        upstream.will(send((HEAD % 1).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"".join(PLAIN)))
        with pytest.raises(UpstreamError):
            await whole(transport, post())

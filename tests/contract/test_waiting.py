"""How long anybody waits for anybody: limits on a silent provider, back-pressure to one that is too fast."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import IdleTimeout, UpstreamTimeout
from gateway.settings import Timeouts
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Transport
from tests.contract.calling import QUICK, Gathered, Open, Whole, a_call, get, read_whole, upload
from tests.scripted import Received, ScriptedUpstream, Step, begin, chunk, end, flood, pause, send, until_left

SIZE = 8 << 20


async def test_a_provider_that_never_begins_runs_into_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(until_left())
    with pytest.raises(UpstreamTimeout):
        await whole(connect(QUICK), get())
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


@pytest.mark.parametrize("part", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: "])
async def test_neither_interim_responses_nor_a_head_that_began_put_off_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, part: bytes
) -> None:
    upstream.will(send(part), until_left())
    with pytest.raises(UpstreamTimeout) as failed:
        await whole(connect(QUICK), get())
    assert not isinstance(failed.value, IdleTimeout)


async def test_a_provider_that_falls_silent_runs_into_the_idle_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(begin(), chunk(b"abc"), until_left())
    with pytest.raises(IdleTimeout):
        await whole(connect(QUICK), get())
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


async def test_a_stream_that_keeps_speaking_has_no_end_to_its_time(upstream: ScriptedUpstream, connect: Open) -> None:
    timeouts = Timeouts(connect=5, first_byte=0.8, idle=0.8)
    upstream.will(begin(), *[chunk(b"."), pause(0.2)] * 6, end())
    assert await read_whole(connect(timeouts), get()) == b"......"


async def test_a_slow_reader_is_no_silent_provider_and_slows_it_down(upstream: ScriptedUpstream, connect: Open) -> None:
    upstream.will(begin(), flood(SIZE), end())
    received = 0
    async with connect(QUICK).send(get(), a_call()) as response:
        chunks = response.chunks()
        received += len(await anext(chunks))
        await asyncio.sleep(3 * QUICK.idle)
        async for piece in chunks:
            received += len(piece)
    assert received == SIZE


async def test_a_sink_that_is_full_slows_the_provider_and_is_no_silent_provider(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    upstream.will(begin(), flood(SIZE), end())

    class Slow(Gathered):
        async def taken(self) -> None:
            self.waits += 1
            had = len(self.pieces)
            await asyncio.sleep(3 * QUICK.idle if self.waits == 1 else 0)
            assert len(self.pieces) == had

    sink = Slow(roomy=False)
    async with connect(QUICK).send(get(), a_call()) as response:
        await response.hand_over(sink, Tap())
    assert sum(map(len, sink.pieces)) == SIZE
    assert max(map(len, sink.pieces)) < 2 << 20


async def test_while_nobody_takes_anything_the_provider_cannot_send_on(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    sent = 0

    async def counted_flood(request: object) -> None:
        nonlocal sent
        writer, piece = upstream.requests[0].writer, b"x" * 65536
        while True:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            sent += len(piece)

    upstream.will(begin(), counted_flood)
    async with connect().send(get(), a_call()) as response:
        await anext(response.chunks())
        before = -1
        while sent != before:  # nothing moves any more
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32 << 20  # what buffers and sockets hold


FRAMINGS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"late"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nlate\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_the_first_byte_of_a_body_may_be_as_late_as_the_head(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, framing: str
) -> None:
    transport, (head, body) = connect(Timeouts(connect=5, first_byte=5, idle=0.2)), FRAMINGS[framing]
    for _ in range(4):  # from the third on the response may be known by its shape
        upstream.will(send(head), pause(0.5), send(body))
        assert await whole(transport, get()) == b"late"


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_body_that_never_begins_runs_into_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, framing: str
) -> None:
    transport, (head, _) = connect(Timeouts(connect=5, first_byte=0.3, idle=5)), FRAMINGS[framing]
    for number in range(1, 5):
        upstream.will(send(head), until_left())
        with pytest.raises(UpstreamTimeout) as failed:
            await whole(transport, get())
        assert not isinstance(failed.value, IdleTimeout)
        await asyncio.wait_for((await upstream.received(number)).closed.wait(), 5)


async def test_that_timeout_begins_with_the_request_and_not_with_the_head(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    head, body = FRAMINGS["length"]
    upstream.will(pause(0.6), send(head), pause(0.7), send(body))
    with pytest.raises(UpstreamTimeout):
        await whole(connect(Timeouts(connect=5, first_byte=1, idle=5)), get())


async def test_once_a_body_has_begun_the_idle_timeout_holds(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(send(FRAMINGS["length"][0]), pause(0.1), send(b"la"), until_left())
    with pytest.raises(IdleTimeout):
        await whole(connect(Timeouts(connect=5, first_byte=30, idle=0.3)), get())


async def head_first(transport: Transport, upstream: ScriptedUpstream, whole: Whole, *steps: Step) -> bytes:
    """The body of an answer whose head comes before the upload's end, and the `steps` after it."""
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await begun.wait()
        await asyncio.sleep(0.1)
        yield b"x"

    async def taken(request: Received) -> None:
        begun.set()
        await request.reader.readuntil(b"0\r\n\r\n")

    upstream.read_bodies = False
    upstream.will(send(FRAMINGS["length"][0]), taken, *steps)
    return await asyncio.wait_for(whole(transport, upload(slow())), 5)


async def test_the_first_byte_of_a_body_has_its_time_from_the_end_of_the_upload(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect(Timeouts(connect=5, first_byte=5, idle=0.3))
    assert await head_first(transport, upstream, whole, pause(0.8), send(b"late")) == b"late"


async def test_a_body_that_never_begins_after_an_early_head_runs_into_the_first_byte_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    with pytest.raises(UpstreamTimeout) as failed:
        await head_first(connect(Timeouts(connect=5, first_byte=0.3, idle=30)), upstream, whole, until_left())
    assert not isinstance(failed.value, IdleTimeout)


async def test_a_provider_that_takes_no_more_of_an_upload_after_its_head_runs_into_the_idle_timeout(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * (1 << 16)

    upstream.read_bodies = False
    upstream.will(send(FRAMINGS["length"][0]), pause(5))
    transport = connect(Timeouts(connect=5, first_byte=30, idle=0.3))
    with pytest.raises(UpstreamTimeout, match="stopped taking"):
        await asyncio.wait_for(whole(transport, upload(endless())), 5)

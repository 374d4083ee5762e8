"""Leaving at any point: the provider's connection is free at once, and nothing of it reaches the next call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.tap import Tap
from tests.contract.calling import OK, Gathered, Open, a_call, get, post, read_whole, take_whole, upload
from tests.scripted import ScriptedUpstream, Step, begin, chunk, end, pause, until_left


async def test_a_sink_that_takes_no_more_ends_the_call(upstream: ScriptedUpstream, connect: Open) -> None:
    class Gone(Gathered):
        async def taken(self) -> None:
            raise ConnectionResetError

    upstream.will(begin(), chunk(b"a"), until_left())
    with pytest.raises(ConnectionResetError):
        async with connect().send(get(), a_call()) as response:
            await response.hand_over(Gone(roomy=False), Tap())
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


@pytest.mark.parametrize("when", ["before the head", "in the body", "in an upload", "in an upload that is stuck"])
async def test_leaving_the_block_frees_the_upstream_at_once(
    upstream: ScriptedUpstream, connect: Open, when: str
) -> None:
    transport, entered = connect(), asyncio.Event()

    async def sent() -> AsyncIterator[bytes]:
        yield b"a"
        entered.set()
        while "stuck" in when:
            yield b"x" * (1 << 20)
        await asyncio.Event().wait()

    async def call() -> None:
        async with transport.send(upload(sent()) if "upload" in when else post(), a_call()) as response:
            async for _ in response.chunks():
                entered.set()

    async def until_stuck(request: object) -> None:
        await asyncio.wait_for(entered.wait(), 5)

    upstream.read_bodies = "upload" not in when
    body = (begin(), chunk(b"a")) if when == "in the body" else ()
    upstream.will(*body, *((until_stuck, pause(0.1)) if "stuck" in when else ()), until_left())
    task = asyncio.create_task(call())
    got = await upstream.received()
    if when != "before the head":
        await asyncio.wait_for(entered.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (transport.in_use, transport.idle) == (0, 0)
    await asyncio.wait_for(got.closed.wait(), 5)


async def test_what_has_not_gone_out_when_the_block_is_left_goes_out_no_more(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    size, took, left = 64 << 20, 0, asyncio.Event()

    async def take_the_rest(_: object) -> None:
        nonlocal took
        await asyncio.wait_for(left.wait(), 5)
        with suppress(ConnectionError):
            while piece := await upstream.requests[0].reader.read(1 << 20):
                took += len(piece)
        upstream.requests[0].closed.set()

    upstream.read_bodies = False
    upstream.will(take_the_rest)
    call = asyncio.create_task(read_whole(connect(), post(b"x" * size)))
    got = await upstream.received()
    call.cancel()
    await asyncio.wait((call,))
    left.set()
    await asyncio.wait_for(got.closed.wait(), 5)
    assert took < size


async def test_a_call_may_leave_while_it_connects_or_waits_for_the_pool(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    transport = connect(pool_size=1, url=upstream.url.replace("http:", "https:"))  # nobody shakes hands
    tasks = [asyncio.create_task(read_whole(transport, get())) for _ in range(2)]
    async with asyncio.timeout(5):
        while not (transport.in_use and transport.waiting):
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert (transport.in_use, transport.idle, transport.waiting) == (0, 0, 0)


async def halves() -> AsyncIterator[bytes]:
    yield b"a"
    await asyncio.sleep(0)
    yield b"b"


@pytest.mark.parametrize("body", [None, halves])
@pytest.mark.parametrize("take", [read_whole, take_whole])
async def test_a_call_may_be_cancelled_at_every_step(
    upstream: ScriptedUpstream,
    connect: Open,
    body: Callable[[], AsyncIterator[bytes]] | None,
    take: Callable[..., Awaitable[bytes]],
) -> None:
    transport, steps, done = connect(), 0, False
    while not done:
        steps += 1
        upstream.will(begin(), chunk(b"not"), pause(0), chunk(b" mine"), end())
        task = asyncio.ensure_future(take(transport, get() if body is None else upload(body())))
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled() or task.result() == b"not mine"
        assert transport.in_use == 0
        upstream.forget()  # of a call that never came this far
        assert await read_whole(transport, get(b"/next")) == OK
        assert upstream.requests[-1].target == b"/next"
    assert steps > 3


@pytest.mark.parametrize("steps", [(), (begin(), chunk(b"a"))], ids=["before the head", "in the body"])
async def test_a_transport_that_is_closed_ends_the_calls_it_carries(
    upstream: ScriptedUpstream, connect: Open, steps: tuple[Step, ...]
) -> None:
    transport = connect()
    upstream.will(*steps, until_left())
    call = asyncio.create_task(read_whole(transport, get()))
    got = await upstream.received()
    await asyncio.sleep(0.05)
    await transport.close()
    with pytest.raises(UpstreamError):
        await asyncio.wait_for(call, 2)
    await asyncio.wait_for(got.closed.wait(), 5)

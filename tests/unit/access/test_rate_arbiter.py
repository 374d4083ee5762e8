"""Workers of one gateway that share an arbiter."""

import asyncio
import multiprocessing
import os
import signal
import socket
from collections.abc import AsyncIterator
from multiprocessing.process import BaseProcess

import pytest
import uvloop

from gateway.access.rate import bucket
from gateway.access.rate_arbiter import LONGEST, Arbiter, ArbiterLink, Messages
from gateway.access.rate_remote import RemoteLimiter
from gateway.settings.limits import Unit

REQUESTS = bucket("r", "key-requests-hour", Unit.REQUESTS, 100, 3600)
TOKENS = bucket("t", "key-tokens-hour", Unit.TOKENS, 1000, 3600)
PLACES = bucket("c", "key-concurrent", Unit.CONCURRENT, 3, 0)
PATIENCE = 10.0  # seconds; what decides is in the assertions


@pytest.fixture
async def arbiter() -> AsyncIterator[Arbiter]:
    async with Arbiter() as kept:
        yield kept


async def end_at(arbiter: Arbiter) -> socket.socket:
    """A worker's end of a pair whose other end `arbiter` has."""
    theirs, ours = socket.socketpair()
    await arbiter.answer(ours)
    return theirs


def over(link: ArbiterLink) -> RemoteLimiter:
    return RemoteLimiter(link, seconds=PATIENCE, open_on_failure=False)


async def test_two_that_share_an_arbiter_share_the_limits(arbiter: Arbiter) -> None:
    async with ArbiterLink(await end_at(arbiter)) as one, ArbiterLink(await end_at(arbiter)) as other:
        asked = [over(link).admit((REQUESTS,), (1.0,)) for link in (one, other) for _ in range(500)]
        verdicts = await asyncio.gather(*asked)
    assert sum(verdict.admitted for verdict in verdicts) == 100


async def test_what_one_settles_the_other_sees(arbiter: Arbiter) -> None:
    async with ArbiterLink(await end_at(arbiter)) as one, ArbiterLink(await end_at(arbiter)) as other:
        verdict = await over(one).admit((TOKENS,), (900.0,))
        assert not (await over(other).admit((TOKENS,), (200.0,))).admitted
        over(one).settle(verdict, (100.0,))
        async with asyncio.timeout(PATIENCE):
            while not (await over(other).admit((TOKENS,), (200.0,))).admitted:
                await asyncio.sleep(0.001)


async def test_places_of_a_connection_that_is_lost_are_free(arbiter: Arbiter) -> None:
    async with ArbiterLink(await end_at(arbiter)) as staying:
        async with ArbiterLink(await end_at(arbiter)) as leaving:
            kept = await over(staying).admit((PLACES,), (1.0,))
            for _ in range(2):
                assert (await over(leaving).admit((PLACES, REQUESTS), (1.0, 1.0))).admitted
            assert not (await over(staying).admit((PLACES,), (1.0,))).admitted
        async with asyncio.timeout(PATIENCE):
            while not (verdict := await over(staying).admit((PLACES, REQUESTS), (1.0, 1.0))).admitted:
                await asyncio.sleep(0.001)
        assert verdict.remaining == pytest.approx((1.0, 97.0), abs=0.5)  # places come back, requests stay counted
        over(staying).settle(kept, (0.0,))
        assert (await over(staying).admit((PLACES,), (0.0,))).remaining == (2.0,)


def answer_until_killed(end: socket.socket) -> None:
    """An arbiter as a process of its own, on the loop that production runs."""

    async def answer() -> None:
        async with Arbiter() as arbiter:
            await arbiter.answer(end)
            await asyncio.Event().wait()

    uvloop.run(answer())


async def test_when_the_arbiter_is_killed_nobody_waits_and_the_setting_decides() -> None:
    ours, theirs = socket.socketpair()
    process: BaseProcess = multiprocessing.get_context("spawn").Process(target=answer_until_killed, args=(theirs,))
    process.start()
    theirs.close()
    try:
        async with ArbiterLink(ours) as link:
            limiter = over(link)
            assert (await limiter.admit((PLACES,), (1.0,))).admitted
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.join)
            for _ in range(20):
                verdict = await asyncio.wait_for(limiter.admit((REQUESTS,), (1.0,)), 1)
                assert (verdict.admitted, verdict.buckets) == (False, ())
            assert limiter.failures == 20
    finally:
        process.kill()
        process.join()


async def test_nonsense_ends_the_connection_and_nothing_else(arbiter: Arbiter) -> None:
    async with ArbiterLink(await end_at(arbiter)) as link:
        for nonsense in (b"\x00\x00\x00\x05hello", (LONGEST + 1).to_bytes(4, "big")):
            reader, writer = await asyncio.open_unix_connection(sock=await end_at(arbiter))
            writer.write(nonsense)
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            writer.close()
        assert (await over(link).admit((REQUESTS,), (1.0,))).admitted


def test_messages_are_whole_however_they_were_cut() -> None:
    sent = b"".join(len(body).to_bytes(4, "big") + body for body in (b"one", b"", b"three" * 100))
    for size in (1, 2, 3, 7, 1000):
        messages = Messages()
        got = [body for start in range(0, len(sent), size) for body in messages.feed(sent[start : start + size])]
        assert got == [b"one", b"", b"three" * 100]

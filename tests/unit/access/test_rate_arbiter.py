"""Workers of one machine that share an arbiter."""

import asyncio
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.access.rate import bucket
from gateway.access.rate_arbiter import LONGEST, ArbiterLink, Messages, arbiter, serve_arbiter
from gateway.access.rate_remote import PROBE_SECONDS, RemoteLimiter
from gateway.settings.limits import Unit

REQUESTS = bucket("r", "key-requests-hour", Unit.REQUESTS, 100, 3600)
TOKENS = bucket("t", "key-tokens-hour", Unit.TOKENS, 1000, 3600)
PLACES = bucket("c", "key-concurrent", Unit.CONCURRENT, 3, 0)
PATIENCE = 10.0  # seconds; what decides is in the assertions


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:  # short, unlike tmp_path: a socket's path has 107 bytes at most
        yield f"{directory}/arbiter"


@pytest.fixture
async def serving(path: str) -> AsyncIterator[str]:
    async with arbiter(path):
        yield path


def over(link: ArbiterLink) -> RemoteLimiter:
    return RemoteLimiter(link, seconds=PATIENCE, open_on_failure=False)


async def test_two_that_share_an_arbiter_share_the_limits(serving: str) -> None:
    async with ArbiterLink(serving) as one, ArbiterLink(serving) as other:
        asked = [over(link).admit((REQUESTS,), (1.0,)) for link in (one, other) for _ in range(500)]
        verdicts = await asyncio.gather(*asked)
    assert sum(verdict.admitted for verdict in verdicts) == 100


async def test_what_one_settles_the_other_sees(serving: str) -> None:
    async with ArbiterLink(serving) as one, ArbiterLink(serving) as other:
        verdict = await over(one).admit((TOKENS,), (900.0,))
        assert not (await over(other).admit((TOKENS,), (200.0,))).admitted
        over(one).settle(verdict, (100.0,))
        async with asyncio.timeout(PATIENCE):
            while not (await over(other).admit((TOKENS,), (200.0,))).admitted:
                await asyncio.sleep(0.001)


async def test_places_of_a_connection_that_is_lost_are_free(serving: str) -> None:
    async with ArbiterLink(serving) as staying:
        async with ArbiterLink(serving) as leaving:
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


async def started(path: str) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=serve_arbiter, args=(path,))
    process.start()
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    return process


async def test_an_arbiter_that_is_killed_is_missed_and_welcomed_back(path: str) -> None:
    arbiters = [await started(path)]
    try:
        async with ArbiterLink(path) as link:
            limiter = over(link)
            kept = await limiter.admit((PLACES,), (1.0,))
            assert kept.admitted
            assert arbiters[0].pid is not None
            os.kill(arbiters[0].pid, signal.SIGKILL)
            arbiters[0].join()
            async with asyncio.timeout(PATIENCE):
                while (await limiter.admit((REQUESTS,), (1.0,))).buckets:
                    await asyncio.sleep(0.001)
            for _ in range(20):  # refused at once, since that is what is set
                verdict = await asyncio.wait_for(limiter.admit((REQUESTS,), (1.0,)), 1)
                assert (verdict.admitted, verdict.buckets) == (False, ())
            assert limiter.failures >= 21
            Path(path).unlink()
            arbiters.append(await started(path))
            async with asyncio.timeout(PATIENCE + PROBE_SECONDS):
                while not (verdict := await limiter.admit((PLACES,), (0.0,))).buckets:
                    await asyncio.sleep(0.01)
            assert verdict.remaining == (2.0,)  # the new one was told of the place that is kept
    finally:
        for process in arbiters:
            process.kill()
            process.join()


async def test_an_arbiter_that_is_told_to_stop_leaves_nothing_behind(path: str) -> None:
    process = await started(path)
    try:
        process.terminate()
        await asyncio.to_thread(process.join, PATIENCE)
        assert process.exitcode == 0
        assert not Path(path).exists()
    finally:
        process.kill()
        process.join()


async def test_who_finds_no_arbiter_starts_without(path: str) -> None:
    async with ArbiterLink(path) as link:
        assert not (await over(link).admit((REQUESTS,), (1.0,))).admitted
        async with arbiter(path):
            async with asyncio.timeout(PATIENCE):
                while not (await over(link).admit((REQUESTS,), (1.0,))).admitted:
                    await asyncio.sleep(0.01)


async def test_the_socket_is_gone_with_the_arbiter_and_one_left_behind_is_replaced(path: str) -> None:
    Path(path).touch()
    async with arbiter(path):
        assert Path(path).is_socket()
    assert not Path(path).exists()


async def test_nonsense_ends_the_connection_and_nothing_else(serving: str) -> None:
    for nonsense in (b"\x00\x00\x00\x05hello", (LONGEST + 1).to_bytes(4, "big")):
        reader, writer = await asyncio.open_unix_connection(serving)
        writer.write(nonsense)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()
    async with ArbiterLink(serving) as link:
        assert (await over(link).admit((REQUESTS,), (1.0,))).admitted


def test_messages_are_whole_however_they_were_cut() -> None:
    sent = b"".join(len(body).to_bytes(4, "big") + body for body in (b"one", b"", b"three" * 100))
    for size in (1, 2, 3, 7, 1000):
        messages = Messages()
        got = [body for start in range(0, len(sent), size) for body in messages.feed(sent[start : start + size])]
        assert got == [b"one", b"", b"three" * 100]

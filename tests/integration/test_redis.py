"""Limits and tickets that gateways share through a real Redis, which may be frozen, killed and restarted."""

import asyncio
import logging
import multiprocessing
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

import pytest
import redis.asyncio

from gateway.access.rate import Verdict, bucket
from gateway.access.rate_memory import MemoryLimiter
from gateway.access.rate_redis import RedisLink
from gateway.access.rate_remote import PROBE_SECONDS, RUN, RemoteLimiter
from gateway.access.tickets import Tickets, Used
from gateway.access.tickets_redis import RedisTicketStore
from gateway.errors import Overloaded
from gateway.settings import Secret
from gateway.settings.limits import Unit
from tests.integration.redis_server import PASSWORD, RedisServer

pytestmark = pytest.mark.integration

PATIENCE = 10.0
YEAR = 365 * 86_400.0
REQUESTS = bucket("key-requests-hour:alice", "key-requests-hour", Unit.REQUESTS, 100, 3600)
TOKENS = bucket("key-tokens-hour:alice", "key-tokens-hour", Unit.TOKENS, 1000, 3600)
PLACES = bucket("key-concurrent:alice", "key-concurrent", Unit.CONCURRENT, 3, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def raw(server: RedisServer) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client of the test's own, on an empty Redis."""
    client = redis.asyncio.Redis.from_url(server.url.reveal())
    await client.flushall()
    yield client
    await client.aclose()


@asynccontextmanager
async def limiter(
    url: Secret, *, seconds: float = PATIENCE, lease: float = 30, is_open: bool = False, prefix: str = "gateway"
) -> AsyncIterator[RemoteLimiter]:
    async with RedisLink(url, prefix=prefix, seconds=seconds, lease=lease) as link:
        yield RemoteLimiter(link, seconds=seconds, open_on_failure=is_open)


def admitted_of(url: str, count: int, pipe: Connection) -> None:
    """What a process of its own gets of `count` requests at once."""

    async def ask() -> int:
        async with limiter(Secret(url)) as own:
            pipe.send("ready")
            await asyncio.to_thread(pipe.recv)
            verdicts = await asyncio.gather(*(own.admit((REQUESTS, TOKENS), (1.0, 1.0)) for _ in range(count)))
            assert own.failures == 0
            return sum(verdict.admitted for verdict in verdicts)

    pipe.send(asyncio.run(ask()))


async def test_of_a_thousand_requests_over_two_processes_exactly_a_hundred_are_admitted(
    server: RedisServer, raw: Any
) -> None:
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(2)]
    workers = [spawn.Process(target=admitted_of, args=(server.url.reveal(), 500, far)) for _, far in pipes]
    try:
        for worker in workers:
            worker.start()
        for near, _ in pipes:
            assert await asyncio.to_thread(near.recv) == "ready"
        for near, _ in pipes:
            near.send("go")
        admitted = [await asyncio.to_thread(near.recv) for near, _ in pipes]
    finally:
        for worker in workers:
            worker.join(PATIENCE)
            worker.kill()
    assert sum(admitted) == 100
    assert (await raw.get("{gateway:rate}:key-tokens-hour:alice")).split()[0] == b"100"  # and only theirs were taken


async def test_it_decides_as_memory_does(server: RedisServer, raw: Any) -> None:
    """The same questions in the same order get the same answers, where time plays no part."""
    chance = random.Random(7)
    buckets = [bucket(f"b{n}", "p", Unit.TOKENS, 10.0 ** (n + 1) / 7, YEAR) for n in range(4)]
    buckets += [bucket("c", "p", Unit.CONCURRENT, 4, 0)]
    memory = MemoryLimiter(clock=lambda: 1000.0)
    async with limiter(server.url) as shared:
        held: list[tuple[Verdict, Verdict]] = []
        for _ in range(400):
            if held and chance.random() < 0.4:
                here, there = held.pop(chance.randrange(len(held)))
                used = tuple(
                    0.0 if one.unit is Unit.CONCURRENT else amount * chance.choice((0.0, 0.5, 1.0, 1.7))
                    for one, amount in zip(here.buckets, here.amounts, strict=True)
                )
                memory.settle(here, used)
                shared.settle(there, used)
            chosen = tuple(chance.sample(buckets, chance.randint(1, 5)))
            amounts = tuple(1.0 if one.unit is Unit.CONCURRENT else chance.random() * one.most / 3 for one in chosen)
            here, there = await memory.admit(chosen, amounts), await shared.admit(chosen, amounts)
            assert (there.admitted, there.violated) == (here.admitted, here.violated)
            assert there.remaining == pytest.approx(here.remaining, abs=0.01)
            if here.admitted:
                held.append((here, there))
        assert shared.failures == 0


async def test_buckets_fill_by_the_servers_clock_and_are_forgotten_when_whole(server: RedisServer, raw: Any) -> None:
    quick = bucket("quick", "p", Unit.REQUESTS, 5, 0.5)
    async with limiter(server.url) as shared:
        for _ in range(5):
            assert (await shared.admit((quick,), (1.0,))).admitted
        refused = await shared.admit((quick,), (1.0,))
        assert not refused.admitted
        assert 0 < refused.retry_after <= 0.1
        async with asyncio.timeout(PATIENCE):
            while not (await shared.admit((quick,), (1.0,))).admitted:
                await asyncio.sleep(0.005)
        async with asyncio.timeout(PATIENCE):
            while await raw.exists("{gateway:rate}:quick"):
                await asyncio.sleep(0.02)


async def test_every_key_expires_and_has_the_same_hash_tag(server: RedisServer, raw: Any) -> None:
    async with limiter(server.url, lease=20, prefix="eu") as shared:
        assert (await shared.admit((REQUESTS, TOKENS, PLACES), (1.0, 500.0, 1.0))).admitted
        lasting = {key.decode(): await raw.pttl(key) / 1000 for key in await raw.keys()}
    assert lasting == {
        "{eu:rate}:key-requests-hour:alice": pytest.approx(37, abs=2),
        "{eu:rate}:key-tokens-hour:alice": pytest.approx(1801, abs=2),
        "{eu:rate}:key-concurrent:alice": pytest.approx(21, abs=2),
    }


async def test_a_redis_that_forgot_the_script_is_told_it_again_and_takes_once(server: RedisServer, raw: Any) -> None:
    async with limiter(server.url) as shared:
        assert (await shared.admit((REQUESTS,), (1.0,))).admitted
        await raw.script_flush()
        verdicts = await asyncio.gather(*(shared.admit((REQUESTS,), (1.0,)) for _ in range(20)))
        assert min(verdict.remaining[0] for verdict in verdicts) == pytest.approx(79, abs=0.5)
        assert shared.failures == 0


async def test_what_is_settled_is_seen_by_the_others(server: RedisServer, raw: Any) -> None:
    async with limiter(server.url) as one, limiter(server.url) as other:
        verdict = await one.admit((TOKENS,), (900.0,))
        assert not (await other.admit((TOKENS,), (200.0,))).admitted
        one.settle(verdict, (50.0,))
        async with asyncio.timeout(PATIENCE):
            while not (await other.admit((TOKENS,), (200.0,))).admitted:
                await asyncio.sleep(0.002)


async def test_what_is_settled_last_is_not_lost_when_a_gateway_stops(server: RedisServer, raw: Any) -> None:
    async with limiter(server.url) as shared:
        verdict = await shared.admit((TOKENS, PLACES), (900.0, 1.0))
        shared.settle(verdict, (50.0, 0.0))
    assert float((await raw.get("{gateway:rate}:key-tokens-hour:alice")).split()[0]) == pytest.approx(50, abs=1)
    assert await raw.zcard("{gateway:rate}:key-concurrent:alice") == 0


def hold_places(url: str, pipe: Connection) -> None:
    async def hold() -> None:
        async with limiter(Secret(url), lease=0.6) as own:
            for _ in range(3):
                assert (await own.admit((PLACES,), (1.0,))).admitted
            pipe.send("held")
            await asyncio.Event().wait()

    asyncio.run(hold())


async def test_places_are_kept_while_a_process_lives_and_free_soon_after_it_was_killed(
    server: RedisServer, raw: Any
) -> None:
    spawn = multiprocessing.get_context("spawn")
    near, far = spawn.Pipe()
    worker = spawn.Process(target=hold_places, args=(server.url.reveal(), far))
    worker.start()
    try:
        assert await asyncio.to_thread(near.recv) == "held"
        async with limiter(server.url) as shared:
            until = monotonic() + 1.5  # two and a half leases
            while monotonic() < until:
                assert not (await shared.admit((PLACES,), (1.0,))).admitted
                await asyncio.sleep(0.05)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                while not (await shared.admit((PLACES,), (1.0,))).admitted:
                    await asyncio.sleep(0.02)
    finally:
        worker.kill()
        worker.join()


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_frozen_redis_costs_each_request_a_moment_and_soon_nothing(is_open: bool) -> None:
    with RedisServer() as server:
        async with limiter(server.url, seconds=0.05, is_open=is_open) as shared:
            async with asyncio.timeout(PATIENCE):
                while not (await shared.admit((REQUESTS,), (1.0,))).buckets:
                    pass  # connected
            failures = shared.failures
            server.freeze()
            for _ in range(RUN):
                began = monotonic()
                assert (await shared.admit((REQUESTS,), (1.0,))).admitted is is_open
                assert monotonic() - began < 0.5
            began = monotonic()
            for _ in range(1000):
                assert (await shared.admit((REQUESTS,), (1.0,))).admitted is is_open
            assert monotonic() - began < 0.5
            assert shared.failures == failures + RUN + 1000
            server.thaw()
            async with asyncio.timeout(PATIENCE + PROBE_SECONDS):
                while not (await shared.admit((REQUESTS,), (1.0,))).buckets:
                    await asyncio.sleep(0.02)


async def test_a_redis_that_is_killed_is_missed_and_welcomed_back(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:
        async with limiter(server.url) as shared:
            assert (await shared.admit((REQUESTS,), (1.0,))).admitted
            server.kill()
            for _ in range(50):
                verdict = await asyncio.wait_for(shared.admit((REQUESTS,), (1.0,)), 1)
                assert (verdict.admitted, verdict.buckets) == (False, ())
            assert shared.failures == 50
            assert server.start()
            async with asyncio.timeout(PATIENCE + PROBE_SECONDS):
                while not (verdict := await shared.admit((REQUESTS,), (1.0,))).buckets:
                    await asyncio.sleep(0.02)
            assert verdict.remaining == pytest.approx((99.0,), abs=0.5)  # it kept nothing
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


async def test_a_gateway_starts_and_stops_without_redis() -> None:
    with RedisServer() as server:
        url = server.url
    began = monotonic()
    async with limiter(url, seconds=0.05, is_open=True) as shared:
        assert (await shared.admit((REQUESTS,), (1.0,))).admitted
    assert monotonic() - began < 3


async def test_a_wrong_password_is_shown_nowhere(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    url = Secret(server.url.reveal().replace(PASSWORD, "wr0ng-password"))
    with caplog.at_level(logging.DEBUG):
        async with limiter(url) as shared:
            for _ in range(RUN + 1):
                assert not (await shared.admit((REQUESTS,), (1.0,))).admitted
        async with RedisTicketStore(url, prefix="gateway") as store:
            with pytest.raises(Overloaded) as refused:
                await store.put("id", b"payload", 1)
    told = caplog.text + repr(shared) + repr(store) + refused.value.message
    assert "wr0ng-password" not in told


async def test_a_ticket_of_one_gateway_is_redeemed_by_another_once(server: RedisServer, raw: Any) -> None:
    secret = b"s" * 32
    async with (
        RedisTicketStore(server.url, prefix="gateway") as one,
        RedisTicketStore(server.url, prefix="gateway") as two,
    ):
        body = os.urandom(1000)
        ticket = await Tickets(secret, 30, one).mint("alice", "POST", "/x", body, 1000)
        redeemed = await asyncio.gather(*(Tickets(secret, 30, two).redeem(ticket, "/x", 1001) for _ in range(10)))
    genuine = [one for one in redeemed if not isinstance(one, Used)]
    assert [(one.client_id, one.body) for one in genuine] == [("alice", body)]


async def test_a_ticket_is_gone_when_its_time_is(server: RedisServer, raw: Any) -> None:
    async with RedisTicketStore(server.url, prefix="gateway") as store:
        await store.put("id", b"payload", 0.05)
        assert await raw.keys() == [b"gateway:ticket:id"]
        async with asyncio.timeout(PATIENCE):
            while await raw.keys():
                await asyncio.sleep(0.01)
        assert await store.take("id") is None


async def test_without_redis_there_are_no_tickets_and_the_client_may_come_back() -> None:
    with RedisServer() as server:
        url = server.url
    async with RedisTicketStore(url, prefix="gateway") as store:
        with pytest.raises(Overloaded) as refused:
            await store.take("id")
        assert refused.value.retry_after == 1

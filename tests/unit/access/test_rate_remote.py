"""Limits that somebody else keeps, who may be slow or gone."""

import asyncio
import logging
from time import monotonic

import pytest

from gateway.access.rate import Amounts, Buckets, Verdict, bucket
from gateway.access.rate_remote import PROBE_SECONDS, RUN, RemoteLimiter, Taken, Unavailable
from gateway.settings.limits import Unit

SECONDS = 0.05
REQUESTS = bucket("r", "key-requests-minute", Unit.REQUESTS, 10, 60)
TOKENS = bucket("t", "key-tokens-minute", Unit.TOKENS, 100, 60)
PLACES = bucket("c", "key-concurrent", Unit.CONCURRENT, 2, 0)


class Link:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Buckets, Amounts, str, asyncio.Future[Taken]]] = []
        self.told: list[tuple[Buckets, Amounts, str]] = []
        self.at_once: Taken | Unavailable | None = None

    def ask(self, buckets: Buckets, amounts: Amounts, lease: str) -> asyncio.Future[Taken]:
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self.asked.append((buckets, amounts, lease, future))
        if isinstance(self.at_once, Taken):
            future.set_result(self.at_once)
        elif self.at_once is not None:
            future.set_exception(self.at_once)
        return future

    def tell(self, buckets: Buckets, amounts: Amounts, lease: str) -> None:
        self.told.append((buckets, amounts, lease))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def link() -> Link:
    return Link()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(link: Link, clock: Clock) -> RemoteLimiter:
    return RemoteLimiter(link, seconds=SECONDS, open_on_failure=True, clock=clock)


async def test_an_answer_is_the_verdict(limiter: RemoteLimiter, link: Link) -> None:
    link.at_once = Taken((1,), (9.0, 0.0))
    verdict = await limiter.admit((REQUESTS, TOKENS), (1.0, 5.0))
    assert verdict == Verdict(False, (REQUESTS, TOKENS), (1.0, 5.0), (9.0, 0.0), (1,))
    assert limiter.failures == 0


async def test_places_have_a_name_and_each_request_another(limiter: RemoteLimiter, link: Link) -> None:
    link.at_once = Taken((), (1.0,))
    leases = {(await limiter.admit((PLACES,), (1.0,))).lease for _ in range(10)}
    assert len(leases) == 10
    assert "" not in leases
    assert (await limiter.admit((REQUESTS,), (1.0,))).lease == ""


async def test_only_differences_are_settled(limiter: RemoteLimiter, link: Link) -> None:
    link.at_once = Taken((), (9.0, 50.0, 1.0))
    verdict = await limiter.admit((REQUESTS, TOKENS, PLACES), (1.0, 50.0, 1.0))
    limiter.settle(verdict, (1.0, 70.0, 0.0))
    assert link.told == [((TOKENS, PLACES), (20.0, -1.0), verdict.lease)]
    limiter.settle(verdict, (1.0, 50.0, 1.0))
    assert len(link.told) == 1


@pytest.mark.parametrize("admitted", [True, False])
async def test_without_an_answer_the_setting_decides_in_time(link: Link, admitted: bool) -> None:
    limiter = RemoteLimiter(link, seconds=SECONDS, open_on_failure=admitted)
    began = monotonic()
    verdict = await limiter.admit((REQUESTS,), (1.0,))
    assert SECONDS * 0.9 <= monotonic() - began < 20 * SECONDS
    assert (verdict.admitted, verdict.buckets) == (admitted, ())
    assert limiter.failures == 1
    link.asked[0][3].set_exception(Unavailable())  # which nobody has to hear of


async def test_after_a_run_of_failures_nobody_waits(
    limiter: RemoteLimiter, link: Link, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    link.at_once = Unavailable()
    for _ in range(RUN):
        await limiter.admit((REQUESTS,), (1.0,))
    link.at_once = None
    for _ in range(100):
        assert (await asyncio.wait_for(limiter.admit((REQUESTS,), (1.0,)), SECONDS / 2)).admitted
    assert limiter.circuit.is_open
    assert len(link.asked) == RUN
    assert limiter.failures == RUN + 100
    [told] = caplog.records
    assert told.levelno == logging.ERROR


async def test_beside_the_requests_it_is_tried_whether_somebody_answers_again(
    limiter: RemoteLimiter, link: Link, clock: Clock
) -> None:
    link.at_once = Unavailable()
    for _ in range(RUN):
        await limiter.admit((REQUESTS,), (1.0,))
    link.at_once = None
    clock.now += PROBE_SECONDS
    for _ in range(3):
        await limiter.admit((REQUESTS,), (1.0,))
    assert len(link.asked) == RUN + 1
    buckets, amounts, _, probe = link.asked[-1]
    assert buckets == amounts == ()
    probe.set_result(Taken((), ()))
    await asyncio.sleep(0)
    link.at_once = Taken((), (9.0,))
    assert (await limiter.admit((REQUESTS,), (1.0,))).remaining == (9.0,)
    assert not limiter.circuit.is_open


async def test_a_success_between_failures_keeps_the_circuit_closed(limiter: RemoteLimiter, link: Link) -> None:
    for _ in range(3 * RUN):
        link.at_once = Unavailable()
        for _ in range(RUN - 1):
            await limiter.admit((REQUESTS,), (1.0,))
        link.at_once = Taken((), (9.0,))
        await limiter.admit((REQUESTS,), (1.0,))
    assert not limiter.circuit.is_open


async def test_what_is_taken_too_late_is_given_back(limiter: RemoteLimiter, link: Link) -> None:
    await limiter.admit((TOKENS, PLACES), (50.0, 1.0))
    _, _, lease, answer = link.asked[0]
    assert link.told == []
    answer.set_result(Taken((), (50.0, 1.0)))
    await asyncio.sleep(0)
    assert link.told == [((TOKENS, PLACES), (-50.0, -1.0), lease)]


async def test_what_is_refused_too_late_is_not(limiter: RemoteLimiter, link: Link) -> None:
    await limiter.admit((TOKENS,), (50.0,))
    link.asked[0][3].set_result(Taken((0,), (5.0,)))
    await asyncio.sleep(0)
    assert link.told == []


async def test_what_is_taken_for_a_client_that_left_is_given_back(limiter: RemoteLimiter, link: Link) -> None:
    waiting = asyncio.create_task(limiter.admit((TOKENS,), (50.0,)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert limiter.failures == 0
    link.asked[0][3].set_result(Taken((), (50.0,)))
    await asyncio.sleep(0)
    assert link.told == [((TOKENS,), (-50.0,), "")]


async def test_a_process_that_was_busy_itself_blames_nobody(limiter: RemoteLimiter, link: Link) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(limiter.admit((REQUESTS,), (1.0,)))
    await asyncio.sleep(0)

    def busy(turns: int) -> None:
        began = monotonic()
        while monotonic() - began < 2 * SECONDS:
            pass
        if turns:
            loop.call_soon(busy, turns - 1)
        else:
            link.asked[0][3].set_result(Taken((), (9.0,)))

    loop.call_soon(busy, 3)  # turns, each of which is longer than the deadline
    assert (await waiting).remaining == (9.0,)
    assert limiter.failures == 0

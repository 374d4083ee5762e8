"""Buckets in memory: exact, all or nothing, forgotten when they are whole."""

import asyncio

import pytest

from gateway.access.rate import Bucket, bucket
from gateway.access.rate_memory import MemoryLimiter
from gateway.settings.limits import Unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def requests(most: float = 10, seconds: float = 10, id: str = "r") -> Bucket:
    return bucket(id, "p", Unit.REQUESTS, most, seconds)


def tokens(most: float = 100, seconds: float = 10, id: str = "t") -> Bucket:
    return bucket(id, "p", Unit.TOKENS, most, seconds)


PLACES = bucket("c", "p", Unit.CONCURRENT, 2, 0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock=clock)


@pytest.mark.parametrize("most", [1, 3, 7, 100, 997])
async def test_exactly_as_many_are_admitted_as_there_are(limiter: MemoryLimiter, most: int) -> None:
    one = requests(most)
    verdicts = await asyncio.gather(*(limiter.admit((one,), (1.0,)) for _ in range(3 * most)))
    assert sum(verdict.admitted for verdict in verdicts) == most
    assert [verdict.remaining for verdict in verdicts[:most]] == [(float(most - n - 1),) for n in range(most)]


async def test_a_quota_that_is_raised_fills_faster_from_then_on(limiter: MemoryLimiter, clock: Clock) -> None:
    for quota in (requests(10, 10), requests(1000, 10)):
        while (await limiter.admit((quota,), (1.0,))).admitted:
            pass
    clock.now += 1
    assert sum([(await limiter.admit((requests(1000, 10),), (1.0,))).admitted for _ in range(200)]) == 100


@pytest.mark.parametrize("seconds", [7.0, 10.0, 3600.0])
async def test_a_bucket_fills_evenly_and_never_over_the_brim(
    limiter: MemoryLimiter, clock: Clock, seconds: float
) -> None:
    one = requests(10, seconds)
    for _ in range(10):
        assert (await limiter.admit((one,), (1.0,))).admitted
    clock.now += seconds * 0.35
    assert [(await limiter.admit((one,), (1.0,))).admitted for _ in range(4)] == [True, True, True, False]
    clock.now += 100 * seconds
    assert sum([(await limiter.admit((one,), (1.0,))).admitted for _ in range(15)]) == 10


async def test_after_the_time_that_was_told_a_request_is_admitted(limiter: MemoryLimiter, clock: Clock) -> None:
    one = tokens(7, 13)
    assert (await limiter.admit((one,), (6.0,))).admitted
    refused = await limiter.admit((one,), (3.0,))
    assert not refused.admitted
    clock.now += refused.retry_after * 0.99
    assert not (await limiter.admit((one,), (3.0,))).admitted
    clock.now += refused.retry_after * 0.01
    assert (await limiter.admit((one,), (3.0,))).admitted


async def test_all_or_nothing_is_taken(limiter: MemoryLimiter) -> None:
    both = (requests(), tokens())
    assert (await limiter.admit(both, (1.0, 90.0))).remaining == (9.0, 10.0)
    refused = await limiter.admit(both, (1.0, 20.0))
    assert (refused.admitted, refused.violated, refused.remaining) == (False, (1,), (9.0, 10.0))
    assert (await limiter.admit(both, (1.0, 10.0))).remaining == (8.0, 0.0)


async def test_every_violated_bucket_is_told(limiter: MemoryLimiter) -> None:
    buckets = (requests(1), tokens(10), requests(5, id="other"))
    assert (await limiter.admit(buckets, (1.0, 10.0, 1.0))).admitted
    assert (await limiter.admit(buckets, (1.0, 1.0, 1.0))).violated == (0, 1)


async def test_what_was_not_used_is_given_back_and_what_was_used_besides_is_taken(limiter: MemoryLimiter) -> None:
    one = (tokens(),)
    first = await limiter.admit(one, (60.0,))
    limiter.settle(first, (10.0,))
    second = await limiter.admit(one, (50.0,))
    assert second.remaining == (40.0,)
    limiter.settle(second, (130.0,))
    assert (await limiter.admit(one, (0.0,))).remaining == (-40.0,)


async def test_a_debt_is_worked_off_before_anyone_is_admitted(limiter: MemoryLimiter, clock: Clock) -> None:
    one = (tokens(100, 10),)
    limiter.settle(await limiter.admit(one, (1.0,)), (150.0,))
    refused = await limiter.admit(one, (1.0,))
    assert refused.retry_after == pytest.approx(5.1)
    clock.now += 5.2
    assert (await limiter.admit(one, (1.0,))).admitted


async def test_giving_back_fills_no_bucket_over_the_brim(limiter: MemoryLimiter, clock: Clock) -> None:
    one = (tokens(100, 10),)
    verdict = await limiter.admit(one, (100.0,))
    clock.now += 9
    limiter.settle(verdict, (0.0,))
    assert (await limiter.admit(one, (1.0,))).remaining == (99.0,)


async def test_a_bucket_that_is_asked_for_nothing_refuses_nothing(limiter: MemoryLimiter) -> None:
    one = (tokens(10),)
    limiter.settle(await limiter.admit(one, (10.0,)), (50.0,))
    assert (await limiter.admit(one, (0.0,))).admitted


async def test_places_are_free_when_they_are_given_back_and_never_by_time(limiter: MemoryLimiter, clock: Clock) -> None:
    first, second, third = [await limiter.admit((PLACES,), (1.0,)) for _ in range(3)]
    assert [first.admitted, second.admitted, third.admitted] == [True, True, False]
    clock.now += 1e6
    assert not (await limiter.admit((PLACES,), (1.0,))).admitted
    limiter.settle(second, (0.0,))
    assert (await limiter.admit((PLACES,), (1.0,))).admitted


async def test_idle_buckets_are_forgotten_as_others_come(limiter: MemoryLimiter, clock: Clock) -> None:
    for number in range(10_000):
        clock.now += 0.1  # so that a bucket is whole after ten others
        assert (
            await limiter.admit((requests(10, 10, f"r{number}"), tokens(10, 10, f"t{number}")), (1.0, 1.0))
        ).admitted
    assert len(limiter) < 100


async def test_a_bucket_that_is_forgotten_is_not_one_that_was_just_used(limiter: MemoryLimiter, clock: Clock) -> None:
    old, new = requests(1, 10, "old"), requests(1, 10, "new")
    await limiter.admit((old,), (1.0,))
    clock.now += 11
    assert (await limiter.admit((old, new), (1.0, 1.0))).admitted
    assert not (await limiter.admit((old,), (1.0,))).admitted


async def test_refused_requests_leave_nothing_behind(limiter: MemoryLimiter) -> None:
    for number in range(100):
        assert not (await limiter.admit((requests(1, 1, f"r{number}"),), (2.0,))).admitted
    assert len(limiter) == 0

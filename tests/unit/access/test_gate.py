"""Requests and calls are let in once, and settled with what they really used."""

import pytest

from gateway.access.budgets import Budgets
from gateway.access.clients import Client
from gateway.access.gate import Admission, Gate, Tokens
from gateway.access.rate import Amounts, Buckets, Verdict
from gateway.access.rate_memory import MemoryLimiter
from gateway.errors import BudgetExhausted, LimitsUnavailable, RateLimited
from gateway.settings.limits import parse_rules

ALICE = Client("alice")


class Watched(MemoryLimiter):
    """Remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 1000.0)
        self.asked: list[Buckets] = []

    async def admit(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        self.asked.append(buckets)
        return await super().admit(buckets, amounts)


def gate(rules: str) -> Gate:
    found, problems = parse_rules(rules)
    assert not problems
    return Gate(Budgets(found), Watched())


def opened(gate: Gate, exchange: str = "e", **place: str) -> Admission:
    admission = gate.open(exchange, ALICE, **place)
    assert admission is not None
    return admission


async def left(gate: Gate) -> dict[str, float]:
    """What remains of each bucket of alice's."""
    request = gate.budgets.of_request(ALICE, "demo").buckets
    call = gate.budgets.of_call(ALICE, "demo", "openai", "m").buckets
    buckets = request + call
    verdict = await MemoryLimiter.admit(gate.limiter, buckets, (0.0,) * len(buckets))  # type: ignore[arg-type]
    return {bucket.policy: remaining for bucket, remaining in zip(buckets, verdict.remaining, strict=True)}


def asked(gate: Gate) -> list[list[str]]:
    return [[bucket.policy for bucket in buckets] for buckets in gate.limiter.asked]  # type: ignore[attr-defined]


async def test_where_nothing_is_bounded_there_is_no_admission() -> None:
    assert gate("").open("e", ALICE, provider="openai") is None
    assert gate("").admission_of("e") is None


async def test_a_request_that_counts_alone_is_let_in_with_its_call_when_it_comes() -> None:
    door = gate("key: 5 requests/m; provider openai: 7 requests/m, 2 concurrent")
    admission = opened(door, provider="openai")
    assert not admission.waits_for_body
    await admission.enter()
    assert await admission.enter_call("openai", "m") is None
    assert asked(door) == [["key-requests-minute", "provider-concurrent", "provider-requests-minute"]]
    assert await left(door) == {
        "key-requests-minute": 4,
        "provider-requests-minute": 6,
        "provider-concurrent": 1,
    }
    door.close("e")
    assert (await left(door))["provider-concurrent"] == 2
    assert len(door) == 0


async def test_a_further_attempt_is_a_further_call() -> None:
    door = gate("key: 5 requests/m; provider openai: 7 requests/m")
    admission = opened(door, provider="openai")
    await admission.enter()
    await admission.enter_call("openai", "m")
    admission.leave_call(await admission.enter_call("openai", "m"), Tokens())
    assert await left(door) == {"key-requests-minute": 4, "provider-requests-minute": 5}


async def test_a_request_that_tokens_are_counted_for_is_let_in_once_with_its_call() -> None:
    door = gate("key: 5 requests/m, 1000 tokens/m, 2 concurrent")
    admission = opened(door, provider="openai")
    assert admission.waits_for_body
    hold = await admission.enter_call("openai", "m", Tokens(100, 200))
    assert asked(door) == [["key-concurrent", "key-requests-minute", "key-tokens-minute"]]
    assert await left(door) == {"key-concurrent": 1, "key-requests-minute": 4, "key-tokens-minute": 700}
    admission.leave_call(hold, Tokens(90, 10))
    assert (await left(door))["key-concurrent"] == 1  # the request has not ended yet
    door.close("e")
    assert await left(door) == {"key-concurrent": 2, "key-requests-minute": 4, "key-tokens-minute": 900}


async def test_each_kind_of_tokens_and_cost_is_taken_from_its_own_bucket() -> None:
    door = gate("key: 1000 tokens/m, 1000 input_tokens/m, 1000 output_tokens/m, 10 usd/m")
    admission = opened(door, provider="openai")
    hold = await admission.enter_call("openai", "m", Tokens(1, 1, 1))
    admission.leave_call(hold, Tokens(100, 30, 2.5))
    door.close("e")
    assert await left(door) == {
        "key-tokens-minute": 870,
        "key-input-tokens-minute": 900,
        "key-output-tokens-minute": 970,
        "key-cost-minute": 7.5,
    }


async def test_a_workflow_is_let_in_when_it_comes_and_its_calls_when_they_go_out() -> None:
    door = gate(
        "key: 5 requests/m, 1000 tokens/m; project demo: 3 concurrent; provider openai: 7 requests/m, 1 concurrent"
    )
    admission = opened(door, project="demo")
    assert not admission.waits_for_body
    await admission.enter()
    for _ in range(3):  # one after the other, in the provider's one place
        hold = await admission.enter_call("openai", "m", Tokens(10, 10))
        admission.leave_call(hold, Tokens(50, 50))
    assert await left(door) == {
        "key-requests-minute": 4,
        "project-concurrent": 2,
        "key-tokens-minute": 700,
        "provider-concurrent": 1,
        "provider-requests-minute": 4,
    }
    door.close("e")
    assert (await left(door))["project-concurrent"] == 3


async def test_who_needs_more_than_a_bucket_holds_gets_in_when_it_is_whole_and_owes_the_rest() -> None:
    door = gate("key: 1000 tokens/m")
    admission = opened(door, provider="openai")
    hold = await admission.enter_call("openai", "m", Tokens(500, 64_000))
    assert await left(door) == {"key-tokens-minute": 0}
    admission.leave_call(hold, Tokens(500, 2000))
    door.close("e")
    assert await left(door) == {"key-tokens-minute": -1500}


async def test_a_refusal_is_raised_counted_and_shown() -> None:
    door = gate("key: 1 requests/m, 10 concurrent")
    await opened(door, "first", provider="openai").enter()
    second = opened(door, "second", provider="openai")
    with pytest.raises(RateLimited):
        await second.enter()
    assert door.refusals == {"key-requests-minute": 1}
    assert second.shown is not None
    assert not second.shown.admitted
    door.close("second")
    assert (await left(door))["key-concurrent"] == 9  # the first one's alone


async def test_a_refused_call_is_shown_in_place_of_the_requests_own_standing() -> None:
    door = gate("key: 5 requests/m; provider: 1 usd/day")
    admission = opened(door, project="demo")
    await admission.enter()
    admission.leave_call(await admission.enter_call("openai", "m", Tokens(cost=1)), Tokens(cost=1))
    assert admission.shown is not None
    assert admission.shown.buckets[0].policy == "key-requests-minute"
    with pytest.raises(BudgetExhausted):
        await admission.enter_call("openai", "m", Tokens(cost=1))
    assert admission.shown.buckets[0].policy == "provider-cost-day"


class Nobody:
    """A limiter that can ask nobody."""

    def __init__(self, admitted: bool) -> None:
        self.admitted = admitted
        self.settled: list[Verdict] = []

    async def admit(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        return Verdict(self.admitted, (), (), ())

    def settle(self, verdict: Verdict, used: Amounts) -> None:
        assert len(used) == len(verdict.buckets)
        self.settled.append(verdict)


async def test_a_request_that_nobody_decided_about_passes_or_is_refused_as_the_limiter_says() -> None:
    rules, _ = parse_rules("key: 1 requests/m, 100 tokens/m")
    door = Gate(Budgets(rules), Nobody(True))
    admission = opened(door, provider="openai")
    admission.leave_call(await admission.enter_call("openai", "m", Tokens(1, 1)), Tokens(5, 5))
    door.close("e")
    with pytest.raises(LimitsUnavailable):
        await opened(Gate(Budgets(rules), Nobody(False)), provider="openai").enter_call("openai", "m", Tokens(1, 1))


async def test_leaving_twice_gives_nothing_back_twice() -> None:
    door = gate("key: 2 concurrent")
    one, two = opened(door, "one", provider="openai"), opened(door, "two", provider="openai")
    await one.enter()
    await two.enter()
    door.close("one")
    door.close("one")
    one.leave()
    assert await left(door) == {"key-concurrent": 1}

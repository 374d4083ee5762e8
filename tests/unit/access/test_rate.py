"""Verdicts, and what a client is told of them."""

import pytest

from gateway.access.rate import Verdict, bucket, refusal
from gateway.errors import BudgetExhausted, LimitsUnavailable, RateLimited
from gateway.settings.limits import Unit

REQUESTS = bucket("r", "key-requests-minute", Unit.REQUESTS, 60, 60, "60 requests per minute for this key")
TOKENS = bucket("t", "key-tokens-hour", Unit.TOKENS, 3600, 3600, "3,600 tokens per hour for this key")
COST = bucket("c", "key-cost-day", Unit.COST, 86.4, 86_400, "86.4 US dollars per day for this key")
PLACES = bucket("p", "key-concurrent", Unit.CONCURRENT, 2, 0, "2 concurrent requests for this key")


def test_a_request_may_come_back_when_the_last_bucket_holds_what_it_needs() -> None:
    verdict = Verdict(False, (REQUESTS, TOKENS), (1.0, 100.0), (0.5, 40.0), (0, 1))
    assert verdict.wait(0) == pytest.approx(0.5)
    assert verdict.wait(1) == pytest.approx(60)
    assert verdict.retry_after == pytest.approx(60)


def test_a_place_may_be_free_soon() -> None:
    assert Verdict(False, (PLACES,), (1.0,), (0.0,), (0,)).retry_after == 1.0


def test_who_was_admitted_waits_for_nothing() -> None:
    assert Verdict(True, (REQUESTS,), (1.0,), (10.0,)).retry_after == 0.0


def test_a_refusal_names_the_limit_that_lasts_longest_and_whole_seconds() -> None:
    error = refusal(Verdict(False, (REQUESTS, TOKENS), (1.0, 100.0), (0.0, 40.5), (0, 1)))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 60
    assert error.message == "Limit reached: 3,600 tokens per hour for this key. Try again in 60 s."
    assert error.retryable


def test_a_second_is_the_least_that_is_told() -> None:
    assert refusal(Verdict(False, (REQUESTS,), (1.0,), (0.99,), (0,))).retry_after == 1


def test_a_cost_that_is_used_up_is_no_matter_of_trying_again_at_once() -> None:
    error = refusal(Verdict(False, (COST,), (0.5,), (0.1,), (0,)))
    assert isinstance(error, BudgetExhausted)
    assert error.retry_after == 400
    assert not error.retryable


def test_where_nobody_decided_the_gateway_says_so() -> None:
    error = refusal(Verdict(False, (), (), ()))
    assert isinstance(error, LimitsUnavailable)
    assert error.status == 503
    assert error.retry_after == 1

"""What a client is told about where it stands, all from one verdict."""

from datetime import UTC, datetime

import pytest

from gateway.access.rate import Verdict, bucket
from gateway.access.rate_fields import BY_DIALECT, anthropic, go_duration, ietf, openai
from gateway.settings.limits import Unit

NOW = datetime(2027, 1, 31, 23, 59, 30, tzinfo=UTC)
REQUESTS = bucket("1", "key-requests-minute", Unit.REQUESTS, 100, 60)
DAILY = bucket("2", "key-requests-day", Unit.REQUESTS, 5000, 86_400)
TOKENS = bucket("3", "key-tokens-minute", Unit.TOKENS, 200_000, 60)
OUTPUT = bucket("4", "key-output-tokens-minute", Unit.OUTPUT_TOKENS, 60, 60)
COST = bucket("5", "key-cost-day", Unit.COST, 2.5, 86_400)
PLACES = bucket("6", "key-concurrent", Unit.CONCURRENT, 10, 0)


def test_the_ietfs_fields_tell_every_policy_of_an_admitted_request() -> None:
    verdict = Verdict(True, (REQUESTS, TOKENS, COST, PLACES), (1, 1, 1, 1), (50.0, 199_999.5, 1.25, 7.0))
    assert ietf(verdict) == {
        "RateLimit-Policy": '"key-requests-minute";q=100;w=60;qu="requests", '
        '"key-tokens-minute";q=200000;w=60;qu="tokens", '
        '"key-cost-day";q=2500000;w=86400;qu="microdollars", '
        '"key-concurrent";q=10;qu="concurrent-requests"',
        "RateLimit": '"key-requests-minute";r=50;t=30, "key-tokens-minute";r=199999;t=1, '
        '"key-cost-day";r=1250000;t=43200, "key-concurrent";r=7',
    }


def test_of_a_refusal_they_tell_what_refused_and_when_it_would_not() -> None:
    verdict = Verdict(False, (REQUESTS, TOKENS, DAILY), (1, 10, 1), (0.25, 5000.0, 0.0), (0, 2))
    assert ietf(verdict) == {
        "RateLimit-Policy": '"key-requests-minute";q=100;w=60;qu="requests", '
        '"key-requests-day";q=5000;w=86400;qu="requests"',
        "RateLimit": '"key-requests-minute";r=0;t=1, "key-requests-day";r=0;t=18',
    }
    assert verdict.retry_after == pytest.approx(17.28)


def test_a_debt_is_told_as_nothing_left() -> None:
    assert ietf(Verdict(True, (TOKENS,), (0,), (-50.0,)))["RateLimit"] == '"key-tokens-minute";r=0;t=61'


def test_where_nobody_decided_nothing_is_told() -> None:
    nobody = Verdict(True, (), (), ())
    assert ietf(nobody) == openai(nobody, NOW) == anthropic(nobody, NOW) == {}


def test_openais_fields_tell_the_tightest_of_requests_and_of_tokens() -> None:
    verdict = Verdict(True, (REQUESTS, DAILY, TOKENS, COST), (1, 1, 1, 1), (50.0, 20.0, 100_000.0, 1.0))
    assert openai(verdict, NOW) == {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-requests": "20",
        "x-ratelimit-reset-requests": "23h54m14.4s",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "100000",
        "x-ratelimit-reset-tokens": "30s",
    }


def test_what_refused_is_told_before_what_holds_less() -> None:
    verdict = Verdict(False, (REQUESTS, DAILY), (1, 30), (0.5, 20.0), (1,))
    assert openai(verdict, NOW)["x-ratelimit-limit-requests"] == "5000"


def test_anthropics_fields_tell_each_kind_and_an_instant() -> None:
    verdict = Verdict(True, (REQUESTS, OUTPUT), (1, 1), (50.0, 30.0))
    assert anthropic(verdict, NOW) == {
        "anthropic-ratelimit-requests-limit": "100",
        "anthropic-ratelimit-requests-remaining": "50",
        "anthropic-ratelimit-requests-reset": "2027-02-01T00:00:00Z",
        "anthropic-ratelimit-output-tokens-limit": "60",
        "anthropic-ratelimit-output-tokens-remaining": "30",
        "anthropic-ratelimit-output-tokens-reset": "2027-02-01T00:00:00Z",
    }


def test_every_field_of_a_dialect_begins_as_the_table_says() -> None:
    verdict = Verdict(True, (REQUESTS, TOKENS, OUTPUT), (1, 1, 1), (1.0, 1.0, 1.0))
    for beginning, fields in BY_DIALECT.values():
        told = fields(verdict, NOW)
        assert told
        assert all(name.startswith(beginning) for name in told)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"),
        (0.0121, "13ms"),
        (0.9999, "1s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_a_duration_is_written_as_go_does(seconds: float, told: str) -> None:
    assert go_duration(seconds) == told

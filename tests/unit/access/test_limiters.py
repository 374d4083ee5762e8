"""Who keeps the buckets, and whether what is configured can be held."""

import socket

from gateway.access.clients import Client
from gateway.access.limiters import doubts, limiter_for, problems
from gateway.access.rate_memory import MemoryLimiter
from gateway.access.rate_remote import RemoteLimiter
from gateway.settings import Secret
from gateway.settings.limits import RateSettings, Unit, parse_rules, scope
from gateway.settings.prices import Price, Prices
from gateway.settings.redis import RedisSettings

ALICE = Client("alice")
BOUNDED = Client("bob", requests=scope(Unit.REQUESTS)("1/m"))
COSTLY = Client("carol", cost=scope(Unit.COST)("1/day"))
REDIS = RedisSettings(Secret("redis://127.0.0.1:1/0"))


def rates(rules: str = "") -> RateSettings:
    return RateSettings(parse_rules(rules)[0])


async def test_buckets_are_kept_in_redis_or_with_the_arbiter_or_here() -> None:
    assert isinstance(limiter_for(rates(), RedisSettings()).limiter, MemoryLimiter)
    with socket.socket() as end:
        for kept in (limiter_for(rates(), REDIS), limiter_for(rates(), RedisSettings(), end)):
            assert isinstance(kept.limiter, RemoteLimiter)
            assert kept.failures == 0


def test_a_limit_of_cost_needs_prices() -> None:
    [(name, told)] = problems(rates("key: 5 usd/day"), Prices(), [ALICE, COSTLY])
    assert name == "GATEWAY_PRICES"
    assert told == "must be set where a limit of cost is (carol, GATEWAY_RATE_LIMITS)"
    assert not list(problems(rates("key: 5 usd/day"), Prices({"": Price(1, 1, 1)}), [COSTLY]))
    assert not list(problems(rates("key: 5 tokens/day"), Prices(), [ALICE, BOUNDED]))


def test_rules_about_what_is_not_there_are_doubted() -> None:
    rules = rates(
        "key alice: 1 concurrent; key bob: 1 concurrent; project x: 1 concurrent; provider: 1 concurrent;"
        "provider opnai model gpt*: 1 concurrent"
    )
    assert list(doubts(rules, keys={"alice"}, projects={"demo"}, providers={"openai"})) == [
        "GATEWAY_RATE_LIMITS: there is no key bob",
        "GATEWAY_RATE_LIMITS: there is no project x",
        "GATEWAY_RATE_LIMITS: there is no provider opnai",
    ]

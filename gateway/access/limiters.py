"""Who keeps the buckets, and whether what is configured can be held."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from gateway.access.clients import Client
from gateway.access.rate import RateLimiter
from gateway.access.rate_arbiter import ArbiterLink
from gateway.access.rate_memory import MemoryLimiter
from gateway.access.rate_remote import RemoteLimiter
from gateway.settings.limits import RULES, RateSettings, Unit
from gateway.settings.prices import NAME as PRICES
from gateway.settings.prices import Prices
from gateway.settings.redis import RedisSettings

ARBITER_SECONDS = 0.05

UNSHARED = "several workers cannot hold a limit together: set GATEWAY_REDIS_URL, or GATEWAY_WORKERS=1"
UNPRICED = "must be set where a limit of cost is ({})"


@dataclass(frozen=True, slots=True)
class Kept:
    """A limiter, and the connection it has to be used within."""

    limiter: RateLimiter
    connection: AbstractAsyncContextManager[object]

    @property
    def failures(self) -> int:
        """Requests that nobody decided about, since the start."""
        return self.limiter.failures if isinstance(self.limiter, RemoteLimiter) else 0


def limiter_for(rates: RateSettings, redis: RedisSettings, *, arbiter: str = "") -> Kept:
    """In Redis if there is one; else with the arbiter at that path; else in this process, as if it were alone."""
    if redis.url is not None:
        # A late import: it takes a tenth of a second, which who has no Redis need not wait at each start.
        from gateway.access.rate_redis import RedisLink

        link = RedisLink(redis.url, prefix=redis.prefix, seconds=redis.timeout, lease=rates.lease)
        return Kept(RemoteLimiter(link, seconds=redis.timeout, open_on_failure=rates.open_on_failure), link)
    if arbiter:
        line = ArbiterLink(arbiter)
        return Kept(RemoteLimiter(line, seconds=ARBITER_SECONDS, open_on_failure=rates.open_on_failure), line)
    return Kept(MemoryLimiter(), nullcontext())


def is_limited(rates: RateSettings, clients: Iterable[Client]) -> bool:
    """Whether anything is bounded for anybody."""
    return bool(rates.rules) or any(getattr(client, unit) for client in clients for unit in Unit)


def refuse_unshared(
    workers: int, rates: RateSettings, clients: Iterable[Client], redis: RedisSettings, *, arbiter: str = ""
) -> str | None:
    """What is wrong with several workers that each would count for themselves; None if nothing is."""
    shared = workers == 1 or redis.url is not None or arbiter
    return None if shared or not is_limited(rates, clients) else UNSHARED


def problems(rates: RateSettings, prices: Prices, clients: Iterable[Client]) -> Iterator[tuple[str, str]]:
    """What cannot be held: variables, and what would be right."""
    costly = [client.id for client in clients if client.cost]
    if any(bound.unit is Unit.COST for rule in rates.rules for bound in rule.bounds):
        costly.append(RULES)
    if costly and not prices:
        yield PRICES, UNPRICED.format(", ".join(costly))


def doubts(
    rates: RateSettings, *, keys: Collection[str], projects: Collection[str], providers: Collection[str]
) -> Iterator[str]:
    """Rules about what is not there: typing errors, most likely."""
    known = {"key": keys, "project": projects, "provider": providers}
    for rule in rates.rules:
        for dimension, name in rule.who:
            if name and dimension in known and name not in known[dimension]:
                yield f"{RULES}: there is no {dimension} {name}"

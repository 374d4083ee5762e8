"""Who keeps the buckets, and whether what is configured can be held."""

import socket
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

ARBITER_SECONDS = 1.0
"""How long the arbiter may take. It is another process of this machine: it is there or gone, and only late where the
machine is busy, which is no reason to let anybody pass uncounted."""

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


def limiter_for(rates: RateSettings, redis: RedisSettings, arbiter: socket.socket | None = None) -> Kept:
    """In Redis if there is one; else with the arbiter at the other end; else in this process, which is then alone."""
    if redis.url is not None:
        # A late import: it takes a tenth of a second, which who has no Redis need not wait at each start.
        from gateway.access.rate_redis import RedisLink

        link = RedisLink(redis.url, prefix=redis.prefix, seconds=redis.timeout, lease=rates.lease)
        return Kept(RemoteLimiter(link, seconds=redis.timeout, open_on_failure=rates.open_on_failure), link)
    if arbiter is not None:
        line = ArbiterLink(arbiter)
        return Kept(RemoteLimiter(line, seconds=ARBITER_SECONDS, open_on_failure=rates.open_on_failure), line)
    return Kept(MemoryLimiter(), nullcontext())


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

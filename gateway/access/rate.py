"""How often may someone call: token buckets, and the one question that is asked of them.

A bucket holds its whole quota and is refilled evenly. Whoever keeps buckets keeps what was used of them, so that one
that nobody used for a while need not be kept at all.

Rule: what is asked for at once is taken from all its buckets in one step, or from none.
"""

from math import ceil
from typing import Protocol

import msgspec

from gateway.errors import BudgetExhausted, GatewayError, LimitsUnavailable, RateLimited
from gateway.settings.limits import Unit

ROUNDING = 1e-9
BUSY_SECONDS = 1.0
"""When to come back for a place among what is concurrent: nobody knows; soon."""


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One subject's quota under one policy: `most` of `unit`, refilled by `rate` a second; 0 for what is concurrent.

    `policy` is a closed set's name, `about` says for people what is bounded and whose it is.
    """

    id: str
    policy: str
    unit: Unit
    most: float
    seconds: float
    rate: float
    ceiling: float
    about: str = ""


def bucket(id: str, policy: str, unit: Unit, most: float, seconds: float, about: str = "") -> Bucket:
    rate = most / seconds if seconds else 0.0
    return Bucket(id, policy, unit, most, seconds, rate, most + most * 1e-12 + ROUNDING, about)


Buckets = tuple[Bucket, ...]
Amounts = tuple[float, ...]


class Verdict(msgspec.Struct, gc=False):
    """What was decided about `amounts` of `buckets`, and what remains of each: below 0 if more was used than was there.

    `violated` are the positions of the buckets that do not hold as much. `lease` names the places that were taken
    among what is concurrent, where a name is needed to keep them. A verdict without buckets is one that nobody gave:
    nothing was taken.
    """

    admitted: bool
    buckets: Buckets
    amounts: Amounts
    remaining: Amounts
    violated: tuple[int, ...] = ()
    lease: str = ""

    @property
    def retry_after(self) -> float:
        """Seconds until every violated bucket holds what was asked of it; 0.0 if none was violated."""
        return max((self.wait(position) for position in self.violated), default=0.0)

    def wait(self, position: int) -> float:
        """Seconds until one bucket holds what was asked of it."""
        bucket = self.buckets[position]
        missing = self.amounts[position] - self.remaining[position]
        return max(0.0, missing) / bucket.rate if bucket.rate else BUSY_SECONDS


class RateLimiter(Protocol):
    """Keeps buckets: in this process, for all workers of a machine, or for all of them."""

    async def admit(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        """Take each amount from its bucket, or nothing from any. An amount is at most what its bucket can hold."""
        ...

    def settle(self, verdict: Verdict, used: Amounts) -> None:
        """What an admitted request really used: the difference is given back, or taken after all. Never waits.

        Places among what is concurrent are given back by a use of 0. To be told once for each verdict.
        """
        ...


def refusal(verdict: Verdict) -> GatewayError:
    """What a client is told whose request was not admitted."""
    if not verdict.violated:
        return LimitsUnavailable(retry_after=1)
    first = max(verdict.violated, key=verdict.wait)
    bucket = verdict.buckets[first]
    kind = BudgetExhausted if bucket.unit is Unit.COST else RateLimited
    seconds = ceil(verdict.retry_after - ROUNDING) or 1
    return kind(f"Limit reached: {bucket.about or bucket.policy}. Try again in {seconds} s.", retry_after=seconds)

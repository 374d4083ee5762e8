"""Buckets that somebody else keeps, for several gateways at once, and what happens when nobody answers.

Rule 1: no request waits longer than the time that is set, and none at all while those asked are known to be gone.
Rule 2: who cannot be asked has not decided: the setting does, it is counted, and the log says when it begins and ends.
Rule 3: what was taken for a request that did not wait for it is given back.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Protocol

import msgspec

from gateway.access.rate import Amounts, Buckets, Verdict
from gateway.settings.limits import Unit

RUN = 3
"""So many failures on end open the circuit: then nobody waits any more."""

PROBE_SECONDS = 1.0
"""How often it is tried, beside the requests, whether somebody answers again."""

STEPS = 5
"""A deadline passes in so many steps. A process that is late for each of them, being busy itself, takes longer, and has
had time to read the answer: it does not blame those it asked."""

logger = logging.getLogger("gateway")


class Unavailable(Exception):
    """There is nobody to ask, or no answer."""


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer: the positions of the buckets that held too little, and what remains of each."""

    violated: tuple[int, ...]
    remaining: tuple[float, ...]


class Link(Protocol):
    """The way to those who keep the buckets. `lease` names a request's places among what is concurrent."""

    def ask(self, buckets: Buckets, amounts: Amounts, lease: str) -> "asyncio.Future[Taken]":
        """Take the amounts. The future always ends, with an answer or Unavailable."""
        ...

    def tell(self, buckets: Buckets, amounts: Amounts, lease: str) -> None:
        """Take the amounts, negative ones give back, whether they are there or not; if it can be told at all."""
        ...


class RemoteLimiter:
    """A RateLimiter over a link. `failures` counts the requests that nobody decided about."""

    def __init__(
        self, link: Link, *, seconds: float, open_on_failure: bool, clock: Callable[[], float] = monotonic
    ) -> None:
        self.failures = 0
        self.circuit = Circuit(clock)
        self._link = link
        self._seconds = seconds
        self._undecided = Verdict(open_on_failure, (), (), ())
        self._name = secrets.token_hex(8)
        self._number = count(1)

    async def admit(self, buckets: Buckets, amounts: Amounts) -> Verdict:
        if self.circuit.is_open:
            if self.circuit.may_probe():
                self._link.ask((), (), "").add_done_callback(self._probed)
            self.failures += 1
            return self._undecided
        places = any(bucket.unit is Unit.CONCURRENT for bucket in buckets)
        lease = f"{self._name}.{next(self._number)}" if places else ""
        future = self._link.ask(buckets, amounts, lease)
        try:
            in_time = await ended_within(future, self._seconds)
        except asyncio.CancelledError:
            self._give_back(future, buckets, amounts, lease)
            raise
        if not in_time:
            self._give_back(future, buckets, amounts, lease)
        elif future.exception() is None:
            self.circuit.succeeded()
            taken = future.result()
            return Verdict(not taken.violated, buckets, amounts, taken.remaining, taken.violated, lease)
        self.circuit.failed()
        self.failures += 1
        return self._undecided

    def settle(self, verdict: Verdict, used: Amounts) -> None:
        changed = [position for position, amount in enumerate(verdict.amounts) if used[position] != amount]
        if changed:
            buckets = tuple([verdict.buckets[position] for position in changed])
            amounts = tuple([used[position] - verdict.amounts[position] for position in changed])
            self._link.tell(buckets, amounts, verdict.lease)

    def _give_back(self, future: "asyncio.Future[Taken]", buckets: Buckets, amounts: Amounts, lease: str) -> None:
        def late(future: "asyncio.Future[Taken]") -> None:
            if not future.cancelled() and future.exception() is None and not future.result().violated:
                self._link.tell(buckets, tuple([-amount for amount in amounts]), lease)

        future.add_done_callback(late)

    def _probed(self, future: "asyncio.Future[Taken]") -> None:
        if not future.cancelled() and future.exception() is None:
            self.circuit.succeeded()


class Circuit:
    """Whether asking is worth the wait. Opened by a run of failures, closed by one answer."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.is_open = False
        self._clock = clock
        self._run = 0
        self._probed = 0.0

    def failed(self) -> None:
        self._run += 1
        if self._run >= RUN and not self.is_open:
            self.is_open = True
            self._probed = self._clock()
            logger.error("rate limits cannot be checked; GATEWAY_RATE_LIMIT_ON_FAILURE decides until they can")

    def succeeded(self) -> None:
        self._run = 0
        if self.is_open:
            self.is_open = False
            logger.warning("rate limits are checked again")

    def may_probe(self) -> bool:
        """Whether it is time to try again; once for each time."""
        now = self._clock()
        due = now - self._probed >= PROBE_SECONDS
        if due:
            self._probed = now
        return due


async def ended_within(future: "asyncio.Future[Taken]", seconds: float) -> bool:
    """Whether `future` ended in time. It goes on if it did not, or if the waiting is cancelled."""
    for _ in range(STEPS):
        await asyncio.wait((future,), timeout=seconds / STEPS)
        if future.done():
            return True
    return False

"""Lets requests and their calls in, and settles what they really used when they end.

A request that makes one call is let in once, for both: as soon as it comes where nothing but its number counts, else
when its body is known. A workflow's request is let in when it comes, and each of its calls when it goes out.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import msgspec

from gateway.access.budgets import NO_PLAN, Budgets, Plan
from gateway.access.clients import Client
from gateway.access.rate import Amounts, Buckets, RateLimiter, Verdict, refusal
from gateway.settings.limits import Unit


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """What a call takes, estimated or told: tokens, and their cost in US dollars."""

    input: float = 0.0
    output: float = 0.0
    cost: float = 0.0


NO_TOKENS: Final = Tokens()


class Gate:
    """Who is in. `refusals` counts, by policy, what was not let in."""

    def __init__(self, budgets: Budgets, limiter: RateLimiter) -> None:
        self.budgets = budgets
        self.limiter = limiter
        self.refusals: Counter[str] = Counter()
        self._inside: dict[Hashable, Admission] = {}

    def open(
        self, exchange: Hashable, client: Client, *, project: str | None = None, provider: str | None = None
    ) -> "Admission | None":
        """The admission of `exchange`, to be left with `close`; None if nothing is bounded for its client.

        `provider` is the one that the whole request goes to.
        """
        if not self.budgets.concern(client):
            return None
        admission = self._inside[exchange] = Admission(self, client, project, provider)
        return admission

    def admission_of(self, exchange: Hashable) -> "Admission | None":
        return self._inside.get(exchange)

    def close(self, exchange: Hashable) -> None:
        """The exchange has ended."""
        admission = self._inside.pop(exchange, None)
        if admission is not None:
            admission.leave()

    def __len__(self) -> int:
        return len(self._inside)


class Admission:
    """What one request, and its calls, were let in with. `shown` is the verdict that its client is told about."""

    __slots__ = ("_client", "_entered", "_gate", "_owed", "_paid", "_project", "_provider", "shown")

    def __init__(self, gate: Gate, client: Client, project: str | None, provider: str | None) -> None:
        self._gate = gate
        self._client = client
        self._project = project
        self._provider = provider
        self._owed = gate.budgets.of_request(client, project)
        self._paid = False  # the first call's plan was entered with the request's
        self._entered: Hold | None = None
        self.shown: Verdict | None = None

    @property
    def waits_for_body(self) -> bool:
        """Whether only the call can tell what has to be taken."""
        return self._provider is not None and self.plan(self._provider).needs_body

    def plan(self, provider: str, model: str | None = None) -> Plan:
        """What a call to `provider` draws on."""
        return self._gate.budgets.of_call(self._client, self._project, provider, model)

    async def enter(self) -> None:
        """The request comes in, its call with it if that is known. Raises what the client is to be told."""
        owed, self._owed = self._owed, NO_PLAN
        call = NO_PLAN if self._provider is None else self.plan(self._provider)
        self._paid = self._provider is not None
        self._entered = await self._hold(owed.buckets + call.buckets, owed.ones + call.ones)

    async def enter_call(self, provider: str, model: str | None = None, tokens: Tokens = NO_TOKENS) -> "Hold | None":
        """A call goes out that will take about so many tokens. To be left with `leave_call`. Raises like `enter`."""
        if self._paid:
            self._paid = False
            return None
        owed, self._owed = self._owed, NO_PLAN
        buckets = owed.buckets + self.plan(provider, model).buckets
        hold = await self._hold(buckets, _estimated(buckets, tokens))
        if owed.buckets:  # the request came in just now; its places are kept until it ends
            self._entered = hold
        return hold

    def leave_call(self, hold: "Hold | None", tokens: Tokens) -> None:
        """The call has ended, and took so many tokens."""
        if hold is None:
            return
        hold.spent = tokens
        if hold is not self._entered:
            self._end(hold)

    def leave(self) -> None:
        hold, self._entered = self._entered, None
        if hold is not None:
            self._end(hold)

    def _end(self, hold: "Hold") -> None:
        verdict = hold.verdict
        self._gate.limiter.settle(verdict, _spent(verdict.buckets, hold.spent))

    async def _hold(self, buckets: Buckets, amounts: Amounts) -> "Hold | None":
        if not buckets:
            return None
        verdict = await self._gate.limiter.admit(buckets, amounts)
        if self.shown is None or not verdict.admitted:
            self.shown = verdict
        if verdict.admitted:
            return Hold(verdict)
        self._gate.refusals.update(buckets[position].policy for position in verdict.violated)
        raise refusal(verdict)


class Hold:
    """Something taken that has to be settled."""

    __slots__ = ("spent", "verdict")

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.spent = NO_TOKENS


def _estimated(buckets: Buckets, tokens: Tokens) -> Amounts:
    """What is taken beforehand. Of a bucket that holds less in all than a request may need, all it holds."""
    amounts = _AMOUNTS
    return tuple([min(amounts[bucket.unit](tokens), bucket.most) for bucket in buckets])


def _spent(buckets: Buckets, tokens: Tokens) -> Amounts:
    """What is taken in the end: a request stays counted, a place is given back."""
    amounts = _AMOUNTS
    return tuple([0.0 if bucket.unit is Unit.CONCURRENT else amounts[bucket.unit](tokens) for bucket in buckets])


_AMOUNTS: Final[Mapping[Unit, Callable[[Tokens], float]]] = {
    Unit.REQUESTS: lambda tokens: 1.0,
    Unit.CONCURRENT: lambda tokens: 1.0,
    Unit.TOKENS: lambda tokens: tokens.input + tokens.output,
    Unit.INPUT_TOKENS: lambda tokens: tokens.input,
    Unit.OUTPUT_TOKENS: lambda tokens: tokens.output,
    Unit.COST: lambda tokens: tokens.cost,
}

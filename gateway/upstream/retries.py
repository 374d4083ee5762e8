"""Calling again, or calling another provider, as long as nothing of an answer has reached the client.

Only where an operator or the client asked for it (RFC 9110, section 9.2.2: not by itself). A call is repeated when

- the provider could not be connected to, so that it never saw the request;
- it answered that it did not serve it: 429, or 5xx but for 501 and 505, and did not say `x-should-retry: false`;
- the connection broke before an answer came, and the request may come twice: by its method, or by an Idempotency-Key.

One that was kept waiting in vain is not: the provider may be at work, and may bill it. The body must be here in whole.
Between two calls to one provider lies a random time, below a bound that doubles (full jitter), and no less than it asks
for in Retry-After. Where that is too long, or the client will have given up by then, the failure is answered as it is.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import uniform
from time import monotonic_ns
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace
from multidict import MultiMapping

from gateway.errors import CircuitOpen, DeadlineExceeded, GatewayError, Overloaded, UpstreamError, UpstreamTimeout
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.settings.upstream import RetrySettings
from gateway.telemetry.exchange import Exchange, UpstreamCall
from gateway.telemetry.trace_context import new_span_id
from gateway.upstream.circuit import Door
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.retry_fields import ATTEMPTS, SHOULD_RETRY, Wish, patience_of, retry_after, wish_of

LONGEST_BACKOFF = 8.0  # seconds
NEVER_REPEATED = frozenset((501, 505))
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
IDEMPOTENCY_KEY = b"idempotency-key"
SECOND = 1_000_000_000  # nanoseconds


class Upstream(Protocol):
    """The one way out."""

    def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall
    ) -> AbstractAsyncContextManager[UpstreamResponse]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be done for one request. Instants are `monotonic_ns`: `patience` is when its client gives up by itself,
    `deadline` when it wants to hear that there is no answer."""

    retries: int = 0
    fallback: Provider | None = None
    patience: int | None = None
    deadline: int | None = None


class Answered(Struct, frozen=True, eq=False):
    """The answer that is passed on, and what it took: `attempts` calls, 0 where no plan was made.

    `useless` says that another try is, because the gateway has tried all that there is.
    """

    response: UpstreamResponse
    provider: Provider
    call: UpstreamCall
    attempts: int = 0
    useless: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A call failed so that it may be repeated, `again` by the same provider too, which asks for `wait` seconds."""

    again: bool = True
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Next:
    """Whom to call next, and after how many seconds."""

    provider: Provider
    wait: float = 0.0


class Retries:
    """Calls providers as their policies and a client's wishes say. `doors` tell who may be called at all."""

    def __init__(
        self,
        upstream: Upstream,
        providers: Mapping[str, Provider],
        doors: Mapping[str, Door],
        settings: RetrySettings,
    ) -> None:
        self.upstream = upstream
        self._providers = providers
        self.doors = doors
        self._settings = settings

    def plan(
        self,
        exchange: Exchange,
        provider: Provider,
        fields: MultiMapping[str],
        may_use: Callable[[str], bool],
        *,
        asks: bool = True,
    ) -> Plan | None:
        """What may be done for a request with these fields; None if it is one call, whatever comes of it.

        `asks` tells whether there may be a wish among them.

        Raises InvalidRequest for a wish that cannot be read, and what `Door.check` raises if nobody can be called now.
        """
        policy, wish = provider.policy, wish_of(fields) if asks else None
        if wish is None and not policy.retries and not policy.fallback:
            self.doors[provider.name].check()
            return None
        wish = wish or Wish(patience=patience_of(fields))
        retries = policy.retries if wish.retries is None else min(wish.retries, self._settings.most)
        fallback = None
        if wish.retries != 0 and policy.fallback and may_use(policy.fallback):
            fallback = self._providers[policy.fallback]
        if fallback is None:
            self.doors[provider.name].check()
        return Plan(
            retries=retries,
            fallback=fallback,
            patience=None if wish.patience is None else exchange.started + int(wish.patience * SECOND),
            deadline=None if wish.deadline is None else exchange.started + int(wish.deadline * SECOND),
        )

    @asynccontextmanager
    async def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, plan: Plan
    ) -> AsyncIterator[Answered]:
        """The answer to `request`; all calls it took are on the record. Raises like `UpstreamClient.call`."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_seconds_until(plan.deadline)):
                    answered = await self._answered(held, exchange, provider, request, plan)
            except TimeoutError as timeout:
                late = DeadlineExceeded(headers={ATTEMPTS: str(len(exchange.calls))})
                if exchange.calls:
                    exchange.calls[-1].failed(late)
                raise late from timeout
            yield answered

    async def _answered(
        self, held: AsyncExitStack, exchange: Exchange, first: Provider, request: UpstreamRequest, plan: Plan
    ) -> Answered:
        """The answer, open as long as `held` is."""
        provider, attempt = first, 0
        while True:
            call = new_call(exchange, provider, request, attempt)
            answered: Answered | None = None
            failed: GatewayError | None = None
            try:
                response = await held.enter_async_context(self.upstream.call(exchange, provider, request, call))
            except GatewayError as error:
                failed, failure = error, failure_of_error(error, request, call)
            else:
                answered, failure = Answered(response, provider, call), failure_of_answer(response)
            following = self._next(failure, provider, attempt, request, plan) if provider is first else None
            if following is None:
                tried_all = attempt > 0 and (provider is not first or attempt >= plan.retries)
                useless = failure is not None and tried_all
                if answered is None:
                    raise _told(failed, len(exchange.calls), useless)
                return replace(answered, attempts=len(exchange.calls), useless=useless)
            if answered is not None:
                await answered.response.drop()
                await held.aclose()
            if following.provider is not first:
                request = retargeted(request, first.dialect.root, following.provider.dialect.root)
            provider, attempt = following.provider, attempt + 1
            await _wait(following.wait, exchange)

    def _next(
        self, failure: Failure | None, provider: Provider, attempt: int, request: UpstreamRequest, plan: Plan
    ) -> Next | None:
        """Whom to call after a failure, if anybody: the same provider, or the one to fall back to."""
        if failure is None or not (request.body is None or isinstance(request.body, bytes)):
            return None
        if failure.again and attempt < plan.retries and failure.wait <= self._settings.longest_wait:
            wait = max(failure.wait, _jitter(self._settings.backoff, attempt))
            if _is_in_time(wait, plan) and self._may_be_called(provider):
                return Next(provider, wait)
        if plan.fallback is not None and _is_in_time(0, plan) and self._may_be_called(plan.fallback):
            return Next(plan.fallback)
        return None

    def _may_be_called(self, provider: Provider) -> bool:
        try:
            self.doors[provider.name].check()
        except GatewayError:
            return False
        return True


def failure_of_error(error: GatewayError, request: UpstreamRequest, call: UpstreamCall) -> Failure | None:
    """Whether what a call raised may be met by another one."""
    if isinstance(error, CircuitOpen | Overloaded):
        return Failure(again=False)
    if not isinstance(error, UpstreamError | UpstreamTimeout):
        return None
    if call.connected is None:
        return Failure()
    named = [name.lower() for name, _ in request.own_fields]
    may_come_twice = request.method in IDEMPOTENT or IDEMPOTENCY_KEY in named
    return Failure() if may_come_twice and isinstance(error, UpstreamError) else None


def failure_of_answer(response: UpstreamResponse) -> Failure | None:
    """Whether an answer may be dropped for that of another call."""
    status = response.status
    if status != 429 and (status < 500 or status in NEVER_REPEATED):
        return None
    return None if response.field(b"x-should-retry") == b"false" else Failure(wait=retry_after(response))


def retargeted(request: UpstreamRequest, root: str, other_root: str) -> UpstreamRequest:
    """The request as it goes to a provider that has the same API below `other_root`."""
    if root == other_root or not request.target.startswith(f"{root}/"):
        return request
    return replace(request, target=other_root + request.target.removeprefix(root))


def new_call(exchange: Exchange, provider: Provider, request: UpstreamRequest, attempt: int = 0) -> UpstreamCall:
    """A call for the record; `attempt` counts those before it."""
    path, span_id = request.target.partition("?")[0], new_span_id(exchange.trace)
    call = UpstreamCall(provider.name, request.method, path, span_id, attempt=attempt)
    call.template = exchange.template
    return call


def _told(error: GatewayError | None, attempts: int, useless: bool) -> GatewayError:
    """The error, with what the client is told of the gateway's own attempts."""
    assert error is not None
    error.headers[ATTEMPTS] = str(attempts)
    if useless:
        error.headers[SHOULD_RETRY] = "false"
    return error


def _jitter(backoff: float, attempt: int) -> float:
    return uniform(0, min(LONGEST_BACKOFF, backoff * 2**attempt))  # noqa: S311 - nothing is kept secret by it


def _is_in_time(wait: float, plan: Plan) -> bool:
    """Whether the client is still there after so many seconds."""
    then = monotonic_ns() + wait * SECOND
    return all(instant is None or then < instant for instant in (plan.patience, plan.deadline))


def _seconds_until(instant: int | None) -> float | None:
    return None if instant is None else max(0.0, (instant - monotonic_ns()) / SECOND)


async def _wait(seconds: float, exchange: Exchange) -> None:
    if not seconds:
        return
    began = monotonic_ns()
    try:
        await asyncio.sleep(seconds)
    finally:
        exchange.waited_to_retry_ns += monotonic_ns() - began

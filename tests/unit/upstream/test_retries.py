"""Which failures are met by another call, and when it is made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic_ns

import pytest
from multidict import CIMultiDict
from yarl import URL

from gateway.errors import (
    CircuitOpen,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    Overloaded,
    RateLimited,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.providers.declarations import CUSTOMS
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.settings.upstream import CircuitSettings, Policy, RetrySettings
from gateway.telemetry.exchange import Exchange, TraceIds, UpstreamCall
from gateway.upstream.circuit import Door
from gateway.upstream.retries import Failure, Plan, Retries, failure_of_error, new_call

SETTINGS = RetrySettings(most=3, backoff=0.01, longest_wait=1)


def provider(name: str = "openai", **policy: object) -> Provider:
    return Provider(name, URL("http://upstream.test"), CUSTOMS["openai"].dialect, None, policy=Policy(**policy))  # type: ignore[arg-type]


def new_exchange() -> Exchange:
    return Exchange("req_1", "POST", "/provider/openai/v1/x", TraceIds("a" * 32, "b" * 16))


class Unreachable:
    """A way out that leads nowhere; it keeps whom it was asked for, and when."""

    def __init__(self, error: GatewayError | None = None) -> None:
        self.called: list[tuple[str, int]] = []
        self.instants: list[int] = []
        self._error = error

    @asynccontextmanager
    async def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall
    ) -> AsyncIterator[None]:
        self.called.append((provider.name, call.attempt))
        self.instants.append(monotonic_ns())
        exchange.calls.append(call)
        if self._error is None:
            await asyncio.sleep(60)
        raise self._error or UpstreamUnreachable()
        yield


def retries(upstream: Unreachable, *providers: Provider, settings: RetrySettings = SETTINGS) -> Retries:
    doors = {each.name: Door(each.name, each.policy) for each in providers}
    return Retries(upstream, {each.name: each for each in providers}, doors, settings)  # type: ignore[arg-type]


def plan_of(first: Provider, *others: Provider, usable: bool = True, **fields: str) -> Plan | None:
    told = CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})
    return retries(Unreachable(), first, *others).plan(new_exchange(), first, told, lambda _: usable)


async def failed(made: Retries, upstream: Unreachable, plan: Plan, request: UpstreamRequest) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        async with made.call(new_exchange(), provider(), request, plan):
            pass
    return caught.value


REQUEST = UpstreamRequest("POST", "/v1/x", (), b"{}", 2)


def test_without_a_wish_or_a_policy_there_is_no_plan() -> None:
    assert plan_of(provider()) is None
    assert plan_of(provider(), x_stainless_read_timeout="600") is None


def test_a_plan_is_what_both_sides_want() -> None:
    spare = provider("spare")
    assert plan_of(provider(retries=2)) == Plan(retries=2)
    assert plan_of(provider(retries=2), x_gateway_retries="1") == Plan(retries=1)
    assert plan_of(provider(), x_gateway_retries="99") == Plan(retries=3)
    assert plan_of(provider(fallback="spare"), spare) == Plan(fallback=spare)
    assert plan_of(provider(fallback="spare"), spare, usable=False) == Plan()
    assert plan_of(provider(retries=2, fallback="spare"), spare, x_gateway_retries="0") == Plan()


def test_time_is_counted_from_the_beginning_of_the_exchange() -> None:
    exchange = new_exchange()
    fields = CIMultiDict({"x-gateway-deadline": "2", "x-stainless-read-timeout": "600"})
    plan = retries(Unreachable(), provider()).plan(exchange, provider(), fields, lambda _: True)
    assert plan is not None
    assert plan.deadline == exchange.started + 2_000_000_000
    assert plan.patience == exchange.started + 600_000_000_000


def test_who_cannot_be_called_is_told_before_anything_is_read() -> None:
    first, spare = provider(fallback="spare", max_concurrent=1), provider("spare")
    made = retries(Unreachable(), first, spare)
    made.doors["openai"].enter()
    assert made.plan(new_exchange(), first, CIMultiDict(), lambda _: True) == Plan(fallback=spare)
    for fields, usable in (({"x-gateway-retries": "0"}, True), ({}, False)):
        with pytest.raises(Overloaded):
            made.plan(new_exchange(), first, CIMultiDict(fields), lambda _, usable=usable: usable)


@pytest.mark.parametrize(
    ("error", "method", "reached", "expected"),
    [
        (UpstreamUnreachable(), "POST", False, Failure()),
        (UpstreamTimeout(), "POST", False, Failure()),
        (UpstreamTimeout(), "GET", True, None),
        (UpstreamError(), "GET", True, Failure()),
        (UpstreamError(), "POST", True, None),
        (CircuitOpen(), "POST", False, Failure(again=False)),
        (Overloaded(), "POST", False, Failure(again=False)),
        (RateLimited(), "POST", False, None),
        (InvalidRequest(), "POST", False, None),
    ],
)
def test_only_what_cannot_have_been_served_is_repeated(
    error: GatewayError, method: str, reached: bool, expected: Failure | None
) -> None:
    call = new_call(new_exchange(), provider(), REQUEST)
    call.connected = 1 if reached else None
    assert failure_of_error(error, UpstreamRequest(method, "/v1/x"), call) == expected


def test_an_idempotency_key_allows_to_send_a_request_twice() -> None:
    call = new_call(new_exchange(), provider(), REQUEST)
    call.connected = 1
    request = UpstreamRequest("POST", "/v1/x", ((b"IDEMPOTENCY-Key", b"once"),), b"{}")
    assert failure_of_error(UpstreamError(), request, call) == Failure()
    assert failure_of_error(UpstreamTimeout(), request, call) is None


async def test_attempts_are_numbered_and_the_error_tells_their_number() -> None:
    upstream = Unreachable(UpstreamUnreachable())
    first = provider()
    error = await failed(retries(upstream, first), upstream, Plan(retries=3), REQUEST)
    assert upstream.called == [("openai", 0), ("openai", 1), ("openai", 2), ("openai", 3)]
    assert error.headers == {"x-gateway-attempts": "4", "x-should-retry": "false"}


async def test_waits_grow_and_are_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def least(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.001

    monkeypatch.setattr("gateway.upstream.retries.uniform", least)
    upstream = Unreachable(UpstreamUnreachable())
    await failed(retries(upstream, provider(), settings=RetrySettings(backoff=2)), upstream, Plan(retries=4), REQUEST)
    assert asked == [(0, 2), (0, 4), (0, 8), (0, 8)]


async def test_what_is_streamed_is_sent_once() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    upstream = Unreachable(UpstreamUnreachable())
    request = UpstreamRequest("POST", "/v1/x", (), body(), None)
    error = await failed(retries(upstream, provider()), upstream, Plan(retries=3), request)
    assert len(upstream.called) == 1
    assert error.headers == {"x-gateway-attempts": "1"}


async def test_a_client_that_would_not_wait_is_told_now() -> None:
    upstream = Unreachable(UpstreamUnreachable())
    now = monotonic_ns()
    for plan in (Plan(retries=3, patience=now), Plan(retries=3, patience=now, fallback=provider("spare"))):
        upstream.called.clear()
        await failed(retries(upstream, provider(), provider("spare")), upstream, plan, REQUEST)
        assert len(upstream.called) == 1


async def test_a_deadline_ends_a_call_that_is_under_way() -> None:
    upstream, exchange = Unreachable(), new_exchange()
    made = retries(upstream, provider())
    with pytest.raises(DeadlineExceeded):
        async with made.call(exchange, provider(), REQUEST, Plan(deadline=monotonic_ns() + 50_000_000)):
            pass
    assert exchange.calls[0].error == "deadline_exceeded"


async def test_what_the_block_raises_is_not_taken_for_the_providers_failure() -> None:
    class Answering(Unreachable):
        @asynccontextmanager
        async def call(self, exchange, provider, request, call):  # type: ignore[no-untyped-def,override]
            self.called.append((provider.name, call.attempt))
            yield Answer()

    class Answer:
        status = 200

    upstream = Answering()
    with pytest.raises(UpstreamError):
        async with retries(upstream, provider()).call(new_exchange(), provider(), REQUEST, Plan(retries=3)):
            raise UpstreamError
    assert len(upstream.called) == 1


async def test_an_open_circuit_is_not_knocked_at() -> None:
    upstream = Unreachable(UpstreamUnreachable())
    first = provider(circuit=CircuitSettings(failures=1))
    made = retries(upstream, first)
    made.doors["openai"].enter().failed(UpstreamUnreachable())
    error = await failed(made, upstream, Plan(retries=3), REQUEST)
    assert isinstance(error, UpstreamUnreachable)
    assert upstream.called == [("openai", 0)]

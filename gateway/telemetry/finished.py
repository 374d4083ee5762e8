"""Counts a finished exchange and its calls.

What is counted for a kind of exchange, or of call, is found once and kept: a route, an outcome and the rest name a set
of children, and after that an exchange costs a look-up and some additions.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import monotonic_ns

from gateway.errors import BudgetExhausted, Overloaded, PayloadTooLarge, RateLimited
from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import Exchange, Facts, UpstreamCall, Usage
from gateway.telemetry.metric_table import NONE, OTHER
from gateway.telemetry.overhead import overhead_ns
from gateway.telemetry.series import Count, Distribution, Families, Trace

SECONDS = 1e-9  # of a nanosecond
LATE = 32  # of a kind, whose times are counted together
KINDS = 8192  # of exchanges, or calls, whose children are kept; further ones are looked up each time
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
LIMITS = frozenset(kind.code for kind in (RateLimited, BudgetExhausted, PayloadTooLarge, Overloaded))
IMPLAUSIBLE = 10**12  # tokens; nobody bills that, and it would spoil every sum
NOTHING: frozenset[str] = frozenset()
TELLING = frozenset((401, 403, 429))  # an upstream's statuses that are the operator's business

ExchangeKind = tuple[str, str, str | None, str | None, int, str, str | None, str | None]
CallKind = tuple[str, str, str, bool, str | None, int | None, str, str | None, str | None, str | None]


@dataclass(slots=True)
class ExchangeSeries:
    """The children of a kind of exchange. Of its last ones, fewer than LATE, what took how long is not counted yet."""

    requests: Count
    duration: Distribution
    first_byte: Distribution
    overhead: Distribution
    bytes_in: Count
    bytes_out: Count
    error: Count | None
    limit: Count | None
    late: int = 0

    def settle(self) -> None:
        self.late = 0
        for distribution in (self.duration, self.first_byte, self.overhead):
            distribution.settle()


@dataclass(slots=True)
class CallSeries:
    """The same for a kind of call."""

    calls: Count
    failure: Count | None
    duration: Distribution
    head: Distribution
    pool_wait: Distribution
    new: Count
    reused: Count
    road: Count | None
    step: Distribution | None
    operation: Distribution | None
    first_chunk: Distribution | None
    per_chunk: Distribution | None
    input: "TokenSeries | None" = None  # made when the upstream first tells of tokens
    output: "TokenSeries | None" = None
    late: int = 0

    def settle(self) -> None:
        self.late = 0
        for distribution in (self.duration, self.head, self.pool_wait, self.step, self.operation, self.first_chunk):
            if distribution is not None:
                distribution.settle()
        for tokens in (self.input, self.output):
            if tokens is not None:
                tokens.each.settle()


@dataclass(slots=True)
class TokenSeries:
    total: Count
    each: Distribution


class FinishedExchanges:
    """The view. `providers` are the configured ones with their models; other names count as `_other`.

    `gen_ai_names` tells their `gen_ai.provider.name` where it is not the configured name.
    """

    def __init__(
        self,
        families: Families,
        providers: Mapping[str, Collection[str]],
        projects: Collection[str],
        gen_ai_names: Mapping[str, str],
    ) -> None:
        self._count = families.count
        self._distribution = families.distribution
        self._methods = {method: method for method in METHODS}
        self._providers: dict[str | None, str] = {None: NONE, **{name: name for name in providers}}
        self._projects: dict[str | None, str] = {None: NONE, **{name: name for name in projects}}
        self._models = {provider: frozenset(models) for provider, models in providers.items()}
        self._gen_ai_names = gen_ai_names
        self._exchanges: dict[ExchangeKind, ExchangeSeries] = {}
        self._calls: dict[CallKind, CallSeries] = {}

    def view(self, exchange: Exchange) -> None:
        """Count `exchange`. A few microseconds."""
        ended = monotonic_ns() if exchange.ended is None else exchange.ended
        started = exchange.started
        trace = exchange.trace
        seen = (trace.trace_id, (exchange.started_at + ended - started) * SECONDS) if trace.sampled else None
        project = exchange.project
        kind = (
            self._methods.get(exchange.method, "_OTHER"),
            exchange.route,
            exchange.provider,
            project,
            exchange.status,
            exchange.outcome,
            exchange.error,
            exchange.fault,
        )
        series = self._exchanges.get(kind) or self._exchange_series(kind)
        series.requests.value += 1
        series.bytes_in.value += exchange.bytes_in
        series.bytes_out.value += exchange.bytes_out
        series.duration.late.append(((ended - started) * SECONDS, seen))
        series.overhead.late.append((overhead_ns(exchange, ended) * SECONDS, seen))
        if exchange.first_byte is not None:
            series.first_byte.late.append(((exchange.first_byte - started) * SECONDS, seen))
        series.late += 1
        if series.late >= LATE:
            series.settle()
        if seen is not None:
            series.requests.exemplar = (1, seen)
        if series.error is not None:
            series.error.value += 1
        if series.limit is not None:
            series.limit.value += 1
        if exchange.retry_count:
            self._count(table.CLIENT_RETRIES, self._providers.get(exchange.provider, OTHER)).value += 1
        for call in exchange.calls:
            self._call(call, project, ended, seen)

    def _call(self, call: UpstreamCall, project: str | None, now: int, seen: Trace | None) -> None:
        facts = call.facts
        provider = self._providers.get(call.provider, OTHER)
        model = self._model(provider, facts)
        operation = facts.operation
        kind = (
            provider,
            model,
            operation,
            facts.streamed,
            project,
            call.status,
            call.outcome,
            call.error,
            call.step,
            call.road,
        )
        series = self._calls.get(kind) or self._call_series(kind)
        took = (now if call.ended is None else call.ended) - call.started
        series.calls.value += 1
        duration = (took * SECONDS, seen)
        series.duration.late.append(duration)
        series.pool_wait.late.append((call.waited_for_pool_ns * SECONDS, None))
        if call.head is not None:
            series.head.late.append(((call.head - call.started) * SECONDS, None))
        if call.reused_connection:
            series.reused.value += 1
        elif call.connected is not None:
            series.new.value += 1
        if series.road is not None:
            series.road.value += 1
        if series.failure is not None:
            series.failure.value += 1
        if series.step is not None:
            series.step.late.append(duration)
        if series.operation is not None:
            series.operation.late.append(duration)
        if series.first_chunk is not None and series.per_chunk is not None and call.first_byte is not None:
            series.first_chunk.late.append(((call.first_byte - call.started) * SECONDS, seen))
            between = call.chunks - 1
            if between > 0:
                spread = took - (call.first_byte - call.started)
                series.per_chunk.observe_each(spread * SECONDS / between, between)
        if call.attempt:
            self._count(table.UPSTREAM_RETRIES, provider).value += 1
        if facts.usage is not None:
            self._tokens(facts.usage, series, kind)
        series.late += 1
        if series.late >= LATE:
            series.settle()

    def _tokens(self, usage: Usage, series: CallSeries, kind: CallKind) -> None:
        # What the upstream did not tell is not counted, not even as 0.
        tokens = usage.input_tokens
        if tokens is not None and 0 <= tokens < IMPLAUSIBLE:
            if series.input is None:
                series.input = self._token_series("input", kind)
            series.input.total.value += tokens
            series.input.each.late.append((tokens, None))
        tokens = usage.output_tokens
        if tokens is not None and 0 <= tokens < IMPLAUSIBLE:
            if series.output is None:
                series.output = self._token_series("output", kind)
            series.output.total.value += tokens
            series.output.each.late.append((tokens, None))
        if usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
            self._token_details(usage, kind[0], kind[1])

    def _token_details(self, usage: Usage, provider: str, model: str) -> None:
        parts = (
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        )
        for part, tokens in parts:
            if tokens and 0 < tokens < IMPLAUSIBLE:
                self._count(table.TOKEN_DETAILS, provider, model, part).value += tokens

    def _model(self, provider: str, facts: Facts) -> str:
        """The configured name of the model asked for, or else of the one that answered."""
        asked, answered = facts.request_model, facts.response_model
        if asked is None and answered is None:
            return NONE
        known = self._models.get(provider, NOTHING)
        return asked if asked in known else answered if answered in known else OTHER

    def _exchange_series(self, kind: ExchangeKind) -> ExchangeSeries:
        method, route, named, of_project, status, outcome, error, fault = kind
        provider, project = self._providers.get(named, OTHER), self._projects.get(of_project, OTHER)
        count, distribution = self._count, self._distribution
        failing = error or (str(status) if status >= 500 else "")
        series = ExchangeSeries(
            requests=count(table.REQUESTS, route, provider, project, status_class(status), outcome),
            duration=distribution(table.REQUEST_DURATION, method, route, str(status or ""), failing),
            first_byte=distribution(table.TIME_TO_FIRST_BYTE, route, provider),
            overhead=distribution(table.OVERHEAD, route, provider),
            bytes_in=count(table.BODY_BYTES, route, provider, "in"),
            bytes_out=count(table.BODY_BYTES, route, provider, "out"),
            error=None if error is None else count(table.ERRORS, error, fault or NONE),
            limit=count(table.LIMIT_REFUSALS, provider, error) if error in LIMITS else None,
        )
        if len(self._exchanges) < KINDS:
            self._exchanges[kind] = series
        return series

    def _call_series(self, kind: CallKind) -> CallSeries:
        provider, model, operation, streamed, of_project, status, outcome, error, step, road = kind
        project = self._projects.get(of_project, OTHER)
        count, distribution = self._count, self._distribution
        cause, failed = failure_cause(status, error), _error_type(status, error)
        gen_ai = (operation, self._gen_ai_names.get(provider, provider), model)
        series = CallSeries(
            calls=count(table.UPSTREAM_CALLS, provider, status_class(status), outcome),
            failure=count(table.UPSTREAM_FAILURES, provider, cause) if cause else None,
            duration=distribution(table.UPSTREAM_DURATION, provider, outcome),
            head=distribution(table.UPSTREAM_TIME_TO_HEAD, provider),
            pool_wait=distribution(table.POOL_WAIT, provider),
            new=count(table.UPSTREAM_CONNECTIONS, provider, "new"),
            reused=count(table.UPSTREAM_CONNECTIONS, provider, "reused"),
            road=None if road is None else count(table.UPSTREAM_ROADS, provider, road),
            step=None if step is None else distribution(table.PROJECT_CALL_DURATION, project, step, provider),
            operation=distribution(table.OPERATION_DURATION, *gen_ai, failed) if operation else None,
            first_chunk=distribution(table.TIME_TO_FIRST_CHUNK, *gen_ai) if operation and streamed else None,
            per_chunk=distribution(table.TIME_PER_CHUNK, *gen_ai) if operation and streamed else None,
        )
        if len(self._calls) < KINDS:
            self._calls[kind] = series
        return series

    def _token_series(self, part: str, kind: CallKind) -> TokenSeries:
        provider, model, operation, _, of_project, *_ = kind
        project = self._projects.get(of_project, OTHER)
        hosted_by = self._gen_ai_names.get(provider, provider)
        return TokenSeries(
            total=self._count(table.TOKENS, provider, model, project, part),
            each=self._distribution(table.TOKEN_USAGE, operation or NONE, hosted_by, model, part),
        )


def status_class(status: int | None) -> str:
    """`2xx` and so on; `_none` where there was no response."""
    if not status:
        return NONE
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


def failure_cause(status: int | None, error: str | None) -> str:
    """Why a call failed: our error's code, or the upstream's own status where the operator should know; "" if not."""
    if error is not None:
        return error
    if status in TELLING:
        return f"status_{status}"
    return "status_5xx" if status is not None and status >= 500 else ""


def _error_type(status: int | None, error: str | None) -> str:
    """OpenTelemetry's `error.type`: the error's code, or the status that is one; "" if there was none."""
    return error or (str(status) if status is not None and status >= 400 else "")

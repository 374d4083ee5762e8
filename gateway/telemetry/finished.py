"""Counts a finished exchange and its calls.

What is counted for a kind of exchange, or of call, is found once and kept: a route, an outcome and the rest name a set
of children. They stand with all that views keep of a kind (`kinds.py`), or are found by a look-up; after that an
exchange costs some additions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
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

ExchangeKind = tuple[str, str, str, str, int, str, str | None, str | None]
CallKind = tuple[str, str, str, bool, str, int | None, str, str | None, str | None, str | None]


@dataclass(slots=True)
class ExchangeSeries:
    """The children of a kind of exchange. Of its last ones, fewer than LATE, what took how long is not counted yet;
    of those that are `noted`, with when they ended and where they are shown, nothing is.
    """

    provider: str
    requests: Count
    duration: Distribution
    first_byte: Distribution
    overhead: Distribution
    bytes_in: Count
    bytes_out: Count
    error: Count | None
    limit: Count | None
    noted: list[tuple[Exchange, int, Trace | None]] = field(default_factory=list)
    late: int = 0

    def settle(self) -> None:
        self.late = 0
        for distribution in (self.duration, self.first_byte, self.overhead):
            distribution.settle()


@dataclass(slots=True)
class CallSeries:
    """The same for a kind of call."""

    kind: CallKind
    each_call: tuple[Count, ...]  # all that count calls
    each_duration: tuple[Distribution, ...]  # all that tell how long a call took
    head: Distribution
    pool_wait: Distribution
    new: Count
    reused: Count
    first_chunk: Distribution | None
    per_chunk: Distribution | None
    input: "TokenSeries | None" = None  # made when the upstream first tells of tokens
    output: "TokenSeries | None" = None
    noted: list[tuple[UpstreamCall, int, Trace | None]] = field(default_factory=list)
    late: int = 0

    def settle(self) -> None:
        self.late = 0
        for distribution in (*self.each_duration, self.head, self.pool_wait, self.first_chunk):
            if distribution is not None:
                distribution.settle()
        for tokens in (self.input, self.output):
            if tokens is not None:
                tokens.each.settle()


@dataclass(slots=True)
class TokenSeries:
    total: Count
    each: Distribution

    def add(self, told: Sequence[int]) -> None:
        self.total.value += sum(told)
        self.each.late += [(tokens, None) for tokens in told]


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
        self._exchanges_to_count: list[ExchangeSeries] = []
        self._calls_to_count: list[CallSeries] = []
        self._exchanges: dict[ExchangeKind, ExchangeSeries] = {}
        self._calls: dict[CallKind, CallSeries] = {}

    def view(self, exchange: Exchange) -> None:
        """Take note of `exchange`; it is counted by `settle`."""
        ended = monotonic_ns() if exchange.ended is None else exchange.ended
        trace, kind = exchange.trace, exchange.kind
        at = (exchange.started_at + ended - exchange.started) * SECONDS
        seen = (trace.trace_id, at) if trace.sampled else None
        series: ExchangeSeries | None = None if kind is None else kind.series
        if series is None:
            series = self._series_of(exchange)
            if kind is not None:
                kind.series = series
        if not series.noted:
            self._exchanges_to_count.append(series)
        series.noted.append((exchange, ended, seen))
        for call in exchange.calls:
            of_call: CallSeries | None = None if kind is None else kind.call_series
            if of_call is None:
                of_call = self._call_series_of(exchange, call)
                if kind is not None:
                    kind.call_series = of_call
            if not of_call.noted:
                self._calls_to_count.append(of_call)
            of_call.noted.append((call, ended if call.ended is None else call.ended, seen))

    def settle(self) -> None:
        """Count what was noted, all of one kind together: each figure of theirs is read in one go."""
        exchanges, self._exchanges_to_count = self._exchanges_to_count, []
        for series in exchanges:
            self._count_exchanges(series)
        calls, self._calls_to_count = self._calls_to_count, []
        for of_call in calls:
            self._count_calls(of_call)

    def _count_exchanges(self, series: ExchangeSeries) -> None:
        noted, series.noted = series.noted, []
        number, traces = len(noted), [seen for _, _, seen in noted]
        series.requests.value += number
        series.bytes_in.value += sum([each.bytes_in for each, _, _ in noted])
        series.bytes_out.value += sum([each.bytes_out for each, _, _ in noted])
        series.duration.late += zip([(end - each.started) * SECONDS for each, end, _ in noted], traces, strict=True)
        series.overhead.late += zip([overhead_ns(each, end) * SECONDS for each, end, _ in noted], traces, strict=True)
        series.first_byte.late += [
            ((each.first_byte - each.started) * SECONDS, seen) for each, _, seen in noted if each.first_byte is not None
        ]
        if traces[-1] is not None:
            series.requests.exemplar = (1, traces[-1])
        if series.error is not None:
            series.error.value += number
        if series.limit is not None:
            series.limit.value += number
        if retried := sum([each.retry_count > 0 for each, _, _ in noted]):
            self._count(table.CLIENT_RETRIES, series.provider).value += retried
        series.late += number
        if series.late >= LATE:
            series.settle()

    def _count_calls(self, series: CallSeries) -> None:
        noted, series.noted = series.noted, []
        number, traces = len(noted), [seen for _, _, seen in noted]
        for count in series.each_call:
            count.value += number
        took = [*zip([(end - call.started) * SECONDS for call, end, _ in noted], traces, strict=True)]
        for distribution in series.each_duration:
            distribution.late += took
        series.pool_wait.late += [(call.waited_for_pool_ns * SECONDS, None) for call, _, _ in noted]
        series.head.late += [
            ((call.head - call.started) * SECONDS, None) for call, _, _ in noted if call.head is not None
        ]
        series.reused.value += sum([call.reused_connection for call, _, _ in noted])
        series.new.value += sum([call.connected is not None and not call.reused_connection for call, _, _ in noted])
        if series.first_chunk is not None:
            for call, end, seen in noted:
                self._chunks(series, call, end, seen)
        if repeated := sum([call.attempt > 0 for call, _, _ in noted]):
            self._count(table.UPSTREAM_RETRIES, series.kind[0]).value += repeated
        if usages := [call.facts.usage for call, _, _ in noted if call.facts.usage is not None]:
            self._tokens(usages, series)
        series.late += number
        if series.late >= LATE:
            series.settle()

    def _chunks(self, series: CallSeries, call: UpstreamCall, end: int, seen: Trace | None) -> None:
        """Count when the first chunk of a stream came, and how long it was from one to the next."""
        if series.first_chunk is None or series.per_chunk is None or call.first_byte is None:
            return
        series.first_chunk.late.append(((call.first_byte - call.started) * SECONDS, seen))
        between = call.chunks - 1
        if between > 0:
            series.per_chunk.observe_each((end - call.first_byte) * SECONDS / between, between)

    def _tokens(self, usages: Sequence[Usage], series: CallSeries) -> None:
        # What the upstream did not tell is not counted, not even as 0.
        if told := _plausible([usage.input_tokens for usage in usages]):
            if series.input is None:
                series.input = self._token_series("input", series.kind)
            series.input.add(told)
        if told := _plausible([usage.output_tokens for usage in usages]):
            if series.output is None:
                series.output = self._token_series("output", series.kind)
            series.output.add(told)
        for usage in usages:
            if usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
                self._token_details(usage, series.kind[0], series.kind[1])

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

    def _series_of(self, exchange: Exchange) -> ExchangeSeries:
        kind = (
            self._methods.get(exchange.method, "_OTHER"),
            exchange.route,
            self._providers.get(exchange.provider, OTHER),
            self._projects.get(exchange.project, OTHER),
            exchange.status,
            exchange.outcome,
            exchange.error,
            exchange.fault,
        )
        return self._exchanges.get(kind) or self._exchange_series(kind)

    def _call_series_of(self, exchange: Exchange, call: UpstreamCall) -> CallSeries:
        facts = call.facts
        provider = self._providers.get(call.provider, OTHER)
        kind = (
            provider,
            self._model(provider, facts),
            facts.operation,
            facts.streamed,
            self._projects.get(exchange.project, OTHER),
            call.status,
            call.outcome,
            call.error,
            call.step,
            call.road,
        )
        return self._calls.get(kind) or self._call_series(kind)

    def _exchange_series(self, kind: ExchangeKind) -> ExchangeSeries:
        method, route, provider, project, status, outcome, error, fault = kind
        count, distribution = self._count, self._distribution
        failing = error or (str(status) if status >= 500 else "")
        series = ExchangeSeries(
            provider=provider,
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
        provider, model, operation, streamed, project, status, outcome, error, step, road = kind
        count, distribution = self._count, self._distribution
        cause, failed = failure_cause(status, error), _error_type(status, error)
        gen_ai = (operation, self._gen_ai_names.get(provider, provider), model)
        each_call = [count(table.UPSTREAM_CALLS, provider, status_class(status), outcome)]
        if cause:
            each_call.append(count(table.UPSTREAM_FAILURES, provider, cause))
        if road is not None:
            each_call.append(count(table.UPSTREAM_ROADS, provider, road))
        each_duration = [distribution(table.UPSTREAM_DURATION, provider, outcome)]
        if step is not None:
            each_duration.append(distribution(table.PROJECT_CALL_DURATION, project, step, provider))
        if operation:
            each_duration.append(distribution(table.OPERATION_DURATION, *gen_ai, failed))
        series = CallSeries(
            kind=kind,
            each_call=tuple(each_call),
            each_duration=tuple(each_duration),
            head=distribution(table.UPSTREAM_TIME_TO_HEAD, provider),
            pool_wait=distribution(table.POOL_WAIT, provider),
            new=count(table.UPSTREAM_CONNECTIONS, provider, "new"),
            reused=count(table.UPSTREAM_CONNECTIONS, provider, "reused"),
            first_chunk=distribution(table.TIME_TO_FIRST_CHUNK, *gen_ai) if operation and streamed else None,
            per_chunk=distribution(table.TIME_PER_CHUNK, *gen_ai) if operation and streamed else None,
        )
        if len(self._calls) < KINDS:
            self._calls[kind] = series
        return series

    def _token_series(self, part: str, kind: CallKind) -> TokenSeries:
        provider, model, operation, _, project, *_ = kind
        hosted_by = self._gen_ai_names.get(provider, provider)
        return TokenSeries(
            total=self._count(table.TOKENS, provider, model, project, part),
            each=self._distribution(table.TOKEN_USAGE, operation or NONE, hosted_by, model, part),
        )


def _plausible(told: Sequence[int | None]) -> list[int]:
    return [tokens for tokens in told if tokens is not None and 0 <= tokens < IMPLAUSIBLE]


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

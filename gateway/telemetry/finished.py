"""Counts finished exchanges and their calls.

What is counted for a kind of exchange, or of call, is found once and kept: a route, an outcome and the rest name a set
of children. After that an exchange costs a look-up and a row (`kind_series.py`).
"""

from collections.abc import Collection, Mapping
from time import monotonic_ns

from gateway.errors import BudgetExhausted, Overloaded, PayloadTooLarge, RateLimited
from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import Exchange, TraceIds, UpstreamCall
from gateway.telemetry.kind_series import CallSeries, ExchangeSeries, TokenSeries
from gateway.telemetry.metric_table import NONE, OTHER
from gateway.telemetry.overhead import overhead_ns
from gateway.telemetry.series import Count, Families

MOST_LATE = 64  # exchanges, of all kinds, that are not counted yet
KINDS = 8192  # of exchanges, and of calls, whose children are kept; they may hold names that clients chose
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
LIMITS = frozenset(kind.code for kind in (RateLimited, BudgetExhausted, PayloadTooLarge, Overloaded))
NOTHING: frozenset[str] = frozenset()
TELLING = frozenset((401, 403, 429))  # an upstream's statuses that are the operator's business

ExchangeKind = tuple[str, str, str | None, str | None, int, str, str | None, str | None, bool]
CallKind = tuple[
    str,  # provider
    str | None,  # the model asked for
    str | None,  # and the one that answered
    str,  # operation
    bool,  # a stream
    str | None,  # project
    int | None,  # status
    str,  # outcome
    str | None,  # error
    str | None,  # why there was no answer
    str | None,  # step
    str | None,  # road
    int,  # attempt
    bool,  # no head
    bool,  # reused connection
    bool,  # no connection
]


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
        self._families = families
        self._methods = frozenset(METHODS)
        self._providers: dict[str | None, str] = {None: NONE, **{name: name for name in providers}}
        self._projects: dict[str | None, str] = {None: NONE, **{name: name for name in projects}}
        self._models = {provider: frozenset(models) for provider, models in providers.items()}
        self._gen_ai_names = gen_ai_names
        self._exchanges: dict[ExchangeKind, ExchangeSeries] = {}
        self._calls: dict[CallKind, CallSeries] = {}
        self._with_rows: list[ExchangeSeries | CallSeries] = []
        self._late = 0

    def view(self, exchange: Exchange) -> None:
        """Count `exchange`, at the latest when `settle` is called."""
        ended, started, first_byte = exchange.ended, exchange.started, exchange.first_byte
        if ended is None:
            ended = monotonic_ns()
        kind = (
            exchange.method,
            exchange.route,
            exchange.provider,
            exchange.project,
            exchange.status,
            exchange.outcome,
            exchange.error,
            exchange.fault,
            first_byte is None,
        )
        series = self._exchanges.get(kind) or self._exchange_series(kind)
        rows = series.rows
        if not rows:
            self._with_rows.append(series)
        took, trace = ended - started, exchange.trace
        ended_at = exchange.started_at + took
        rows.append(
            (
                took,
                overhead_ns(exchange, ended),
                None if first_byte is None else first_byte - started,
                exchange.bytes_in,
                exchange.bytes_out,
                trace,
                ended_at,
            )
        )
        if exchange.retry_count:
            provider = self._providers.get(exchange.provider, OTHER)
            self._families.count(table.CLIENT_RETRIES, provider).value += 1
        for call in exchange.calls:
            self._view_call(call, exchange.project, ended, trace, ended_at)
        self._late += 1
        if self._late >= MOST_LATE:
            self.settle()

    def _view_call(self, call: UpstreamCall, project: str | None, now: int, trace: TraceIds, shown_at: int) -> None:
        """Count a call of an exchange that is over `now`; `shown_at` is that in Unix time."""
        started, head, first_byte, facts = call.started, call.head, call.first_byte, call.facts
        kind = (
            call.provider,
            facts.request_model,
            facts.response_model,
            facts.operation,
            facts.streamed,
            project,
            call.status,
            call.outcome,
            call.error,
            call.failure,
            call.step,
            call.road,
            call.attempt,
            head is None,
            call.reused_connection,
            call.connected is None,
        )
        if call.estimated_tokens is not None:
            provider = self._providers.get(call.provider, OTHER)
            self._families.count(table.ESTIMATED_TOKENS, provider).value += call.estimated_tokens
        if facts.usage_error:
            provider = self._providers.get(call.provider, OTHER)
            self._families.count(table.USAGE_ERRORS, provider, facts.usage_error).value += 1
        series = self._calls.get(kind) or self._call_series(kind)
        rows = series.rows
        if not rows:
            self._with_rows.append(series)
        rows.append(
            (
                (now if call.ended is None else call.ended) - started,
                None if head is None else head - started,
                call.waited_for_pool_ns,
                None if first_byte is None else first_byte - started,
                call.chunks,
                facts.usage,
                trace,
                shown_at,
            )
        )

    def settle(self) -> None:
        """Count what is not counted yet. To be called before anything is read."""
        with_rows, self._with_rows, self._late = self._with_rows, [], 0
        for series in with_rows:
            series.settle()

    def _exchange_series(self, kind: ExchangeKind) -> ExchangeSeries:
        method, route, named, of_project, status, outcome, error, fault, _ = kind
        method = method if method in self._methods else "_OTHER"
        provider, project = self._providers.get(named, OTHER), self._projects.get(of_project, OTHER)
        count, distribution = self._families.count, self._families.distribution
        failing = error or (str(status) if status >= 500 else "")
        each: list[Count] = []
        if error is not None:
            each.append(count(table.ERRORS, error, fault or NONE))
        if error in LIMITS:
            each.append(count(table.LIMIT_REFUSALS, provider, error))
        series = ExchangeSeries(
            requests=count(table.REQUESTS, route, provider, project, status_class(status), outcome),
            duration=distribution(table.REQUEST_DURATION, method, route, str(status or ""), failing),
            first_byte=distribution(table.TIME_TO_FIRST_BYTE, route, provider),
            overhead=distribution(table.OVERHEAD, route, provider),
            bytes_in=count(table.BODY_BYTES, route, provider, "in"),
            bytes_out=count(table.BODY_BYTES, route, provider, "out"),
            each=each,
        )
        if len(self._exchanges) >= KINDS:
            self._exchanges.clear()
        self._exchanges[kind] = series
        return series

    def _call_series(self, kind: CallKind) -> CallSeries:
        named, asked, answered, operation, streamed, of_project, status, outcome, error, failure, step, road = kind[:12]
        attempt, _, is_reused, is_unconnected = kind[12:]
        provider, project = self._providers.get(named, OTHER), self._projects.get(of_project, OTHER)
        model = self._model(provider, asked, answered)
        count, distribution = self._families.count, self._families.distribution
        cause, failed = failure_cause(status, failure or error), _error_type(status, error)
        gen_ai = (operation, self._gen_ai_names.get(provider, provider), model)
        each = [count(table.UPSTREAM_CALLS, provider, status_class(status), outcome)]
        if cause:
            each.append(count(table.UPSTREAM_FAILURES, provider, cause))
        if attempt:
            each.append(count(table.UPSTREAM_RETRIES, provider))
        if road is not None:
            each.append(count(table.UPSTREAM_ROADS, provider, road))
        new, reused = [count(table.UPSTREAM_CONNECTIONS, provider, which) for which in ("new", "reused")]
        if is_reused:
            each.append(reused)
        elif not is_unconnected:
            each.append(new)
        durations = [distribution(table.UPSTREAM_DURATION, provider, outcome)]
        if step is not None:
            durations.append(distribution(table.PROJECT_CALL_DURATION, project, step, provider))
        if operation:
            durations.append(distribution(table.OPERATION_DURATION, *gen_ai, failed))
        series = CallSeries(
            each=each,
            durations=durations,
            head=distribution(table.UPSTREAM_TIME_TO_HEAD, provider),
            pool_wait=distribution(table.POOL_WAIT, provider),
            first_chunk=distribution(table.TIME_TO_FIRST_CHUNK, *gen_ai) if operation and streamed else None,
            per_chunk=distribution(table.TIME_PER_CHUNK, *gen_ai) if operation and streamed else None,
            tokens=TokenSeries(self._families, (provider, model, project), (operation or NONE, *gen_ai[1:])),
        )
        if len(self._calls) >= KINDS:
            self._calls.clear()
        self._calls[kind] = series
        return series

    def _model(self, provider: str, asked: str | None, answered: str | None) -> str:
        """The configured name of the model asked for, or else of the one that answered."""
        if asked is None and answered is None:
            return NONE
        known = self._models.get(provider, NOTHING)
        return asked if asked in known else answered if answered in known else OTHER


def status_class(status: int | None) -> str:
    """`2xx` and so on; `_none` where there was no response."""
    if not status:
        return NONE
    return f"{status // 100}xx" if 100 <= status < 600 else OTHER


def failure_cause(status: int | None, error: str | None) -> str:
    """Why a call failed: `error`, or the upstream's own status where the operator should know; "" if it did not."""
    if error is not None:
        return error
    if status in TELLING:
        return f"status_{status}"
    return "status_5xx" if status is not None and status >= 500 else ""


def _error_type(status: int | None, error: str | None) -> str:
    """OpenTelemetry's `error.type`: the error's code, or the status that is one; "" if there was none."""
    return error or (str(status) if status is not None and status >= 400 else "")

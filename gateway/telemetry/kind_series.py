"""The children in which one kind of finished exchange, or of call, is counted.

What differs from one exchange to the next is a row. Rows are counted some at a time, column by column: that costs a
fraction of counting each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import TraceIds, Usage
from gateway.telemetry.series import Count, Distribution, Families, Trace

SECONDS = 1e-9  # of a nanosecond
IMPLAUSIBLE = 10**12  # tokens; nobody bills that, and it would spoil every sum

ExchangeRow = tuple[int, int, int | None, int, int, TraceIds, int]
"""How long it took, how long the gateway was at work, and until the first byte, in ns; bytes in and out; its trace, and
when it ended, in ns of Unix time."""

CallRow = tuple[int, int | None, int, int | None, int, Usage | None, TraceIds, int]
"""How long it took, until the head, in the pool's queue, and until the first byte, in ns; chunks; usage; the trace, and
when its exchange ended, in ns of Unix time."""


@dataclass(slots=True)
class ExchangeSeries:
    """Where exchanges of a kind are counted. Either all of a kind have a first byte, or none has."""

    requests: Count
    duration: Distribution
    first_byte: Distribution
    overhead: Distribution
    bytes_in: Count
    bytes_out: Count
    each: Sequence[Count]  # to which each exchange adds one, beside `requests`
    rows: list[ExchangeRow] = field(default_factory=list)

    def settle(self) -> None:
        """Count all rows; there are some."""
        rows, self.rows = self.rows, []
        took, overhead, first_byte, bytes_in, bytes_out, traces, ends = zip(*rows, strict=True)
        example = partial(_seen, traces, ends)
        self.requests.value += len(rows)
        if (latest := example(-1)) is not None:
            self.requests.exemplar = (1, latest)
        for count in self.each:
            count.value += len(rows)
        self.bytes_in.value += sum(bytes_in)
        self.bytes_out.value += sum(bytes_out)
        self.duration.observe_ns(took, example)
        self.overhead.observe_ns(overhead, example)
        if first_byte[0] is not None:
            self.first_byte.observe_ns(first_byte, example)


@dataclass(slots=True)
class CallSeries:
    """The same for calls. Either all of a kind have a head, or none has."""

    each: Sequence[Count]
    durations: Sequence[Distribution]  # to which each call adds how long it took
    head: Distribution
    pool_wait: Distribution
    first_chunk: Distribution | None  # of streams alone
    per_chunk: Distribution | None
    tokens: "TokenSeries"
    rows: list[CallRow] = field(default_factory=list)

    def settle(self) -> None:
        rows, self.rows = self.rows, []
        took, head, pool_wait, _, _, usages, traces, ends = zip(*rows, strict=True)
        example = partial(_seen, traces, ends)
        for count in self.each:
            count.value += len(rows)
        for distribution in self.durations:
            distribution.observe_ns(took, example)
        self.pool_wait.observe_ns(pool_wait)
        if head[0] is not None:
            self.head.observe_ns(head)
        if self.first_chunk is not None and self.per_chunk is not None:
            self._count_chunks(rows, self.first_chunk, self.per_chunk)
        if told := [usage for usage in usages if usage is not None]:
            self.tokens.count(told)

    def _count_chunks(self, rows: Sequence[CallRow], first_chunk: Distribution, per_chunk: Distribution) -> None:
        for took, _, _, first_byte, chunks, _, trace, end in rows:
            if first_byte is None:
                continue
            first_chunk.observe(first_byte * SECONDS, _seen((trace,), (end,), 0))
            between = chunks - 1
            if between > 0:
                per_chunk.observe_each((took - first_byte) * SECONDS / between, between)


@dataclass(slots=True)
class TokenSeries:
    """Where the tokens of a kind of call are counted; a part has no series until an upstream tells of it."""

    families: Families
    labels: tuple[str, str, str]  # provider, model, project
    gen_ai: tuple[str, str, str]  # operation, provider, model
    known: dict[str, tuple[Count, Distribution]] = field(default_factory=dict)

    def count(self, usages: Sequence[Usage]) -> None:
        """Count what was told. What was not is not counted, not even as 0."""
        self._add("input", [usage.input_tokens for usage in usages])
        self._add("output", [usage.output_tokens for usage in usages])
        self._add_undivided([usage.total_tokens for usage in usages if usage.undivided_tokens is not None])
        for usage in usages:
            if usage.cache_read_tokens or usage.cache_write_tokens or usage.reasoning_tokens:
                self._add_details(usage)

    def _add(self, part: str, told: Sequence[int | None]) -> None:
        tokens = [count for count in told if count is not None and 0 <= count < IMPLAUSIBLE]
        if not tokens:
            return
        if part not in self.known:
            self.known[part] = (
                self.families.count(table.TOKENS, *self.labels, part),
                self.families.distribution(table.TOKEN_USAGE, *self.gen_ai, part),
            )
        total, each = self.known[part]
        total.value += sum(tokens)
        each.observe_all(tokens)

    def _add_undivided(self, told: Sequence[int | None]) -> None:
        """Count totals of which the parts are not known; they are no observation of either part."""
        if tokens := sum(count for count in told if count is not None and 0 <= count < IMPLAUSIBLE):
            self.families.count(table.TOKENS, *self.labels, "total").value += tokens

    def _add_details(self, usage: Usage) -> None:
        provider, model, _ = self.labels
        parts = (
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        )
        for part, tokens in parts:
            if tokens and 0 < tokens < IMPLAUSIBLE:
                self.families.count(table.TOKEN_DETAILS, provider, model, part).value += tokens


def _seen(traces: Sequence[TraceIds], ends: Sequence[int], index: int) -> Trace | None:
    """Where a row is an example, None if its trace is not recorded."""
    trace = traces[index]
    return (trace.trace_id, ends[index] * SECONDS) if trace.sampled else None

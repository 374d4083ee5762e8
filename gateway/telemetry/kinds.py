"""What many finished exchanges have in common, found by one look-up for all views.

An exchange's kind is told by every fact that a view keeps anything by, but for those of which there may be very many:
ids, times, sizes, counts, the parameters of a call, who the client is, and where. With a kind each view keeps what it
made of it. An exchange that is long, that made several calls or none, or that is a project's, is of no kind.
"""

from typing import Any, Final

from gateway.telemetry.exchange import Exchange

MOST: Final = 2048
LONGEST: Final = 1024  # characters of what a client chose, in all
MOST_REASONS: Final = 8


class Kind:
    """What the views keep: a frame for a line, children to count in, templates of spans by what they depend on."""

    __slots__ = ("call_series", "line", "series", "spans")

    def __init__(self) -> None:
        self.line: bytes | None = None
        self.series: Any = None
        self.call_series: Any = None
        self.spans: dict[object, bytes] | None = None


class Kinds:
    """Those that were met; forgotten, all of them, when there are too many."""

    def __init__(self) -> None:
        self._known: dict[object, Kind] = {}

    def note(self, exchange: Exchange) -> None:
        """Put down the kind of `exchange`, whose facts are known."""
        calls = exchange.calls
        if len(calls) != 1 or exchange.project is not None or exchange.workflow_span_id is not None:
            return
        call, trace = calls[0], exchange.trace
        facts = call.facts
        if (
            len(exchange.path) + len(exchange.host) + len(call.path) > LONGEST
            or len(facts.finish_reasons) > MOST_REASONS
            or call.parent_span_id is not None
        ):
            return
        facts_of_kind = (
            exchange.method,
            exchange.path,
            exchange.route,
            exchange.scheme,
            exchange.host,
            exchange.http_version,
            exchange.status,
            exchange.outcome,
            exchange.error,
            exchange.fault,
            exchange.provider,
            exchange.stream_mode,
            exchange.retry_count,
            exchange.ignored_headers,
            trace.flags,
            trace.parent_id is None,
            call.provider,
            call.method,
            call.path,
            call.server,
            call.port,
            call.status,
            call.outcome,
            call.error,
            call.attempt,
            call.step,
            call.road,
            facts.operation,
            facts.request_model,
            facts.response_model,
            facts.streamed,
            tuple(facts.finish_reasons),
        )
        kind = self._known.get(facts_of_kind)
        if kind is None:
            if len(self._known) >= MOST:
                self._known.clear()
            kind = self._known[facts_of_kind] = Kind()
        exchange.kind = kind

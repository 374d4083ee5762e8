"""The spans of a finished exchange.

SERVER `POST {route}` -> a project's CHAIN `project demo/summary` -> LLM `chat gpt-4o`, CLIENT, for each upstream call,
each with its own start and end. A repeated attempt is a call of its own; there is no span below it.

Rule 1: the server's span is an Error for what went wrong on this side: a status from 500 on, or a body that was cut. A
refusal (4xx) is the client's doing, and a client that leaves does so on purpose. A call's span is one from 400 on. The
spans of workflows and calls say OK when all went well; the server's stays unset then, as the HTTP conventions ask.
Rule 2: an error shows as the gateway's own code and title; nothing an upstream said gets into a span that way.
Rule 3: token counts stand on the spans of calls alone, for Phoenix adds them up.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus

from gateway.errors import GatewayError
from gateway.telemetry import names, otlp
from gateway.telemetry.content import ContentRules
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, LONGEST, estimated, first_chunk, kind_of, usage
from gateway.telemetry.otlp import INTERNAL, attributes, text
from gateway.telemetry.span_frames import (
    Frames,
    Told,
    client_attributes,
    context,
    metadata,
    owner_attributes,
    plain_id,
)
from gateway.telemetry.span_pair import Pairs

_ERRORS, _SERVER_ERRORS = 400, 500


class SpanTree:
    """Encodes exchanges. `vendors` tells the `llm.provider` of a configured provider where that is not its name."""

    def __init__(self, content: ContentRules, vendors: Mapping[str, str]) -> None:
        self._content = content
        self._frames = Frames(vendors, parameters_hidden=content.parameters_hidden)
        self._pairs = Pairs(self._frames) if content.is_off else None

    def encoded(self, exchange: Exchange) -> bytes:
        """All spans of `exchange`, in OTLP, to be joined with those of others."""
        return (self._pairs and self._pairs.encoded(exchange)) or self.encoded_one_by_one(exchange)

    def encoded_one_by_one(self, exchange: Exchange) -> bytes:
        """The same, for exchanges of every kind."""
        owner = owner_attributes(exchange.client, exchange.session)
        said = b"" if self._content.is_off else attributes(self._content.of_exchange(exchange))
        spans = [self._server(exchange, owner, said)]
        if exchange.workflow_span_id is not None:
            spans.append(self._workflow(exchange, exchange.workflow_span_id, owner, said))
        spans.extend([self._call(exchange, call, owner) for call in exchange.calls])
        return otlp.scope_spans(spans)

    def _server(self, exchange: Exchange, owner: bytes, said: bytes) -> bytes:
        trace = exchange.trace
        error = _error_of(exchange)
        before, after = self._frames.server(exchange, error)
        return b"".join(
            (
                _place(exchange, trace.span_id, trace.parent_id),
                before,
                exchange.id.encode(),
                after,
                context(trace, trace.parent_id),
                client_attributes(exchange.peer, exchange.user_agent[:LONGEST]),
                owner,
                said,
                _failure(error, _ended(exchange, exchange.ended)) if error else b"",
            )
        )

    def _workflow(self, exchange: Exchange, span_id: str, owner: bytes, said: bytes) -> bytes:
        error = _error_of(exchange)
        name = "project " + exchange.route.removeprefix("/projects/")
        started = exchange.admitted or exchange.authenticated or exchange.started
        told = Told(exchange.project, exchange.provider, exchange.outcome, exchange.error)
        before, between, after = metadata(told, len(exchange.id))
        return b"".join(
            (
                _place(exchange, span_id, exchange.trace.span_id, started),
                otlp.name_and_kind(name, INTERNAL),
                context(exchange.trace, exchange.trace.span_id),
                attributes({names.SPAN_KIND: CHAIN, names.ERROR_TYPE: error}),
                owner,
                before,
                exchange.id.encode(),
                between,
                after,
                said,
                _status(exchange.outcome, error, _ended(exchange, exchange.ended)),
            )
        )

    def _call(self, exchange: Exchange, call: UpstreamCall, owner: bytes) -> bytes:
        parent = call.parent_span_id or exchange.workflow_span_id or exchange.trace.span_id
        error, theirs = _error_of_call(call), plain_id(call)
        before, between, after = self._frames.call(exchange, call, error, theirs)
        return b"".join(
            (
                _place(exchange, call.span_id, parent, call.started, call.ended),
                before,
                exchange.id.encode(),
                between,
                theirs.encode(),
                after,
                context(exchange.trace, parent),
                owner,
                _model_attributes(exchange, call),
                b"" if call.template is None else attributes(self._content.of_template(call.template)),
                b"" if self._content.is_off else attributes(self._content.of_call(call.facts)),
                _status(call.outcome, error, _ended(exchange, call.ended)),
            )
        )


def _place(
    exchange: Exchange, span_id: str, parent_id: str | None, started: int | None = None, ended: int | None = None
) -> bytes:
    """Where a span is, in the trace and in time; without times of its own it lasts as long as the exchange."""
    of_day = exchange.started_at - exchange.started
    start = of_day + (exchange.started if started is None else started)
    end = of_day + (ended or exchange.ended or exchange.started)
    parent = None if parent_id is None else bytes.fromhex(parent_id)
    trace_id = bytes.fromhex(exchange.trace.trace_id)
    return otlp.place(trace_id, bytes.fromhex(span_id), parent, start, end if end > start else start)


def _clock(exchange: Exchange, instant: int) -> int:
    """The time of day of an instant; one clock for all spans of a trace."""
    return exchange.started_at + instant - exchange.started


def _ended(exchange: Exchange, ended: int | None) -> int:
    """When something ended: by itself, or with the exchange."""
    return _clock(exchange, ended or exchange.ended or exchange.started)


def _model_attributes(exchange: Exchange, call: UpstreamCall) -> bytes:
    """What differs from one call of a model to the next."""
    facts = call.facts
    written = b"" if facts.usage is None else usage(facts.usage)
    if call.estimated_tokens is not None:
        written += estimated(call.estimated_tokens)
    if kind_of(facts.operation) == CHAIN:
        return written
    if facts.response_id:
        written += text(names.GEN_AI_RESPONSE_ID, facts.response_id)
    if exchange.session:
        written += text(names.GEN_AI_CONVERSATION, exchange.session)
    if facts.streamed:
        written += first_chunk(call, exchange.started_at - exchange.started)
    return written


def _error_of(exchange: Exchange) -> str:
    """What an exchange failed with, "" if its span is no Error."""
    if exchange.status < _SERVER_ERRORS and _is_no_error(exchange.outcome):
        return ""
    return exchange.error or _status_or(exchange.status, exchange.outcome)


def _error_of_call(call: UpstreamCall) -> str:
    if call.error is None and (call.status or 0) < _ERRORS and _is_no_error(call.outcome):
        return ""
    return call.error or _status_or(call.status, call.outcome)


def _status_or(status: int | None, outcome: Outcome) -> str:
    return str(status) if status and status >= _ERRORS else outcome.value


def _is_no_error(outcome: Outcome) -> bool:
    return outcome is Outcome.COMPLETE or outcome is Outcome.REFUSED or outcome is Outcome.CLIENT_GONE


def _status(outcome: Outcome, error: str, at: int) -> bytes:
    """Error, OK, or unset for a client that left."""
    return _OK if not error and outcome is Outcome.COMPLETE else _failure(error, at)


_OK = otlp.ok_status()


def _failure(error: str, at: int) -> bytes:
    """What makes a span an Error, if there is one."""
    if not error:
        return b""
    title = _TITLES.get(error) or _phrase(error)
    told: dict[str, otlp.Value] = {names.EXCEPTION_TYPE: error, names.EXCEPTION_MESSAGE: title}
    return otlp.error_status(title) + otlp.event(names.EXCEPTION_EVENT, at, told)


def _phrase(error: str) -> str:
    """Words for an error that is none of ours: a status, or an outcome."""
    try:
        return f"{error} {HTTPStatus(int(error)).phrase}"
    except ValueError:
        return error.replace("_", " ")


def _titles(kind: type[GatewayError]) -> Iterator[tuple[str, str]]:
    yield kind.code, kind.title
    for narrower in kind.__subclasses__():
        yield from _titles(narrower)


_TITLES = dict(_titles(GatewayError))

"""The spans of a finished exchange.

SERVER `POST {route}` -> a project's CHAIN `project demo/summary` -> LLM `chat gpt-4o`, CLIENT, for each upstream call,
each with its own start and end. A repeated attempt is a call of its own; there is no span below it.

Rule 1: the server's span is an Error for what went wrong on this side: a status from 500 on, or a body that was cut. A
refusal (4xx) is the client's doing, and a client that leaves does so on purpose. A call's span is one from 400 on. The
spans of workflows and calls say OK when all went well; the server's stays unset then, as the HTTP conventions ask.
Rule 2: an error shows as the gateway's own code and title; nothing an upstream said gets into a span that way.
Rule 3: token counts stand on the spans of calls alone, for Phoenix adds them up.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus

from msgspec import Struct

from gateway.errors import GatewayError
from gateway.telemetry import names, otlp
from gateway.telemetry.content import ContentRules, json_text
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, KEPT, LONGEST, Described, description, kind_of, usage
from gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, attribute, attributes, text

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_UNMATCHED = "unmatched"
MOST_REASONS = 8  # of a call whose frame is kept
_ERRORS, _SERVER_ERRORS = 400, 500
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200  # OpenTelemetry's SpanFlags


class SpanTree:
    """Encodes exchanges. `vendors` tells the `llm.provider` of a configured provider where that is not its name."""

    def __init__(self, content: ContentRules, vendors: Mapping[str, str]) -> None:
        self._content = content
        self._vendors = vendors

    def encoded(self, exchange: Exchange) -> bytes:
        """All spans of `exchange`, in OTLP, to be joined with those of others."""
        owner = _owner_attributes(exchange.client, exchange.session)
        said = b"" if self._content.is_off else attributes(self._content.of_exchange(exchange))
        spans = [self._server(exchange, owner, said)]
        if exchange.workflow_span_id is not None:
            spans.append(self._workflow(exchange, exchange.workflow_span_id, owner, said))
        spans.extend([self._call(exchange, call, owner) for call in exchange.calls])
        return otlp.scope_spans(spans)

    def _server(self, exchange: Exchange, owner: bytes, said: bytes) -> bytes:
        trace = exchange.trace
        error = _error_of(exchange)
        facts = (
            ("fault", exchange.fault),
            ("stream_mode", exchange.stream_mode),
            ("sdk_retry", exchange.retry_count),
            ("ignored_headers", exchange.ignored_headers),
        )
        before, after = _server_frame(
            exchange.method[:LONGEST],
            exchange.route,
            exchange.path[:LONGEST],
            exchange.scheme,
            exchange.host[:LONGEST],
            exchange.http_version,
            exchange.status,
            error,
            _Told(exchange.project, exchange.provider, exchange.outcome, exchange.error, facts),
            len(exchange.id),
        )
        return b"".join(
            (
                _place(exchange, trace.span_id, trace.parent_id),
                before,
                exchange.id.encode(),
                after,
                _context(exchange, trace.parent_id),
                _client_attributes(exchange.peer, exchange.user_agent[:LONGEST]),
                owner,
                said,
                _failure(error, _ended(exchange, exchange.ended)) if error else b"",
            )
        )

    def _workflow(self, exchange: Exchange, span_id: str, owner: bytes, said: bytes) -> bytes:
        error = _error_of(exchange)
        name = "project " + exchange.route.removeprefix("/projects/")
        started = exchange.admitted or exchange.authenticated or exchange.started
        told = _Told(exchange.project, exchange.provider, exchange.outcome, exchange.error)
        before, between, after = _metadata(told, len(exchange.id))
        return b"".join(
            (
                _place(exchange, span_id, exchange.trace.span_id, started),
                otlp.name_and_kind(name, INTERNAL),
                _context(exchange, exchange.trace.span_id),
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
        facts = call.facts
        parent = call.parent_span_id or exchange.workflow_span_id or exchange.trace.span_id
        described = self._described(call)
        own: tuple[tuple[str, object], ...] = (("step", call.step),)
        theirs = call.request_id or ""
        if theirs and _is_plain(theirs) is None:
            theirs, own = "", (*own, ("upstream_request_id", theirs))
        told = _Told(exchange.project, call.provider, call.outcome, call.error, own)
        is_short = len(described.parameters) <= LONGEST and len(described.finish_reasons) <= MOST_REASONS
        frame = _call_frame if is_short else _call_frame.__wrapped__
        before, between, after = frame(described, told, len(exchange.id), len(theirs))
        return b"".join(
            (
                _place(exchange, call.span_id, parent, call.started, call.ended),
                before,
                exchange.id.encode(),
                between,
                theirs.encode(),
                after,
                _context(exchange, parent),
                owner,
                _model_attributes(exchange, call),
                b"" if call.template is None else attributes(self._content.of_template(call.template)),
                b"" if self._content.is_off else attributes(self._content.of_call(facts)),
                _status(call.outcome, described.error, _ended(exchange, call.ended)),
            )
        )

    def _described(self, call: UpstreamCall) -> Described:
        facts = call.facts
        hidden = self._content.parameters_hidden or not facts.parameters
        return Described(
            provider=self._vendors.get(call.provider, call.provider),
            method=call.method,
            path=call.path[:LONGEST],
            server=call.server,
            port=call.port,
            status=call.status,
            attempt=call.attempt,
            error=_error_of_call(call),
            operation=facts.operation,
            request_model=_short(facts.request_model),
            response_model=_short(facts.response_model),
            finish_reasons=tuple(facts.finish_reasons),
            streamed=facts.streamed,
            parameters="" if hidden else json_text(facts.parameters),
        )


def _place(
    exchange: Exchange, span_id: str, parent_id: str | None, started: int | None = None, ended: int | None = None
) -> bytes:
    """Where a span is, in the trace and in time; without times of its own it lasts as long as the exchange."""
    of_day = exchange.started_at - exchange.started
    start = of_day + (exchange.started if started is None else started)
    end = of_day + (ended or exchange.ended or exchange.started)
    return otlp.place(exchange.trace.trace_id, span_id, parent_id, start, end if end > start else start)


def _context(exchange: Exchange, parent_id: str | None) -> bytes:
    trace = exchange.trace
    remote = _IS_REMOTE if parent_id is not None and parent_id == trace.parent_id else 0
    return otlp.context(trace.flags | _HAS_IS_REMOTE | remote, trace.tracestate)


def _short(name: str | None) -> str | None:
    return name[:LONGEST] if name else None


def _clock(exchange: Exchange, instant: int) -> int:
    """The time of day of an instant; one clock for all spans of a trace."""
    return exchange.started_at + instant - exchange.started


def _ended(exchange: Exchange, ended: int | None) -> int:
    """When something ended: by itself, or with the exchange."""
    return _clock(exchange, ended or exchange.ended or exchange.started)


class _Told(Struct, frozen=True):
    """The facts that have no attribute of their own, but for ids; `own` are of one kind of span alone."""

    project: str | None
    provider: str | None
    outcome: Outcome
    error: str | None
    own: tuple[tuple[str, object], ...] = ()


_is_plain = re.compile(r"[A-Za-z0-9._:/=+-]{1,200}").fullmatch
_BEFORE_ID, _AFTER_THEIRS = len('{"request_id":"'), len('"}')


def _metadata(told: _Told, id_length: int, their_length: int = 0) -> tuple[bytes, bytes, bytes]:
    """Those facts as one JSON object: what stands before, between and behind two ids, ours and the upstream's."""
    facts: dict[str, object] = {"request_id": "0" * id_length, "outcome": told.outcome}
    for name, fact in (("project", told.project), ("provider", told.provider), ("error", told.error), *told.own):
        if fact:
            facts[name] = fact
    if their_length:
        facts["upstream_request_id"] = "0" * their_length
    said = json_text(facts)
    written = text(names.METADATA, said)
    ours = len(written) - len(said.encode()) + _BEFORE_ID
    theirs = len(written) - _AFTER_THEIRS - their_length
    return written[:ours], written[ours + id_length : theirs], written[theirs + their_length :]


@lru_cache(KEPT)
def _server_frame(
    method: str,
    route: str,
    path: str,
    scheme: str,
    host: str,
    http_version: str,
    status: int,
    error: str,
    told: _Told,
    id_length: int,
) -> tuple[bytes, bytes]:
    """What many server spans have in common: what stands before our id, and behind it."""
    known = method in _METHODS
    address, port = _address(host)
    name = method if known else "HTTP"
    before, between, after = _metadata(told, id_length)
    described = attributes(
        {
            names.SPAN_KIND: CHAIN,
            names.HTTP_METHOD: method if known else "_OTHER",
            names.HTTP_METHOD_ORIGINAL: None if known else method,
            names.HTTP_ROUTE: None if route == _UNMATCHED else route,
            names.URL_PATH: path,
            names.URL_SCHEME: scheme,
            names.SERVER_ADDRESS: address,
            names.SERVER_PORT: port,
            names.HTTP_VERSION: http_version,
            names.HTTP_STATUS: status or None,
            names.ERROR_TYPE: error,
        }
    )
    named = otlp.name_and_kind(name if route == _UNMATCHED else f"{name} {route}", SERVER)
    return named + described + before, between + after


@lru_cache(KEPT)
def _call_frame(call: Described, told: _Told, id_length: int, their_length: int) -> tuple[bytes, bytes, bytes]:
    """What the spans of many calls have in common: what stands before our id, before the upstream's, and behind it."""
    before, between, after = _metadata(told, id_length, their_length)
    return otlp.name_and_kind(_call_name(call, told), CLIENT) + description(call) + before, between, after


def _model_attributes(exchange: Exchange, call: UpstreamCall) -> bytes:
    """What differs from one call of a model to the next."""
    facts = call.facts
    written = b"" if facts.usage is None else usage(facts.usage)
    if kind_of(facts.operation) == CHAIN:
        return written
    if facts.response_id:
        written += text(names.GEN_AI_RESPONSE_ID, facts.response_id)
    if exchange.session:
        written += text(names.GEN_AI_CONVERSATION, exchange.session)
    if facts.streamed and call.first_byte is not None:
        written += attribute(names.GEN_AI_FIRST_CHUNK, (call.first_byte - call.started) / 1e9)
        written += otlp.event(names.FIRST_CHUNK_EVENT, _clock(exchange, call.first_byte), {})
    return written


def _call_name(call: Described, told: _Told) -> str:
    if kind_of(call.operation) == CHAIN:
        return f"{call.method} {told.provider}"
    return f"{call.operation} {call.request_model or told.provider}"[:LONGEST]


@lru_cache(KEPT)
def _client_attributes(peer: str, user_agent: str) -> bytes:
    return attributes({names.CLIENT_ADDRESS: peer, names.USER_AGENT: user_agent})


@lru_cache(KEPT)
def _owner_attributes(client: str | None, session: str | None) -> bytes:
    """Whose request it is: on every span of a trace, so that each can be found by it."""
    return attributes({names.USER_ID: client, names.SESSION_ID: session})


def _address(host: str) -> tuple[str, int | None]:
    """Host and port of a Host field."""
    address, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return address, int(port)
    return host, None


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

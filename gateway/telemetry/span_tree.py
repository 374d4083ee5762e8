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

from gateway.errors import GatewayError
from gateway.telemetry import names, otlp
from gateway.telemetry.content import ContentRules, json_text
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, KEPT, LONGEST, Described, description, kind_of, usage
from gateway.telemetry.otlp import CLIENT, INTERNAL, SERVER, attribute, attributes, text

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_UNMATCHED = "unmatched"
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
        return b"".join(
            (
                _opening(exchange, trace.span_id, trace.parent_id, _server_name(exchange), SERVER),
                _server_attributes(
                    exchange.method[:LONGEST],
                    exchange.route,
                    exchange.path[:LONGEST],
                    exchange.scheme,
                    exchange.host[:LONGEST],
                    exchange.http_version,
                    exchange.status,
                    error,
                ),
                _client_attributes(exchange.peer, exchange.user_agent[:LONGEST]),
                owner,
                _metadata(exchange, exchange.provider, exchange.outcome, exchange.error, facts),
                said,
                _failure(error, _ended(exchange, exchange.ended)) if error else b"",
            )
        )

    def _workflow(self, exchange: Exchange, span_id: str, owner: bytes, said: bytes) -> bytes:
        error = _error_of(exchange)
        name = "project " + exchange.route.removeprefix("/projects/")
        started = exchange.admitted or exchange.authenticated or exchange.started
        return b"".join(
            (
                _opening(exchange, span_id, exchange.trace.span_id, name, INTERNAL, started),
                attributes({names.SPAN_KIND: CHAIN, names.ERROR_TYPE: error}),
                owner,
                _metadata(exchange, exchange.provider, exchange.outcome, exchange.error),
                said,
                _status(exchange.outcome, error, _ended(exchange, exchange.ended)),
            )
        )

    def _call(self, exchange: Exchange, call: UpstreamCall, owner: bytes) -> bytes:
        facts = call.facts
        parent = call.parent_span_id or exchange.workflow_span_id or exchange.trace.span_id
        described = self._described(call)
        own = (("step", call.step),)
        return b"".join(
            (
                _opening(exchange, call.span_id, parent, _call_name(call), CLIENT, call.started, call.ended),
                description(described),
                owner,
                _metadata(exchange, call.provider, call.outcome, call.error, own, call.request_id),
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


def _opening(
    exchange: Exchange,
    span_id: str,
    parent_id: str | None,
    name: str,
    kind: int,
    started: int | None = None,
    ended: int | None = None,
) -> bytes:
    """A span in its place, in the trace and in time; without times of its own it lasts as long as the exchange."""
    trace, of_day = exchange.trace, exchange.started_at - exchange.started
    remote = parent_id is not None and parent_id == trace.parent_id
    start = of_day + (exchange.started if started is None else started)
    end = of_day + (ended or exchange.ended or exchange.started)
    return otlp.opening(
        trace.trace_id, span_id, parent_id, name=name, kind=kind, start=start, end=end if end > start else start
    ) + otlp.context(trace.flags | _HAS_IS_REMOTE | (_IS_REMOTE if remote else 0), trace.tracestate)


def _short(name: str | None) -> str | None:
    return name[:LONGEST] if name else None


def _clock(exchange: Exchange, instant: int) -> int:
    """The time of day of an instant; one clock for all spans of a trace."""
    return exchange.started_at + instant - exchange.started


def _ended(exchange: Exchange, ended: int | None) -> int:
    """When something ended: by itself, or with the exchange."""
    return _clock(exchange, ended or exchange.ended or exchange.started)


def _metadata(
    exchange: Exchange,
    provider: str | None,
    outcome: Outcome,
    error: str | None,
    own: tuple[tuple[str, object], ...] = (),
    theirs: str | None = None,
) -> bytes:
    """The facts that have no attribute of their own, as one JSON object. `theirs` is the upstream's own id."""
    known = theirs is not None and _is_plain(theirs) is not None
    if theirs and not known:
        own = (*own, ("upstream_request_id", theirs))
    length = len(theirs) if theirs is not None and known else 0
    before, between, after = _metadata_frame(len(exchange.id), length, exchange.project, provider, outcome, error, own)
    return b"".join((before, exchange.id.encode(), between, theirs.encode() if theirs and known else b"", after))


_is_plain = re.compile(r"[A-Za-z0-9._:/=+-]{1,200}").fullmatch
_BEFORE_ID, _AFTER_THEIRS = len('{"request_id":"'), len('"}')


@lru_cache(KEPT)
def _metadata_frame(
    id_length: int,
    their_length: int,
    project: str | None,
    provider: str | None,
    outcome: Outcome,
    error: str | None,
    own: tuple[tuple[str, object], ...],
) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind the two ids, ours and the upstream's, each as long as is told."""
    facts: dict[str, object] = {"request_id": "0" * id_length, "outcome": outcome}
    for name, fact in (("project", project), ("provider", provider), ("error", error), *own):
        if fact:
            facts[name] = fact
    if their_length:
        facts["upstream_request_id"] = "0" * their_length
    said = json_text(facts)
    written = text(names.METADATA, said)
    ours = len(written) - len(said.encode()) + _BEFORE_ID
    theirs = len(written) - _AFTER_THEIRS - their_length
    return written[:ours], written[ours + id_length : theirs], written[theirs + their_length :]


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


def _call_name(call: UpstreamCall) -> str:
    operation = call.facts.operation
    if kind_of(operation) == CHAIN:
        return f"{call.method} {call.provider}"
    return f"{operation} {call.facts.request_model or call.provider}"[:LONGEST]


def _server_name(exchange: Exchange) -> str:
    method = exchange.method if exchange.method in _METHODS else "HTTP"
    return method if exchange.route == _UNMATCHED else f"{method} {exchange.route}"


@lru_cache(KEPT)
def _server_attributes(
    method: str, route: str, path: str, scheme: str, host: str, http_version: str, status: int, error: str
) -> bytes:
    known = method in _METHODS
    address, port = _address(host)
    return attributes(
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

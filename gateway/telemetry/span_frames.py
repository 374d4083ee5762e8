"""What many spans have in common, written once and kept.

A frame is a span with holes for what is each request's own. It is found by everything that is in it, so what is kept of
one request shows in another only where both are the same. Texts that a client or a provider chose are cut, and the
frames are bounded in number.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from gateway.telemetry import names, otlp
from gateway.telemetry.content import json_text
from gateway.telemetry.exchange import Exchange, Facts, Outcome, Parameters, TraceIds, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, KEPT, LONGEST, Described, description, kind_of
from gateway.telemetry.otlp import CLIENT, SERVER, attributes, text

MOST_REASONS = 8  # of a call whose frame is kept

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_UNMATCHED = "unmatched"
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200  # OpenTelemetry's SpanFlags


class Told(Struct, frozen=True):
    """The facts that have no attribute of their own, but for ids; `own` are of one kind of span alone."""

    project: str | None
    provider: str | None
    outcome: Outcome
    error: str | None
    own: tuple[tuple[str, object], ...] = ()


class Frames:
    """The frames of one configuration. `vendors` tells the `llm.provider` of a provider where that is not its name."""

    def __init__(self, vendors: Mapping[str, str], *, parameters_hidden: bool) -> None:
        self._vendors = vendors
        self._parameters_hidden = parameters_hidden

    def server(self, exchange: Exchange, error: str) -> tuple[bytes, bytes]:
        """What stands before our id, and behind it, in a span that failed with `error`, "" if it did not."""
        facts = (
            ("fault", exchange.fault),
            ("stream_mode", exchange.stream_mode),
            ("sdk_retry", exchange.retry_count),
            ("ignored_headers", exchange.ignored_headers),
        )
        return _server_frame(
            exchange.method[:LONGEST],
            exchange.route,
            exchange.path[:LONGEST],
            exchange.scheme,
            exchange.host[:LONGEST],
            exchange.http_version,
            exchange.status,
            error,
            Told(exchange.project, exchange.provider, exchange.outcome, exchange.error, facts),
            len(exchange.id),
        )

    def call(self, exchange: Exchange, call: UpstreamCall, error: str, theirs: str) -> tuple[bytes, bytes, bytes]:
        """What stands before our id, before the upstream's, and behind it; `theirs` is "" if that is not plain."""
        facts = call.facts
        own: tuple[tuple[str, object], ...] = (("step", call.step), ("failure", call.failure))
        if facts.provider_error is not None:
            answered = facts.provider_error
            own = (
                *own,
                ("upstream_error_type", answered.type),
                ("upstream_error_code", answered.code),
                ("upstream_error_message", answered.message),
            )
        if call.request_id and not theirs:
            own = (*own, ("upstream_request_id", call.request_id))
        described = Described(
            provider=self._vendors.get(call.provider, call.provider),
            method=call.method,
            path=call.path[:LONGEST],
            server=call.server,
            port=call.port,
            status=call.status,
            attempt=call.attempt,
            error=error,
            operation=facts.operation,
            request_model=_short(facts.request_model),
            response_model=_short(facts.response_model),
            finish_reasons=tuple(facts.finish_reasons),
            streamed=facts.streamed,
            parameters=self.parameters(facts),
        )
        is_short = len(described.parameters) <= LONGEST and len(described.finish_reasons) <= MOST_REASONS
        has_message = facts.provider_error is not None and facts.provider_error.message is not None
        frame = _call_frame if is_short and not has_message else _call_frame.__wrapped__
        told = Told(exchange.project, call.provider, call.outcome, call.error, own)
        return frame(described, told, len(exchange.id), len(theirs))

    def parameters(self, facts: Facts) -> str:
        """A call's parameters as a JSON object; "" where there are none, or they are hidden."""
        parameters = facts.parameters
        if not parameters or self._parameters_hidden:
            return ""
        if type(parameters) is not Parameters:
            return json_text(parameters)
        if not parameters.text:
            parameters.text = json_text(parameters)
        return parameters.text


def plain_id(call: UpstreamCall) -> str:
    """The upstream's own id of a call, "" if it has none or one that JSON would write in another way."""
    theirs = call.request_id
    if not theirs:
        return ""
    # Most are no more than a name would be, which is asked quickly.
    is_plain = theirs.isidentifier() and theirs.isascii() and len(theirs) <= LONGEST_ID
    return theirs if is_plain or _is_plain(theirs) else ""


LONGEST_ID = 200
_is_plain = re.compile(r"[A-Za-z0-9._:/=+-]{1,200}").fullmatch
_BEFORE_ID, _AFTER_THEIRS = len('{"request_id":"'), len('"}')


def metadata(told: Told, id_length: int, their_length: int = 0) -> tuple[bytes, bytes, bytes]:
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
    told: Told,
    id_length: int,
) -> tuple[bytes, bytes]:
    known = method in _METHODS
    address, port = _address(host)
    name = method if known else "HTTP"
    before, between, after = metadata(told, id_length)
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
def _call_frame(call: Described, told: Told, id_length: int, their_length: int) -> tuple[bytes, bytes, bytes]:
    before, between, after = metadata(told, id_length, their_length)
    return otlp.name_and_kind(_call_name(call, told), CLIENT) + description(call) + before, between, after


def _call_name(call: Described, told: Told) -> str:
    if kind_of(call.operation) == CHAIN:
        return f"{call.method} {told.provider}"
    return f"{call.operation} {call.request_model or told.provider}"[:LONGEST]


@lru_cache(KEPT)
def client_attributes(peer: str, user_agent: str) -> bytes:
    """Where a request came from; on the server's span."""
    return attributes({names.CLIENT_ADDRESS: peer, names.USER_AGENT: user_agent})


@lru_cache(KEPT)
def owner_attributes(client: str | None, session: str | None) -> bytes:
    """Whose request it is: on every span of a trace, so that each can be found by it."""
    return attributes({names.USER_ID: client, names.SESSION_ID: session})


def context(trace: TraceIds, parent_id: str | None) -> bytes:
    """The W3C half of a span of `trace` below `parent_id`."""
    remote = _IS_REMOTE if parent_id is not None and parent_id == trace.parent_id else 0
    return otlp.context(trace.flags | _HAS_IS_REMOTE | remote, trace.tracestate)


def _address(host: str) -> tuple[str, int | None]:
    """Host and port of a Host field."""
    address, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) <= 5:
        return address, int(port)
    return host, None


def _short(name: str | None) -> str | None:
    return name[:LONGEST] if name else None

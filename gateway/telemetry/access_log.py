"""View: one line per exchange, JSON or readable text.

A field that is not known is left out. The table `FIELDS` is what `docs/log.md` describes.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from gateway.telemetry.escaping import encodable, escaped, escaped_json
from gateway.telemetry.exchange import Exchange, Outcome, ProviderError, UpstreamCall, Usage

Line = Callable[[Exchange], bytes]

FIELDS: dict[str, str] = {
    "time": "when the request came in, RFC 3339, UTC",
    "level": "info; warning where the provider failed or refused; error where the gateway did",
    "event": "exchange",
    "request_id": "the gateway's id of this exchange, as in x-gateway-request-id",
    "proxy_request_id": "X-Request-ID as a trusted proxy in front gave it",
    "trace_id": "W3C trace id",
    "method": "request method",
    "path": "request path, without query",
    "route": "the route's template, or unmatched",
    "status": "response status as the client saw it; left out if it left before there was one",
    "outcome": "how it ended, one of a closed set",
    "error": "code of the gateway's own error",
    "fault": "whose: caller, policy, upstream, gateway",
    "client": "id of the gateway key",
    "project": "project called",
    "provider": "provider called (the first, where a workflow calls several)",
    "model": "model that answered, or was asked for",
    "stream_mode": "mode asked for by ?stream_mode= or X-Stream-Mode",
    "session": "conversation id from the client's header",
    "upstream_failure": "why the provider gave no answer that could be passed on, one of a closed set",
    "upstream_status": "status of the provider's response",
    "upstream_error_type": "what the provider calls its 4xx or 5xx: one word of up to 64 characters, never its message",
    "upstream_error_code": "the provider's code for it, likewise",
    "upstream_error_message": "its message, up to 500 characters, where GATEWAY_PROVIDER_ERROR_MESSAGES is set",
    "upstream_request_id": "the provider's own request id",
    "duration_ms": "from the first byte of the request to the last of the response",
    "first_byte_ms": "until the first byte of the body was handed to the client",
    "bytes_in": "request body",
    "bytes_out": "response body",
    "input_tokens": "tokens in, as the providers told; summed over calls",
    "output_tokens": "tokens out, as the providers told; summed over calls",
    "total_tokens": "tokens in all, where a provider reported neither of the two; summed over those calls",
    "estimated_tokens": "tokens that limits were charged by estimate, where usage was not reported in full; summed",
    "retry": "how often the client's SDK says it has retried",
    "peer": "client's address",
    "user_agent": "client's User-Agent, cut to 200 characters",
    "calls": "of a workflow, or where one was sent again: step or attempt, provider, model, status, outcome, "
    "milliseconds and tokens of each call",
}


class Told(Struct, omit_defaults=True, kw_only=True):
    """What a line tells, in the order of FIELDS; None is left out."""

    time: str
    level: str
    event: str
    request_id: str
    proxy_request_id: str | None = None
    trace_id: str
    method: str
    path: str
    route: str
    status: int | None = None
    outcome: str
    error: str | None = None
    fault: str | None = None
    client: str | None = None
    project: str | None = None
    provider: str | None = None
    model: str | None = None
    stream_mode: str | None = None
    session: str | None = None
    upstream_failure: str | None = None
    upstream_status: int | None = None
    upstream_error_type: str | None = None
    upstream_error_code: str | None = None
    upstream_error_message: str | None = None
    upstream_request_id: str | None = None
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    bytes_in: int
    bytes_out: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    estimated_tokens: int | None = None
    retry: int | None = None
    peer: str | None = None
    user_agent: str | None = None
    calls: list["ToldCall"] | None = None


def json_line(exchange: Exchange) -> bytes:
    """The exchange as one JSON object and a line feed."""
    calls = exchange.calls
    if exchange.project or len(calls) != 1 or exchange.ended is None or len(exchange.path) > LONGEST:
        return _encode(told(exchange)) + b"\n"
    call = calls[0]
    if call.attempt or call.failure is not None or call.facts.provider_error is not None:
        return _encode(told(exchange)) + b"\n"
    facts, usage = call.facts, call.facts.usage or NO_USAGE
    first_byte, into, out = exchange.first_byte, usage.input_tokens, usage.output_tokens
    if call.estimated_tokens is not None or (into is None and usage.undivided_tokens is not None):
        return _encode(told(exchange)) + b"\n"
    frame = _frame(
        exchange.method,
        exchange.path,
        exchange.route,
        exchange.status,
        exchange.outcome,
        exchange.error,
        exchange.fault,
        exchange.provider or call.provider,
        facts.response_model or facts.request_model,
        exchange.stream_mode,
        call.status,
        exchange.retry_count,
        first_byte is not None,
        into is not None,
        out is not None,
    )
    second, rest = divmod(exchange.started_at, 1_000_000_000)
    proxy, session, theirs = exchange.proxy_request_id, exchange.session, call.request_id
    return frame % (
        _second_in_ascii(second),
        rest // 1_000_000,
        exchange.id.encode(),
        b"" if proxy is None else b',"proxy_request_id":' + _encode(proxy),
        exchange.trace.trace_id.encode(),
        _of_client(exchange.client),
        b"" if session is None else b',"session":' + _encode(session),
        b"" if theirs is None else b',"upstream_request_id":' + _encode(theirs),
        (exchange.ended - exchange.started) / 1e6,
        None if first_byte is None else (first_byte - exchange.started) / 1e6,
        exchange.bytes_in,
        exchange.bytes_out,
        into,
        out,
        _whence(exchange.peer, exchange.user_agent),
    )


_encoder = msgspec.json.Encoder()


def _encode(value: object) -> bytes:
    try:
        return escaped_json(_encoder.encode(value))
    except UnicodeEncodeError:
        return escaped_json(_encoder.encode(_encodable(msgspec.to_builtins(value))))


def _encodable(value: object) -> object:
    if isinstance(value, dict):
        return {name: _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return encodable(value) if isinstance(value, str) else value


NO_USAGE = Usage()
NO_ERROR = ProviderError()
KEPT, LONGEST = 1024, 1024  # frames, and characters of what a client chose in them
LONGEST_AGENT = 200
NOTHING = b"%.0a"  # of whatever is put in there


@lru_cache(KEPT)
def _frame(
    method: str,
    path: str,
    route: str,
    status: int,
    outcome: Outcome,
    error: str | None,
    fault: str | None,
    provider: str,
    model: str | None,
    stream_mode: str | None,
    upstream_status: int | None,
    retry: int,
    has_body: bool,
    tells_input: bool,
    tells_output: bool,
) -> bytes:
    """The line of an exchange with one call, made once for many, with holes for what is each one's own."""
    return b"".join(
        [
            b'{"time":"%b.%03dZ"',
            _member("level", _level(outcome, upstream_status)),
            _member("event", "exchange"),
            b',"request_id":"%b"%b,"trace_id":"%b"',
            _member("method", method),
            _member("path", path),
            _member("route", route),
            _member("status", status or None),
            _member("outcome", outcome),
            _member("error", error),
            _member("fault", fault),
            b"%b",
            _member("provider", provider),
            _member("model", model[:200] if model else None),
            _member("stream_mode", stream_mode),
            b"%b",
            _member("upstream_status", upstream_status),
            b'%b,"duration_ms":%.3f',
            b',"first_byte_ms":%.3f' if has_body else NOTHING,
            b',"bytes_in":%d,"bytes_out":%d',
            b',"input_tokens":%d' if tells_input else NOTHING,
            b',"output_tokens":%d' if tells_output else NOTHING,
            _member("retry", retry or None),
            b"%b}\n",
        ]
    )


@lru_cache(KEPT)
def _whence(peer: str, user_agent: str) -> bytes:
    """What tells of the client, as it stands in a line."""
    return _own("peer", peer or None) + _own("user_agent", user_agent[:LONGEST_AGENT] or None)


@lru_cache(KEPT)
def _of_client(client: str | None) -> bytes:
    return _own("client", client)


def _own(name: str, value: str | None) -> bytes:
    """A member as it stands in a line; nothing if it is not known."""
    return b"" if value is None else b',"%b":%b' % (name.encode(), _encode(value))


def _member(name: str, value: str | int | None) -> bytes:
    """The same as it stands in a frame."""
    return b"" if value is None else b',"%b":%b' % (name.encode(), _encode(value).replace(b"%", b"%%"))


def text_line(exchange: Exchange) -> bytes:
    """The exchange for a terminal."""
    line = told(exchange)
    parts = [
        line.time[11:23],
        f"{line.status or '-'!s:>3}",
        f"{line.duration_ms or 0:>9.1f} ms",
        _in_text(line.method),
        _in_text(line.path),
    ]
    shown = {name: getattr(line, name) for name in _SHOWN}
    known = {name: value for name, value in shown.items() if value is not None and value != Outcome.COMPLETE}
    parts += [f"{name}={_in_text(value) if isinstance(value, str) else value}" for name, value in known.items()]
    return " ".join(parts).encode() + b"\n"


def _in_text(value: str) -> str:
    """`value` as one word: in quotation marks where it has blanks, so that it makes no further fields."""
    shown = escaped(value)
    if shown.find(" ") < 0 and shown.find('"') < 0:
        return shown
    return '"' + shown.replace('"', '\\"') + '"'


_SHOWN = (
    "outcome",
    "error",
    "upstream_failure",
    "upstream_error_type",
    "upstream_error_code",
    "upstream_error_message",
    "client",
    "provider",
    "model",
    "first_byte_ms",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "estimated_tokens",
    "trace_id",
)


def told(exchange: Exchange) -> Told:
    """What is known of the exchange."""
    # Of a workflow the first call, of attempts at one the last: it was passed on.
    call = exchange.calls[0 if exchange.project else -1] if exchange.calls else None
    input_tokens, output_tokens, total_tokens = _tokens(exchange.calls)
    error = (call and call.facts.provider_error) or NO_ERROR
    return Told(
        time=_instant(exchange.started_at),
        level=_level(exchange.outcome, call.status if call else None),
        event="exchange",
        request_id=exchange.id,
        proxy_request_id=exchange.proxy_request_id,
        trace_id=exchange.trace.trace_id,
        method=exchange.method,
        path=exchange.path,
        route=exchange.route,
        status=exchange.status or None,
        outcome=exchange.outcome,
        error=exchange.error,
        fault=exchange.fault,
        client=exchange.client,
        project=exchange.project,
        provider=exchange.provider or (call.provider if call else None),
        model=_model(call) if call else None,
        stream_mode=exchange.stream_mode,
        session=exchange.session,
        upstream_failure=call.failure if call else None,
        upstream_status=call.status if call else None,
        upstream_error_type=error.type,
        upstream_error_code=error.code,
        upstream_error_message=error.message,
        upstream_request_id=call.request_id if call else None,
        duration_ms=_milliseconds(exchange.started, exchange.ended),
        first_byte_ms=_milliseconds(exchange.started, exchange.first_byte),
        bytes_in=exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=total_tokens,
        estimated_tokens=_estimated(exchange.calls),
        retry=exchange.retry_count or None,
        peer=exchange.peer or None,
        user_agent=exchange.user_agent[:LONGEST_AGENT] or None,
        calls=[_call(each) for each in exchange.calls] if exchange.project or _is_repeated(exchange) else None,
    )


def _is_repeated(exchange: Exchange) -> bool:
    """Whether its request was sent more than once: in several calls, or in one that met a stale connection."""
    calls = exchange.calls
    return len(calls) > 1 or bool(calls and calls[0].attempt)


class ToldCall(Struct, omit_defaults=True, kw_only=True):
    """What a line tells of one of several calls."""

    step: str | None = None
    attempt: int | None = None
    provider: str
    model: str | None = None
    status: int | None = None
    outcome: str
    error: str | None = None
    failure: str | None = None
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    estimated_tokens: int | None = None


def _call(call: UpstreamCall) -> ToldCall:
    usage = call.facts.usage
    return ToldCall(
        step=call.step,
        attempt=call.attempt or None,
        provider=call.provider,
        model=_model(call),
        status=call.status,
        outcome=call.outcome,
        error=call.error,
        failure=call.failure,
        duration_ms=_milliseconds(call.started, call.ended),
        first_byte_ms=_milliseconds(call.started, call.first_byte),
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        total_tokens=usage.undivided_tokens if usage else None,
        estimated_tokens=call.estimated_tokens,
    )


def _model(call: UpstreamCall) -> str | None:
    model = call.facts.response_model or call.facts.request_model
    return model[:200] if model else None


def _tokens(calls: Sequence[UpstreamCall]) -> tuple[int | None, int | None, int | None]:
    """The tokens that went in and came out of all calls, and those of which only the sum is known."""
    into = out = undivided = None
    for call in calls:
        usage = call.facts.usage
        if usage is None:
            continue
        if usage.input_tokens is not None:
            into = usage.input_tokens + (into or 0)
        if usage.output_tokens is not None:
            out = usage.output_tokens + (out or 0)
        if (total := usage.undivided_tokens) is not None:
            undivided = total + (undivided or 0)
    return into, out, undivided


def _estimated(calls: Sequence[UpstreamCall]) -> int | None:
    found = [call.estimated_tokens for call in calls if call.estimated_tokens is not None]
    return sum(found) if found else None


def _milliseconds(since: int, until: int | None) -> float | None:
    return None if until is None else round((until - since) / 1e6, 3)


def _instant(nanoseconds: int) -> str:
    return f"{_second(nanoseconds // 1_000_000_000)}.{nanoseconds // 1_000_000 % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=64)
def _second_in_ascii(second: int) -> bytes:
    return _second(second).encode("ascii")


def is_loud(exchange: Exchange) -> bool:
    """Whether its line is more than `info`."""
    if exchange.outcome in LOUD:
        return True
    calls = exchange.calls
    return bool(calls) and (calls[0 if exchange.project else -1].status or 0) >= REFUSED


def _level(outcome: Outcome, upstream_status: int | None) -> str:
    if outcome is Outcome.FAULT:
        return "error"
    return "info" if outcome in _CALM and (upstream_status or 0) < REFUSED else "warning"


REFUSED = 400


_CALM = (Outcome.COMPLETE, Outcome.REFUSED, Outcome.CLIENT_GONE)
LOUD = tuple(outcome for outcome in Outcome if outcome not in _CALM)

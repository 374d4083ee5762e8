"""`/provider/<name>/...`: the provider as if directly. Without a stream mode every byte is as it came, both ways."""

from collections.abc import Iterator

from aiohttp import web

from gateway.access import upload_tokens
from gateway.downstream.body import at_hand, body_for_relay, read_body, stored_body
from gateway.downstream.directory import Directory
from gateway.downstream.guarded_request import GuardedRequest
from gateway.downstream.head import Told
from gateway.downstream.middlewares.authenticate import TICKET
from gateway.downstream.provider_contract import ANYTHING, customary, passthrough
from gateway.downstream.provider_links import ProviderLinks
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.routes import TAG, Served, Tag, describe, mount
from gateway.downstream.state import CLIENT, DIALECT, EXCHANGE, TOLD, ErrorFrame
from gateway.downstream.stream import deliver, deliver_at_once, relay, stream
from gateway.errors import (
    Fault,
    Forbidden,
    GatewayError,
    InvalidRequest,
    LoopDetected,
    UpstreamError,
)
from gateway.providers import translate
from gateway.providers.provider import Dialect, Provider, UpstreamRequest
from gateway.settings import Limits
from gateway.telemetry.exchange import Exchange, Outcome
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.retries import Answered, Retries, new_call
from gateway.upstream.retry_fields import ANSWERED_BY, ATTEMPTS, SHOULD_RETRY
from gateway.wire import headers, mode, target
from gateway.wire.mode import StreamMode

MOST_PATHS = 1024
LONGEST_ID = 200
MALFORMED_HEAD = "{} sent a malformed response head."


def provider_app(provider: Provider, retries: Retries, limits: Limits, links: ProviderLinks) -> web.Application:
    """The sub-application of one configured provider."""
    app = web.Application()
    app[DIALECT] = provider.dialect
    app[TAG] = Tag(provider.name, f"Whatever {provider.name} serves, byte for byte.")
    # An empty path is `/` (RFC 9110, section 4.2.3).
    mount(app, Served(passthrough(provider), Relay(provider, retries, limits, links).serve, also=""))
    describe(app, *customary(provider))
    return app


def unconfigured_app(name: str, dialect: Dialect, directory: Directory) -> web.Application:
    """The sub-application of a provider that is known but not configured."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise directory.provider_not_configured(name, request[CLIENT])

    app = web.Application()
    app[DIALECT] = dialect
    for path in (ANYTHING, ""):
        app.router.add_route("*", path, refuse)
    return app


class Relay:
    """Passes requests to one provider and its responses back."""

    def __init__(self, provider: Provider, retries: Retries, limits: Limits, links: ProviderLinks) -> None:
        self._provider = provider
        self._links = links
        self._retries = retries
        self._limits = limits
        self._door = retries.doors[provider.name]
        self._prefix = f"/provider/{provider.name}"
        self._key = _key_of(provider)
        self._may_repeat = bool(provider.policy.retries or provider.policy.fallback)
        self._known: dict[str, str] = {}  # paths without a query, and what of them is below the prefix

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One exchange. Raises GatewayErrors until the response's head is out."""
        state, provider = request._state, self._provider
        exchange, told, client = state[EXCHANGE], state[TOLD], state[CLIENT]
        head = told.head
        exchange.provider = provider.name
        if not client.may_use_provider(provider.name):
            raise Forbidden(
                f"This key may not use the provider {provider.name}; GET /provider lists those that it may use."
            )
        if head.passed_here:
            raise LoopDetected()
        plan = shape = None
        below, query = self._below(request)
        if head.asks_again or self._may_repeat:
            plan = self._retries.plan(
                exchange, provider, request.headers, client.may_use_provider, asks=head.asks_again
            )
        if query or head.modes:
            shape = mode.asked(query, head.modes)
        method, limit = request._method, self._limits.max_body_bytes
        is_usual = shape is None and head.is_json and method != "GET"
        if self._links.map_batches and self._links.may_change_body(below):
            is_usual = False
        if is_usual and (body := at_hand(request, limit)) is not None:
            asked = UpstreamRequest(method, below, (), body, len(body), head.form, told.values)
        else:
            if plan is None:
                self._door.check()  # before anything is read
            asked = await self._asked(request, told, below, shape)
        if plan is not None:
            async with self._retries.call(exchange, provider, asked, plan) as answered:
                return await self._relay(request, answered, shape)
        call = new_call(exchange, provider, asked)
        async with self._retries.upstream.call(exchange, provider, asked, call) as response:
            return await self._relay(request, Answered(response, provider, call), shape)

    def _below(self, request: web.Request) -> tuple[str, str]:
        """The target below the provider's base, and the query that the client sent. Raises InvalidRequest."""
        raw_path = request._message.path
        known = self._known.get(raw_path)
        if known is not None:
            return known, ""
        path, question, query = target.below(raw_path, self._prefix).partition("?")
        if not question:
            if len(self._known) >= MOST_PATHS:
                self._known.clear()
            self._known[raw_path] = path
            return path, ""
        if upload_tokens.PARAMETER in query:
            query = target.without_parameter(query, upload_tokens.PARAMETER)
        by_ticket = stored_body(request) is not None
        rest = mode.without_mode(target.without_parameter(query, TICKET) if by_ticket else query)
        # A `?` that stood before parameters of ours alone goes with them; one that stood alone stays.
        return path + question + rest if rest or raw_path.endswith("?") else path, query

    async def _asked(self, request: web.Request, told: Told, below: str, shape: StreamMode | None) -> UpstreamRequest:
        """The request to send; its body and target are touched only where a stream mode asks for it."""
        stored = stored_body(request) is not None
        method = "POST" if stored else request._method
        if shape is None:
            body, length = await body_for_relay(
                request, limit=self._limits.max_body_bytes, upload_limit=self._limits.max_upload_bytes
            )
            if stored:
                return UpstreamRequest(method, below, _of_a_ticket(request.raw_headers), body, length)
            if self._links.may_change_body(below):
                return UpstreamRequest(method, below, _uncoded(request.raw_headers), body, length)
            return UpstreamRequest(method, below, (), body, length, told.head.form, told.values)
        request[EXCHANGE].stream_mode = shape
        if method != "POST":
            raise InvalidRequest("Stream modes work with POST requests only.", param=mode.PARAMETER)
        body = await read_body(request, self._limits.max_body_bytes)
        wanted = self._provider.dialect.reshape(below, body, stream=shape.streams)
        fields = _uncoded(_of_a_ticket(request.raw_headers) if stored else request.raw_headers)
        return UpstreamRequest(method, wanted.target, fields, wanted.body, len(wanted.body))

    async def _relay(self, request: web.Request, answered: Answered, shape: StreamMode | None) -> web.StreamResponse:
        exchange, dialect = request._state[EXCHANGE], self._provider.dialect
        response, call = answered.response, answered.call
        at = response.layout.request_id
        if at is not None and (theirs := response.values[at]):
            call.request_id = theirs[:LONGEST_ID].decode("ascii", "replace")
        if response.status >= 500:
            exchange.outcome, exchange.fault = Outcome.UPSTREAM_ERROR, Fault.UPSTREAM
        kind = None if shape is None else self._new_kind(response, shape)
        coded = bool(response.codings)
        if kind is None and self._links.map_batches and self._links.are_batches(response, call):
            return await self._relay_batches(request, answered)
        if kind is not None and coded:
            raise UpstreamError(f"{call.provider} sent a content coding that was not asked for.")
        try:
            reply = self._reply(exchange, answered, kind)
        except ValueError as error:
            raise UpstreamError(MALFORMED_HEAD.format(call.provider)) from error
        if kind is None and (body := response.whole()) is not None:
            if type(request) is GuardedRequest and request.can_sign_at_once():
                return deliver_at_once(request, reply, body)
            return await deliver(request, reply, body)
        error_frame: ErrorFrame = _nothing
        if kind is not None and shape is not None:
            error_frame = translate.error_frame(dialect, shape, exchange.id, call.path)
        elif response.is_event_stream and not coded:
            error_frame = _to_events(response, translate.error_frame(dialect, StreamMode.SSE, exchange.id, call.path))
        if kind is None:
            flush_head = response.is_event_stream and not response.ready
            return await relay(request, reply, response, error_frame, flush_head=flush_head)
        assert shape is not None
        frames = translate.translated(response.chunks(), dialect, shape, streamed=response.is_event_stream)
        return await stream(request, reply, frames, error_frame, response)

    async def _relay_batches(self, request: web.Request, answered: Answered) -> web.StreamResponse:
        """Message batches, with the URLs of their results mapped."""
        exchange, response = request[EXCHANGE], answered.response
        kind = response.field(b"content-type").decode("latin-1")
        body = await self._links.body(exchange, answered)
        try:
            reply = self._reply(exchange, answered, kind)
        except ValueError as error:
            raise UpstreamError(MALFORMED_HEAD.format(answered.call.provider)) from error
        return await deliver(request, reply, body)

    def _reply(self, exchange: Exchange, answered: Answered, kind: str | None) -> RelayedResponse:
        """The response to the client, without its body. Raises ValueError if it cannot be sent."""
        response = answered.response
        key = self._key if answered.provider is self._provider else _key_of(answered.provider)
        status, reason, layout, values = response.status, response.reason, response.layout, response.values
        if layout.urls:
            values = self._links.values(exchange, answered)
        # Once a client knows a stream's length, a missing end could not be signalled.
        unframed = response.is_stream and layout.lengths > 0 and answered.call.method != "HEAD"
        lines = headers.client_lines(values, layout, key) if kind is None and not unframed else None
        at = layout.content_length
        length = b"" if at is None else values[at]
        if lines is not None and (length.isdigit() or not length):
            has_date = b"date" in layout.at
            reply = RelayedResponse.of_lines(status, reason, lines, int(length) if length else None, has_date)
        else:
            without = headers.REPRESENTATION if kind else headers.FRAMING if unframed else ()
            fields = [(name, value) for (name, _), value in zip(response.fields, values, strict=True)]
            reply = RelayedResponse(status, reason, headers.to_client(fields, key=key, without=without))
        if answered.attempts:
            for name, value in self._told(answered):
                reply.add(name, value)
        if kind is not None:
            reply.add(b"Content-Type", kind.encode("ascii"))
        return reply

    def _told(self, answered: Answered) -> Iterator[headers.Field]:
        """What the gateway did to get this answer."""
        yield ATTEMPTS.encode(), b"%d" % answered.attempts
        if answered.provider is not self._provider:
            yield ANSWERED_BY.encode(), answered.provider.name.encode()
        if answered.useless and not answered.response.field(SHOULD_RETRY.encode()):
            yield SHOULD_RETRY.encode(), b"false"

    def _new_kind(self, response: UpstreamResponse, shape: StreamMode) -> str | None:
        """The media type of the body to send, where that is not the upstream's own as it came."""
        if shape is StreamMode.JSON or response.status == 204 or response.status >= 300:
            return None
        return None if shape is StreamMode.SSE and response.is_event_stream else shape.content_type


def _key_of(provider: Provider) -> bytes:
    return provider.key.reveal().encode("latin-1") if provider.key is not None else b""


def _of_a_ticket(fields: headers.Fields) -> headers.Fields:
    """The fields of a browser's GET that stands for the POST its ticket was given for."""
    kept = [field for field in fields if field[0].lower() not in _OF_THE_BROWSER]
    return [*kept, (b"Content-Type", b"application/json")]


_OF_THE_BROWSER = frozenset(
    {b"accept", b"content-type", b"cache-control", b"pragma", b"last-event-id", b"origin", b"referer"}
)


def _uncoded(fields: headers.Fields) -> headers.Fields:
    """The client's fields, asking for a body without content coding: it has to be read here."""
    kept = [field for field in fields if field[0].lower() != b"accept-encoding"]
    return [*kept, (b"Accept-Encoding", b"identity")]


def _to_events(response: UpstreamResponse, error_frame: ErrorFrame) -> ErrorFrame:
    """`error_frame` for an event stream, no frame for a document that is only labelled as one."""
    return lambda error: b"" if response.is_document else error_frame(error)


def _nothing(error: GatewayError) -> bytes:
    return b""

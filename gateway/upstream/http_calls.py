"""HTTP calls of a workflow's own: to a search index, a shop, whatever is no model.

They stand on the exchange's record beside the calls to models, so that the log line, the metrics and the spans show
them without being told. The OpenTelemetry instrumentation of aiohttp would not do: it works on the request's path,
ends its span when the head is in, and keeps whole URLs, with the secrets in their queries.
"""

import asyncio
from time import monotonic_ns
from types import SimpleNamespace, TracebackType

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, TraceConfig

from gateway.errors import UpstreamUnreachable
from gateway.settings.tcp import DEFAULT_KEEPALIVE, TcpKeepalive
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.trace_context import new_span_id, outgoing
from gateway.upstream.failures import not_connected
from gateway.wire.tcp import socket_factory

PROVIDER = "http"
"""What the record calls whoever is no provider."""
TIMEOUT = ClientTimeout(total=60, sock_connect=5)


class HttpCalls:
    """The connections for such calls, from start-up to clean-up. An async context manager."""

    def __init__(self, keepalive: TcpKeepalive = DEFAULT_KEEPALIVE, pool_size: int = 100) -> None:
        self._keepalive = keepalive
        self._pool_size = pool_size
        self._connector: TCPConnector | None = None

    async def __aenter__(self) -> "HttpCalls":
        self._connector = TCPConnector(limit=self._pool_size, socket_factory=socket_factory(self._keepalive))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connector is not None:
            await self._connector.close()

    def session(self, exchange: Exchange) -> ClientSession:
        """A session whose requests are calls of `exchange`, below its workflow; close it with the workflow."""
        return ClientSession(
            connector=self._connector,
            connector_owner=False,
            cookie_jar=DummyCookieJar(),
            timeout=TIMEOUT,
            trace_configs=[_recording(exchange)],
        )


def _recording(exchange: Exchange) -> TraceConfig:
    """Writes each request of a session on the record of `exchange`."""

    async def started(_: ClientSession, context: SimpleNamespace, sent: aiohttp.TraceRequestStartParams) -> None:
        call = context.call = UpstreamCall(
            PROVIDER,
            sent.method,
            sent.url.raw_path,  # a query may hold secrets
            new_span_id(exchange.trace),
            step=sent.url.host,
            parent_span_id=exchange.workflow_span_id,
            server=sent.url.host or "",
            port=sent.url.port or 0,
        )
        exchange.calls.append(call)
        for name, value in outgoing(exchange.trace, call.span_id):
            sent.headers[name.decode()] = value.decode()

    async def answered(_: ClientSession, context: SimpleNamespace, got: aiohttp.TraceRequestEndParams) -> None:
        call, content = context.call, got.response.content
        call.status = got.response.status
        call.head = call.ended = monotonic_ns()

        def ended() -> None:
            call.ended, call.bytes_received = monotonic_ns(), content.total_bytes

        content.on_eof(ended)

    async def failed(_: ClientSession, context: SimpleNamespace, met: aiohttp.TraceRequestExceptionParams) -> None:
        call, error = context.call, met.exception
        call.ended = monotonic_ns()
        if isinstance(error, asyncio.CancelledError):
            call.outcome = Outcome.CLIENT_GONE
        else:
            call.failed(not_connected(PROVIDER, error) if isinstance(error, Exception) else UpstreamUnreachable())

    tracing = TraceConfig()
    tracing.on_request_start.append(started)
    tracing.on_request_end.append(answered)
    tracing.on_request_exception.append(failed)
    return tracing

"""The session transport: aiohttp's `ClientSession` as it comes, where it keeps the promises, and ours where not.

Slower than the direct transport, and made of what all of aiohttp's users run: its way of connecting, its writer of
bodies, its reader of responses, its responses' life. What it would do by itself is switched off: redirects, cookies,
decompression, proxies and credentials from the environment, fields of its own, the limit of 100 connections, a total
time, and sending a request again (its errors become ours before it sees them).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from time import monotonic_ns
from types import TracebackType
from typing import TypeVar

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gateway.errors import (
    GatewayError,
    IdleTimeout,
    UpstreamError,
    UpstreamFailure,
    UpstreamTimeout,
    UpstreamTruncated,
)
from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream import heads
from gateway.upstream.disconnected import disconnected, may_be_sent_again
from gateway.upstream.failures import malformed, not_connected, unreadable
from gateway.upstream.pool import Pool
from gateway.upstream.protocol import UpstreamProtocol
from gateway.upstream.session_request import HeldResponse, Upload, VerbatimRequest
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Incoming, Outgoing, Sink
from gateway.wire.headers import NO_FIELDS, layout_of

_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError, asyncio.IncompleteReadError)

T = TypeVar("T")


class SessionTransport:
    """Connections to one provider. Make it, use it and close it within one running loop.

    `pool` is one that another transport uses too; without it there is one of `pool_size` connections.
    """

    def __init__(self, origin: URL, timeouts: Timeouts, pool_size: int, pool: Pool | None = None) -> None:
        self.pool = pool or Pool(pool_size, idle=timeouts.pool_idle)
        self.origin = origin.origin()
        self.timeouts = timeouts
        self.session = ClientSession(
            connector=self.pool,
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect),
            request_class=VerbatimRequest,
            response_class=HeldResponse,
        )

    def send(self, request: Outgoing, call: UpstreamCall) -> "SessionExchange":
        return SessionExchange(self, request, call)

    async def close(self) -> None:
        await self.session.close()

    @property
    def in_use(self) -> int:
        return self.pool.in_use

    @property
    def idle(self) -> int:
        return self.pool.idle

    @property
    def waiting(self) -> int:
        return self.pool.waiting


class SessionExchange:
    """One request and its response; the `async with` block holds the connection."""

    def __init__(self, transport: SessionTransport, request: Outgoing, call: UpstreamCall) -> None:
        self._transport = transport
        self._request = request
        self._call = call
        self._upload = self._body_to_send()
        self._sent: VerbatimRequest | None = None
        self._protocol: UpstreamProtocol | None = None
        self._wire: asyncio.Transport | None = None
        self._response: ClientResponse | None = None
        self._read = 0  # bytes
        self._due: float | None = None  # in the loop's time, what is waited for until the first byte of a body is here
        self._limit: asyncio.Timeout | None = None  # while that is waited for
        self._overdue: GatewayError = UpstreamTimeout()
        self.status = 0
        self.reason = ""
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        self.values: Sequence[bytes] = ()
        self.layout = NO_FIELDS

    async def __aenter__(self) -> Incoming:
        pool = self._transport.pool
        self._began, self._pool_was_full = monotonic_ns(), pool.in_use >= pool.limit
        try:
            requested = self._transport.session.request(
                self._request.method,
                self._transport.origin,
                data=self._upload,
                allow_redirects=False,
                middlewares=(self._send,),
            )
            self._response = await self._in_time(requested)
            self._accept(self._response)
        except BaseException:
            await self._leave(clean=False)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        content = self._content
        await self._leave(clean=content.is_eof() and content.exception() is None)

    @property
    def ready(self) -> bool:
        return self._content.is_eof() or self._content.total_bytes > self._read

    def whole(self) -> None:
        """Never known here before it was read: what would be saved counts on the direct road only."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; each read waits until the last chunk was taken."""
        content, name, idle = self._content, self._call.provider, self._transport.timeouts.idle
        while True:
            try:
                if self._read:
                    async with asyncio.timeout(idle):
                        chunk = await content.readany()
                else:
                    chunk = await self._in_time(content.readany())
            except TimeoutError as error:
                raise IdleTimeout(f"{name} fell silent in the middle of its response.") from error
            except _BROKEN as error:
                broken_off = UpstreamTruncated(f"{name} broke off in the middle of its response.")
                raise self._failure_of_ours or broken_off from error
            if not chunk:
                return
            self._read += len(chunk)
            yield chunk

    async def hand_over(self, sink: Sink, tap: Tap) -> None:
        """The body to `sink`, chunk by chunk."""
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                if tap.first is None:
                    tap.first = monotonic_ns()
                has_room = sink.take(chunk)
                tap.hear(chunk)
                if not has_room:
                    await sink.taken()

    def _body_to_send(self) -> Upload | None:
        body, timeouts = self._request.body, self._transport.timeouts
        if body is None or isinstance(body, bytes):
            self._call.bytes_sent = len(body or b"")
            return None
        text = f"{self._call.provider} stopped taking the request body."
        stuck = UpstreamTimeout(text, failure=UpstreamFailure.SEND_TIMEOUT)

        def giving(size: int) -> None:
            self._call.bytes_sent += size
            self._expect_within(timeouts.idle, stuck)

        return Upload(
            body,
            self._request.length,
            on_taking=lambda: self._expect_within(None),
            on_giving=giving,
            on_end=self._request_is_out,
        )

    async def _send(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """What the session sends the request through. Its errors become ours here, where it cannot try again yet."""
        assert isinstance(request, VerbatimRequest)
        request.outgoing, request.connected = self._request, self._take_over
        self._sent = request
        try:
            response = await handler(request)
        except _BROKEN as error:
            if not self._may_be_sent_again(error):
                raise self._failed(error) from error
            response = await self._send_again(request, handler)
        assert self._protocol is not None
        self._protocol.await_body(response.content)
        return response

    def _may_be_sent_again(self, error: Exception) -> bool:
        if self._protocol is None or isinstance(error, aiohttp.ClientResponseError):
            return False
        return may_be_sent_again(self._request, self._call, self._protocol)

    async def _send_again(self, request: VerbatimRequest, handler: ClientHandlerType) -> ClientResponse:
        request.wants_new_connection = True
        self._call.attempt += 1
        self._protocol, self._wire = None, None
        try:
            return await handler(request)
        except _BROKEN as error:
            raise self._failed(error) from error

    def _take_over(self, connection: Connection) -> UpstreamProtocol:
        """The connection is this exchange's from here on."""
        protocol, call = connection.protocol, self._call
        assert isinstance(protocol, UpstreamProtocol)
        call.reused_connection = protocol.used
        call.connected = monotonic_ns()
        call.waited_for_pool_ns = call.connected - self._began if self._pool_was_full else 0
        protocol.expect_parsed(self._request.method)
        self._protocol, self._wire = protocol, connection.transport
        if self._upload is None:
            self._request_is_out()
        return protocol

    def _request_is_out(self) -> None:
        text = f"{self._call.provider} did not begin to answer within its first-byte timeout."
        late = UpstreamTimeout(text, failure=UpstreamFailure.FIRST_BYTE_TIMEOUT)
        self._expect_within(self._transport.timeouts.first_byte, late)

    def _expect_within(self, seconds: float | None, error: GatewayError | None = None) -> None:
        limit = self._limit
        if limit is not None and limit.expired():
            return
        self._due = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._overdue = error or self._overdue
        if limit is not None:
            limit.reschedule(self._due)

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        """The result of `waiting`. Raises what `_expect_within` was given last if that time runs out first."""
        limit = asyncio.timeout_at(self._due)
        try:
            async with limit:
                self._limit = limit
                return await waiting
        except TimeoutError as error:
            if limit.expired():
                raise self._overdue from error
            raise
        finally:
            self._limit = None

    def _accept(self, response: ClientResponse) -> None:
        name = self._call.provider
        if response.status == 101:
            raise UpstreamError(f"{name} switched protocols unasked.", failure=UpstreamFailure.UNEXPECTED_UPGRADE)
        if response.status < 100:  # the parser is content with any digits
            raise malformed(name, UpstreamFailure.MALFORMED_STATUS_LINE)
        heads.refuse_ambiguous(name, response)
        self._content = response.content
        self.status, self.reason, self.fields = response.status, response.reason or "", response.raw_headers
        self.layout = layout_of(response.raw_headers)
        self.values = [value for _, value in response.raw_headers]
        self._call.head = monotonic_ns()

    @property
    def _failure_of_ours(self) -> Exception | None:
        return None if self._upload is None else self._upload.failure

    def _failed(self, error: Exception) -> Exception:
        name = self._call.provider
        if self._failure_of_ours is not None:
            return self._failure_of_ours
        if self._wire is None:
            return not_connected(name, error, pool_was_full=self._pool_was_full)
        if isinstance(error, aiohttp.ClientResponseError):
            return unreadable(name, error.__cause__)
        assert self._protocol is not None
        upload = None if self._sent is None else self._sent.upload
        return disconnected(self._call, self._protocol, is_sent=upload is None or _succeeded(upload))

    async def _leave(self, *, clean: bool) -> None:
        upload = None if self._sent is None else self._sent.upload
        clean = clean and (upload is None or _succeeded(upload))
        if clean and self._response is not None and self._protocol is not None:
            self._protocol.rest()
            at = self.layout.keep_alive
            if at is not None:
                self._transport.pool.learn(self.values[at])
            self._response.release()
            return
        # `close` would wait until the provider has taken all that was written.
        if self._wire is not None:
            self._wire.abort()
        if self._response is not None:
            self._response.close()
        if upload is not None:
            upload.cancel()
            await asyncio.wait((upload,))
            _succeeded(upload)  # nobody else looks at its exception


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None

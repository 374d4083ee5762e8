"""The direct transport: aiohttp's connector, protocol and C parser, without `ClientSession`.

`ClientSession` normalises targets (a bare trailing `?` is lost), re-encodes fields that are no UTF-8, and costs more
than all the rest of a request together. Here the head goes out verbatim, in one write with the body.

A connection whose response ended in doubt is closed and never used again.

`tests/unit/upstream/test_names_of_aiohttp.py` lists what this file and its neighbours lean on in aiohttp, and fails by
name when it moves.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from time import monotonic_ns
from types import TracebackType
from typing import cast

import aiohttp
from aiohttp import ClientTimeout
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from gateway.errors import GatewayError, UpstreamError, UpstreamFailure, UpstreamTruncated
from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream import heads
from gateway.upstream.disconnected import disconnected, may_be_sent_again
from gateway.upstream.failures import malformed, not_connected, unreadable
from gateway.upstream.known_response import KnownResponse
from gateway.upstream.pool import Pool
from gateway.upstream.protocol import Response, UpstreamProtocol
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Incoming, Outgoing, Sink
from gateway.upstream.watch import Watch
from gateway.wire.headers import NO_FIELDS, layout_of

INTERIM_RESPONSES = 16
_BROKEN = (aiohttp.ClientError, HttpProcessingError, ConnectionError, asyncio.IncompleteReadError)


class DirectTransport:
    """Connections to one provider. Make it, use it and close it within one running loop.

    `pool` is one that another transport uses too; without it there is one of `pool_size` connections.
    """

    def __init__(self, origin: URL, timeouts: Timeouts, pool_size: int, pool: Pool | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.pool = pool or Pool(pool_size, idle=timeouts.pool_idle)
        self._destination = ClientRequest("GET", origin.origin(), loop=loop)
        self._connecting = ClientTimeout(total=None, connect=timeouts.connect, sock_connect=timeouts.connect)
        self.watch = Watch(loop, timeouts)

    def send(self, request: Outgoing, call: UpstreamCall) -> "DirectExchange":
        return DirectExchange(self, request, call)

    async def close(self) -> None:
        self.watch.close()
        await self.pool.close()

    @property
    def in_use(self) -> int:
        return self.pool.in_use

    @property
    def idle(self) -> int:
        return self.pool.idle

    @property
    def waiting(self) -> int:
        return self.pool.waiting

    async def connection(self, call: UpstreamCall, *, new: bool = False) -> Connection:
        """A connection nobody else uses and that has nothing to say; a `new` one has never been used.

        Raises UpstreamUnreachable, UpstreamTimeout.
        """
        pool = self.pool
        began, full = monotonic_ns(), pool.in_use >= pool.limit
        connect = pool.connect_anew if new else pool.connect
        try:
            connection = await connect(self._destination, [], self._connecting)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise not_connected(call.provider, error, pool_was_full=full) from error
        call.reused_connection = cast(UpstreamProtocol, connection._protocol).used
        call.connected = monotonic_ns()
        call.waited_for_pool_ns = call.connected - began if full else 0
        return connection


class DirectExchange:
    """One request and its response; the `async with` block holds the connection."""

    __slots__ = (
        "_body",
        "_call",
        "_connection",
        "_names",
        "_protocol",
        "_request",
        "_transport",
        "_upload",
        "_was_whole",
        "layout",
        "reason",
        "status",
        "values",
    )

    def __init__(self, transport: DirectTransport, request: Outgoing, call: UpstreamCall) -> None:
        self._transport = transport
        self._request = request
        self._call = call
        self._upload: asyncio.Task[None] | None = None
        self._was_whole = False
        self._body: bytes | None = None  # if it came with the head, all in one
        self.status = 0
        self.reason = ""
        self._names: Sequence[bytes] = ()
        self.values: Sequence[bytes] = ()
        self.layout = NO_FIELDS

    async def __aenter__(self) -> Incoming:
        transport, call = self._transport, self._call
        connection = transport.pool.rested()
        if connection is not None:
            call.reused_connection, call.connected = True, monotonic_ns()
        else:
            connection = await transport.connection(call)
        while True:
            self._connection, protocol = connection, connection._protocol
            assert isinstance(protocol, UpstreamProtocol)
            self._protocol = protocol
            protocol.expect(self._request.method)
            transport.watch.add(protocol)
            try:
                self._write()
                message, body = await (protocol.read_head() if self._upload is None else self._next_head())
                if type(message) is KnownResponse:
                    known, self._names, self.values = message.known, message.names, message.values
                    self.status, self.reason, self.layout = known.code, known.reason, known.layout
                    self._body = message.body
                    if self._body is None:
                        protocol.await_body()
                else:
                    protocol.await_body(await self._judge(message, body))
                call.head = monotonic_ns()
                return self
            except _BROKEN as error:
                await self._leave(clean=False)
                if isinstance(error, HttpProcessingError) or not may_be_sent_again(self._request, call, protocol):
                    raise self._failed(error) from error
            except BaseException:
                await self._leave(clean=False)
                raise
            call.attempt += 1
            connection = await transport.connection(call, new=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clean = self._was_whole or self._has_ended()
        if clean and self._upload is None:
            self._transport.watch.protocols.discard(self._protocol)
            self._rest()
        else:
            await self._leave(clean=clean)

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(zip(self._names, self.values, strict=True))

    @property
    def ready(self) -> bool:
        body = self._protocol.body
        return self._body is not None or body.is_eof() or bool(body._buffer)

    def whole(self) -> bytes | None:
        if self._body is not None:
            return self._body
        if not self._has_ended() or self._protocol.is_held_back:
            return None
        self._was_whole = True
        body = self._protocol.body
        if body is EMPTY_PAYLOAD:
            return b""
        pieces = body._buffer
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _has_ended(self) -> bool:
        body = self._protocol.body
        return body.is_eof() and body.exception() is None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes; each read waits until the last chunk was taken."""
        body = self._protocol.reader()
        if self._body:
            yield self._body
        while True:
            try:
                chunk = await body.readany()
            except _BROKEN as error:
                raise self._truncated() from error
            if not chunk:
                return
            yield chunk

    async def hand_over(self, sink: Sink, tap: Tap) -> None:
        """The body to `sink`, in the moment it arrives."""
        if self._body:
            tap.first = monotonic_ns()
            has_room = sink.take(self._body)
            tap.hear(self._body)
            if not has_room:
                await sink.taken()
        while not await self._hand_over(sink, tap):
            await sink.taken()

    async def _hand_over(self, sink: Sink, tap: Tap) -> bool:
        try:
            return await self._protocol.hand_over(sink, tap)
        except _BROKEN as error:
            raise self._truncated() from error

    def _truncated(self) -> GatewayError:
        text = f"{self._call.provider} broke off in the middle of its response."
        return self._protocol.failure or UpstreamTruncated(text)

    def _failed(self, error: Exception) -> GatewayError:
        """The failure, where there is no answer."""
        if self._protocol.failure is not None:
            return self._protocol.failure
        if isinstance(error, HttpProcessingError):
            return unreadable(self._call.provider, error)
        is_sent = self._upload is None or _succeeded(self._upload)
        return disconnected(self._call, self._protocol, is_sent=is_sent)

    def _write(self) -> None:
        protocol, body = self._protocol, self._request.body
        if protocol.transport is None:
            raise aiohttp.ClientConnectionResetError("Connection lost")
        heads.write(protocol.transport, self._request)
        if body is None or isinstance(body, bytes):
            self._call.bytes_sent = 0 if body is None else len(body)
            protocol.await_head()
        else:
            self._upload = asyncio.create_task(self._send_body(body, chunked=self._request.length is None))

    async def _send_body(self, body: AsyncIterator[bytes], *, chunked: bool) -> None:
        protocol, sent = self._protocol, 0
        async for chunk in body:
            if not chunk:
                continue
            if protocol.transport is None:
                raise aiohttp.ClientConnectionResetError("Connection lost")
            protocol.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            sent += len(chunk)
            self._call.bytes_sent = sent
            protocol.await_drain()
            await protocol._drain_helper()
            protocol.await_nothing()
        if chunked and protocol.transport is not None:
            protocol.transport.write(b"0\r\n\r\n")
        elif sent != self._request.length:
            raise UpstreamError("The request body ended early.")
        protocol.await_head() if protocol.body is EMPTY_PAYLOAD else protocol.await_body()

    async def _judge(self, message: RawResponseMessage | KnownResponse, body: StreamReader) -> StreamReader:
        """Look closely at a head, and take it over; the one that follows if it is interim. Returns its body."""
        for _ in range(INTERIM_RESPONSES):
            assert isinstance(message, RawResponseMessage)  # a known one comes first, or not at all
            if message.code >= 200:
                heads.refuse_ambiguous(self._call.provider, message)
                fields = message.raw_headers
                self.status, self.reason, self.layout = message.code, message.reason, layout_of(fields)
                self._names, self.values = [name for name, _ in fields], [value for _, value in fields]
                return body
            if message.code < 100:  # the parser is content with any digits
                raise malformed(self._call.provider, UpstreamFailure.MALFORMED_STATUS_LINE)
            if message.code == 101:
                text = f"{self._call.provider} switched protocols unasked."
                raise UpstreamError(text, failure=UpstreamFailure.UNEXPECTED_UPGRADE)
            message, body = await self._next_head()
        text = f"{self._call.provider} sent interim responses without end."
        raise UpstreamError(text, failure=UpstreamFailure.INTERIM_RESPONSES)

    async def _next_head(self) -> Response:
        if self._upload is None or self._upload.done():
            return await self._protocol.read_head()
        # The head may come before the upload is done, and the upload may fail while nothing comes.
        head = asyncio.ensure_future(self._protocol.read_head())
        try:
            await asyncio.wait((head, self._upload), return_when=asyncio.FIRST_COMPLETED)
            if not head.done():
                error = self._upload.exception()
                if error is not None and not isinstance(error, _BROKEN):
                    raise error
            return await head
        finally:
            head.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await head

    async def _leave(self, *, clean: bool) -> None:
        protocol = self._protocol
        self._transport.watch.protocols.discard(protocol)
        if self._upload is not None:
            clean = clean and _succeeded(self._upload)
            self._upload.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._upload
        if clean:
            self._rest()
        else:
            self._break_off()

    def _rest(self) -> None:
        """The exchange is over; the connection may carry another one, unless the provider said that it may not."""
        protocol = self._protocol
        if protocol.failure is not None:
            self._break_off()
        elif protocol.must_close():
            self._connection.close()
        else:
            protocol.rest()
            pool, at = self._transport.pool, self.layout.keep_alive
            if at is not None:
                pool.learn(self.values[at])
            pool.rest(self._connection)

    def _break_off(self) -> None:
        # `close` would wait until the provider has taken all that was written.
        if self._protocol.transport is not None:
            self._protocol.transport.abort()
        self._connection.close()


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None

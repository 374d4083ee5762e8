"""The streaming core: a body in, a response out, and what happens when either side breaks off.

Rule: once the head is out nothing is raised past here, and a response that is not all there never ends cleanly. Before
that, an error can still be answered as such.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from time import monotonic_ns
from typing import Any, Protocol

from aiohttp import hdrs, web

from gateway.downstream.guarded_request import GuardedRequest, has_begun
from gateway.downstream.middlewares.errors import as_gateway_error
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.state import EXCHANGE, STARTED, ErrorFrame
from gateway.errors import Drained
from gateway.telemetry.exchange import Exchange
from gateway.wire import sse

LAST_WORDS_SECONDS = 5.0


class Endable(Protocol):
    """A body that may be complete before its framing ends."""

    @property
    def has_ended(self) -> bool: ...


class Relayable(Endable, Protocol):
    """A body that gives itself to a sink."""

    async def hand_over(self, sink: "Outflow") -> None: ...


async def stream(
    request: web.Request,
    response: web.StreamResponse,
    frames: AsyncGenerator[bytes, None],
    error_frame: ErrorFrame,
    source: Endable | None = None,
) -> web.StreamResponse:
    """Send `frames`, made of `source`, as the body. A slow client slows the upstream: each read waits for a write."""
    outflow = await _opened(request, response, flush_head=True)
    return await _until_the_end(outflow, outflow.send_all(frames), error_frame, source)


async def relay(
    request: web.Request, response: RelayedResponse, body: Relayable, error_frame: ErrorFrame, *, flush_head: bool
) -> web.StreamResponse:
    """Send `body` as it arrives. A slow client slows the upstream.

    The head goes ahead at once where `flush_head` is set, else with the first piece, in one write. What fails before
    anything was written is raised.
    """
    outflow = await _opened(request, response, flush_head=flush_head)
    return await _until_the_end(outflow, body.hand_over(outflow), error_frame, body)


async def deliver(request: web.Request, response: RelayedResponse, body: bytes) -> web.StreamResponse:
    """Send a `body` that is here to its end, in one write with the head."""
    return _delivered(request, response, body, await response.deliver(request, body))


def deliver_at_once(request: GuardedRequest, response: RelayedResponse, body: bytes) -> web.StreamResponse:
    """The same, where `request.can_sign_at_once()`."""
    return _delivered(request, response, body, response.deliver_at_once(request, body))


def _delivered(request: web.Request, response: RelayedResponse, body: bytes, is_out: bool) -> web.StreamResponse:
    exchange = request._state[EXCHANGE]
    exchange.status = response._status
    if not is_out:
        exchange.client_left()
        return response
    if body:
        exchange.first_byte = monotonic_ns()
        exchange.bytes_out = len(body)
    exchange.delivered = True
    return response


async def _opened(request: web.Request, response: web.StreamResponse, *, flush_head: bool) -> "Outflow":
    exchange = request[EXCHANGE]
    await response.prepare(request)
    request[STARTED] = response
    exchange.status = response.status
    if flush_head and isinstance(response, RelayedResponse):
        await response.flush_head()
    return Outflow(request, response, exchange)


async def _until_the_end(
    outflow: "Outflow", sending: Coroutine[Any, Any, None], error_frame: ErrorFrame, source: Endable | None
) -> web.StreamResponse:
    exchange, response = outflow.exchange, outflow.response
    try:
        await sending
        await response.write_eof()
        exchange.delivered = True
    except ConnectionResetError:  # upstream failures arrive as GatewayErrors; this is the client
        outflow.client_left(source)
    except asyncio.CancelledError:
        if exchange.error != Drained.code:
            outflow.client_left(source)
            raise
        if outflow.withdraw():
            raise
        _stop_cancelling()
        await outflow.break_off(error_frame(Drained()))
    except Exception as exc:
        error = as_gateway_error(exc)
        if outflow.withdraw():
            raise error from exc
        exchange.failed(error)
        await outflow.break_off(error_frame(error))
    finally:
        exchange.bytes_out += outflow.taken_bytes
    return response


class Outflow:
    """A body on its way to a client, and how far it has come. What a relayed one is handed over to."""

    __slots__ = (
        "_before",
        "_chunked",
        "_is_short",
        "_last",
        "_protocol",
        "_request",
        "exchange",
        "response",
        "taken_bytes",
    )

    def __init__(self, request: web.Request, response: web.StreamResponse, exchange: Exchange) -> None:
        self._request = request
        self._protocol = request.protocol
        self.response = response
        self.exchange = exchange
        self._chunked: asyncio.Transport | None = None  # once the head is out, and if all after it is chunks
        self._last = self._before = b""
        self._is_short = False  # a piece came that the client did not get
        self.taken_bytes = 0  # by `take`; the record is told at the end

    async def send_all(self, frames: AsyncGenerator[bytes, None]) -> None:
        """Write one frame after the other, each when the client has room for it. Closes `frames`."""
        exchange, response, protocol = self.exchange, self.response, self._protocol
        async with aclosing(frames):
            async for frame in frames:
                if protocol.writing_paused:
                    began = monotonic_ns()
                    await response.write(frame)
                    exchange.waited_for_client_ns += monotonic_ns() - began
                else:
                    await response.write(frame)
                if exchange.first_byte is None:
                    exchange.first_byte = monotonic_ns()
                exchange.bytes_out += len(frame)
                self._before, self._last = self._last, frame

    def take(self, piece: bytes, framed: bytes = b"") -> bool:
        """Write `piece` now, `framed` where that can be; whether the client has room for more."""
        transport = self._chunked
        if transport is None:
            if not self._put(piece):
                self._is_short = True
                return False
        elif transport.is_closing():
            self._is_short = True
            return False
        else:
            transport.write(framed or b"%x\r\n%b\r\n" % (len(piece), piece))
        self.taken_bytes += len(piece)
        self._before, self._last = self._last, piece
        return not self._protocol._paused

    def _put(self, piece: bytes) -> bool:
        """Write `piece` as the response frames it; if that is in chunks, the next one needs but its own frame."""
        response = self.response
        if not isinstance(response, RelayedResponse):
            raise TypeError("Only a relayed response is handed a body")
        if not response.put(piece):
            return False
        if self.exchange.first_byte is None:
            self.exchange.first_byte = monotonic_ns()
        if response.chunked:
            self._chunked = self._request.transport
        return True

    async def taken(self) -> None:
        """Wait until the client has room. Raises ConnectionResetError if it has left."""
        began = monotonic_ns()
        try:
            await self._protocol._drain_helper()
        finally:
            self.exchange.waited_for_client_ns += monotonic_ns() - began
        if self._request.transport is None or self._request.transport.is_closing():
            raise ConnectionResetError("The client has left")

    def client_left(self, source: Endable | None) -> None:
        """The client is gone; what it had may have been all that `source` is for."""
        if source is not None and not self._is_short and not self._protocol.writing_paused:
            self.exchange.delivered = source.has_ended
        self.exchange.client_left()

    def withdraw(self) -> bool:
        """Let another response take the place of this one, if nothing of it is out."""
        request, response = self._request, self.response
        if not isinstance(response, RelayedResponse) or has_begun(request):
            return False
        response.withdraw(request)
        del request[STARTED]
        return True

    async def break_off(self, words: bytes) -> None:
        """Say `words` where the body stopped, and end the connection so that the body is visibly incomplete."""
        words = last_words(self.response, self._before + self._last, words)
        if words:
            with suppress(ConnectionResetError):
                await self.response.write(words)
        close_visibly(self._request, self.response)


def last_words(response: web.StreamResponse, written: bytes, frame: bytes) -> bytes:
    """`frame` by itself after what was `written`: an event stream may have stopped anywhere, lines never in one."""
    if not frame or not written or written.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        return frame
    if not response.headers.get("Content-Type", "").lower().startswith(sse.CONTENT_TYPE):
        return frame
    # After a CR the first line feed may still belong to it.
    return b"\n" + frame if written.endswith(b"\n") else b"\n\n" + frame


def close_visibly(request: web.Request, response: web.StreamResponse) -> None:
    """End the connection so that the client knows the response is incomplete (RFC 9112, section 8)."""
    transport = request.transport
    if transport is None:
        return
    if hdrs.TRANSFER_ENCODING not in response.headers and response.content_length is None:
        # The end of the connection would be the end of the body: only a reset says otherwise.
        reset = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    transport.close()  # what was written still goes out, but no last chunk
    # A client that takes nothing must not keep the connection for ever.
    asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, transport.abort)


def _stop_cancelling() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()

"""The streaming core: frames in, a response out, and what happens when either side breaks off.

Rule: once the head is out nothing is raised past here, and a response that is not all there never ends cleanly.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic_ns

from aiohttp import web

from gateway.downstream.middlewares.errors import as_gateway_error
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.state import EXCHANGE, STARTED, ErrorFrame
from gateway.errors import Drained
from gateway.wire import sse

LAST_WORDS_SECONDS = 5.0


async def stream(
    request: web.Request,
    response: web.StreamResponse,
    frames: AsyncIterator[bytes],
    error_frame: ErrorFrame,
    *,
    flush_head: bool = True,
) -> web.StreamResponse:
    """Send `frames` as the body. A slow client slows the upstream: each read waits for a write.

    The head goes ahead at once where `flush_head` is set, else with the first frame, in one write.
    """
    exchange, protocol = request[EXCHANGE], request.protocol
    await response.prepare(request)
    request[STARTED] = response
    exchange.status = response.status
    if flush_head and isinstance(response, RelayedResponse):
        await response.flush_head()
    last = before = b""
    try:
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
            before, last = last, frame
        await response.write_eof()
    except ConnectionResetError:  # upstream failures arrive as GatewayErrors; this is the client
        exchange.client_left()
    except asyncio.CancelledError:
        if exchange.error != Drained.code:
            exchange.client_left()
            raise
        _stop_cancelling()
        await _break_off(request, response, last_words(response, before + last, error_frame(Drained())))
    except Exception as exc:  # the status line is out: nothing may be raised past here
        error = as_gateway_error(exc)
        exchange.failed(error)
        await _break_off(request, response, last_words(response, before + last, error_frame(error)))
    return response


def last_words(response: web.StreamResponse, written: bytes, frame: bytes) -> bytes:
    """`frame` by itself after what was `written`: an event stream may have stopped anywhere, lines never in one."""
    if not frame or not written or written.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        return frame
    if not response.headers.get("Content-Type", "").lower().startswith(sse.CONTENT_TYPE):
        return frame
    # After a CR the first line feed may still belong to it.
    return b"\n" + frame if written.endswith(b"\n") else b"\n\n" + frame


async def _break_off(request: web.Request, response: web.StreamResponse, words: bytes) -> None:
    if words:
        with suppress(ConnectionResetError):
            await response.write(words)
    close_visibly(request, response)


def close_visibly(request: web.Request, response: web.StreamResponse) -> None:
    """End the connection so that the client knows the response is incomplete (RFC 9112, section 8)."""
    transport = request.transport
    if transport is None:
        return
    if not response.chunked and response.content_length is None:
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

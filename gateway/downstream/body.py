"""Reading what a client sends: whole and bounded, or as a stream that waits for whoever takes it.

The size is checked before anything else happens: by Content-Length before a byte is read, and while reading where
there is none. `100 Continue` goes out when the body is first read, so a refusal costs the client no upload.
"""

from collections.abc import AsyncIterator
from time import monotonic_ns

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_exceptions import HTTPException

from gateway.downstream.guarded_request import GuardedRequest
from gateway.downstream.state import EXCHANGE, HELD_BODY, STORED_BODY, TOLD
from gateway.errors import MalformedRequest, PayloadTooLarge

WHOLE_WHEN_SMALLER = 10 << 20
"""A body without Content-Length is read whole first where its limit allows, so that a refusal comes before the call."""


def check_length(request: web.BaseRequest, limit: int) -> None:
    """Raise PayloadTooLarge if Content-Length exceeds `limit` bytes."""
    length = request.content_length
    if length is not None and length > limit:
        raise PayloadTooLarge(f"The request body has {length} bytes; at most {limit} are taken.")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge over `limit` bytes, MalformedRequest if its framing breaks.

    Overloaded if there is no memory for it now.
    """
    stored = stored_body(request)
    return await _read_sent(request, limit) if stored is None else stored


async def _read_sent(request: web.Request, limit: int) -> bytes:
    body = request.take_body() if type(request) is GuardedRequest else None
    if body is None:
        content = request._payload
        if content is EMPTY_PAYLOAD or (content._eof and content._exception is None):  # it came with the head
            body = _taken(content)
    if body is not None:
        return _counted(request, body, limit)
    began = monotonic_ns()
    parts = await _read_parts(request, limit)
    request[EXCHANGE].waited_for_body_ns += monotonic_ns() - began
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _read_parts(request: web.Request, limit: int) -> list[bytes]:
    check_length(request, limit)
    held, parts, size = request._state.get(HELD_BODY), [], 0
    if held is not None:
        held.grow_to(request.content_length or 0)
    async for chunk in body_chunks(request, limit):
        parts.append(chunk)
        size += len(chunk)
        if held is not None:
            held.grow_to(size)
    return parts


def at_hand(request: web.Request, limit: int) -> bytes | None:
    """The body, if it came with the head, and is not empty; None: it is to be read. Raises PayloadTooLarge."""
    body = request.take_body() if type(request) is GuardedRequest else None
    return _counted(request, body, limit) if body else None


def _counted(request: web.Request, body: bytes, limit: int) -> bytes:
    request._state[EXCHANGE].bytes_in += len(body)
    if len(body) > limit:
        raise PayloadTooLarge(f"The request body is larger than the {limit} bytes that are taken.")
    return body


def stored_body(request: web.Request) -> bytes | None:
    """The body that a browser's ticket was given for; it comes with a GET."""
    return request._state.get(STORED_BODY) if request._method == "GET" else None


def _taken(content: StreamReader) -> bytes:
    """All of a body that is here to its end."""
    if content is EMPTY_PAYLOAD or content._protocol._reading_paused:
        return content.read_nowait()
    pieces = content._buffer
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    pieces.clear()
    return body


async def body_chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; the client sends on when a chunk was taken. Raises like `read_body`."""
    check_length(request, limit)
    exchange, content = request[EXCHANGE], request.content
    while True:
        try:
            chunk = await content.readany()
        except (web.RequestPayloadError, HTTPException) as error:
            raise MalformedRequest("The request body is not framed as its head says.") from error
        if not chunk:
            return
        exchange.bytes_in += len(chunk)
        if exchange.bytes_in > limit:
            raise PayloadTooLarge(f"The request body is larger than the {limit} bytes that are taken.")
        yield chunk


async def body_for_relay(
    request: web.Request, *, limit: int, upload_limit: int
) -> tuple[bytes | AsyncIterator[bytes] | None, int | None]:
    """The body to send on and its length: JSON in whole, anything else as a stream, None if there is none."""
    stored = stored_body(request)
    if stored is not None:
        return stored, len(stored)
    if not request.body_exists:
        return None, None
    if request._state[TOLD].head.is_json:
        body = await _read_sent(request, limit)
        return body, len(body)
    length = request.content_length
    if length is None and upload_limit <= WHOLE_WHEN_SMALLER:
        body = await _read_sent(request, upload_limit)
        return body, len(body)
    check_length(request, upload_limit)
    return body_chunks(request, upload_limit), length

"""How an answer leaves: as one document or as a stream, paced, and broken in the way its behaviour asks for.

The API modules only say what the bytes are. They know nothing of pauses and faults, and this module nothing of APIs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn, Protocol

import orjson
from aiohttp import web

from gateway.mock_upstream.answers import Json
from gateway.mock_upstream.behaviour import Behaviour
from gateway.mock_upstream.journal import ARRIVAL, Arrival

EVENT_STREAM = "text/event-stream"


class Part(Enum):
    """What a frame is to the stream it stands in."""

    FRAME = "frame"
    DELTA = "delta"
    MARKER = "marker"
    """What tells a client that the stream is whole: `[DONE]`, `message_stop`, ..."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes that belong together in a stream, an event for example."""

    data: bytes
    part: Part = Part.FRAME


class Reply(Protocol):
    """An answer in an API's shape, in both forms a client may ask for."""

    @property
    def content_type(self) -> str:
        """Of the stream."""
        ...

    def document(self) -> Json: ...
    def frames(self) -> Iterator[Frame]: ...
    def failure(self, status: int, message: str, before: int) -> bytes:
        """The bytes that tell of an error in mid-stream, with so many frames before them."""
        ...


class _Fault(Enum):
    CUT = "cut"
    STALL = "stall"
    ERROR = "error"


def event(data: Json, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


async def send(request: web.Request, reply: Reply, behaviour: Behaviour, streamed: bool) -> web.StreamResponse:
    """Answer with `reply`, as a stream if one was asked for."""
    if streamed and not behaviour.json:
        return await _send_stream(request, reply, behaviour)
    return await send_document(request, reply.document(), behaviour)


async def send_document(request: web.Request, document: object, behaviour: Behaviour) -> web.StreamResponse:
    """Answer with one JSON document."""
    body = orjson.dumps(document)
    if _document_fault(behaviour) is not None:
        return await send_bytes(request, "application/json", body, len(body), behaviour)
    return web.Response(body=body, content_type="application/json")


async def send_bytes(
    request: web.Request, content_type: str, pattern: bytes, size: int, behaviour: Behaviour
) -> web.StreamResponse:
    """Answer with `size` bytes, `pattern` over and over; with half of them if it is to be cut or to stall."""
    response = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(size)})
    fault = _document_fault(behaviour)
    left = size if fault is None else size // 2
    with _until_broken(request[ARRIVAL]):
        await response.prepare(request)
        while left > 0:
            await write(request, response, pattern[:left])
            left -= len(pattern)
            await asyncio.sleep(0)
        if fault is not None:
            await _break(request, fault)
        await response.write_eof()
    return response


async def _send_stream(request: web.Request, reply: Reply, behaviour: Behaviour) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": reply.content_type, "Cache-Control": "no-cache"})
    with _until_broken(request[ARRIVAL]):
        await response.prepare(request)
        deltas = 0
        for number, frame in enumerate(reply.frames()):
            # A fault after no delta at all comes late enough for the frames that open the stream to go out.
            fault = _stream_fault(behaviour, deltas) if deltas or frame.part is not Part.FRAME else None
            if fault is _Fault.ERROR:
                message = "The mock was asked to break off with an error."
                await write(request, response, reply.failure(500, message, number))
                break
            if fault is not None:
                await _break(request, fault)
            if frame.part is Part.DELTA:
                # A pause of nothing lets the others have their turn all the same.
                await asyncio.sleep(behaviour.pace if deltas else 0)
                deltas += 1
            if not (behaviour.unmarked and frame.part is Part.MARKER):
                for piece in _pieces(frame.data, behaviour.split):
                    await write(request, response, piece)
        await response.write_eof()
    return response


async def write(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send a part of the body. Raises ConnectionResetError when the client is gone."""
    await response.write(data)
    request[ARRIVAL].sent += len(data)


class _BrokenOff(Exception):
    """The mock itself broke the connection."""


@contextmanager
def _until_broken(arrival: Arrival) -> Iterator[None]:
    try:
        yield
    except _BrokenOff:
        pass
    except ConnectionResetError:
        arrival.left = True


async def _break(request: web.Request, fault: _Fault) -> NoReturn:
    """Break the connection off, or stay silent until the client does."""
    if request.transport is None:
        raise ConnectionResetError
    if fault is _Fault.STALL:
        await asyncio.Event().wait()  # ends when the handler is cancelled
    request.transport.close()  # what was written goes out, the last chunk does not
    raise _BrokenOff


def _document_fault(behaviour: Behaviour) -> _Fault | None:
    if behaviour.cut_after is not None:
        return _Fault.CUT
    return None if behaviour.stall_after is None else _Fault.STALL


def _stream_fault(behaviour: Behaviour, deltas: int) -> _Fault | None:
    """What goes wrong once `deltas` deltas are out."""
    for fault, after in (
        (_Fault.CUT, behaviour.cut_after),
        (_Fault.STALL, behaviour.stall_after),
        (_Fault.ERROR, behaviour.error_after),
    ):
        if after is not None and deltas >= after:
            return fault
    return None


def _pieces(data: bytes, size: int) -> Sequence[bytes]:
    """`data` as it is, or in pieces of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)] if size else (data,)

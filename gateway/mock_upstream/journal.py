"""What arrived at the mock, as it arrived: for tests that ask what a client or a gateway really sent.

Fields and targets are kept as they stood on the wire, credentials too: this is a mock, and a test wants to see which
key came. Bodies are not kept, only their length and digest. Never give it a key that is worth anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

KEPT = 500
CONTROL_PATHS = ("/mock/requests", "/mock/open")


@dataclass(slots=True)
class Arrival:
    """One request, and how far its answer got."""

    number: int
    method: str
    target: str
    """Path and query as sent, percent-encoding and all."""
    headers: list[tuple[str, str]]
    """In order, repeated, spelled as they were; bytes beyond ASCII as latin-1."""
    arrived: float = field(default_factory=time.time)
    body_length: int = 0
    """Bytes of the body that were read; all of it on the routes that answer 200."""
    ended: float | None = None
    status: int | None = None
    sent: int = 0
    """Bytes of the answer's body that were handed to the socket."""
    left: bool = False
    """The client was gone before the end."""
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def body_sha256(self) -> str:
        return str(self.digest.hexdigest())

    def document(self) -> dict[str, Any]:
        told = ("number", "method", "target", "headers", "body_length", "body_sha256", "arrived", "ended", "status")
        return {name: getattr(self, name) for name in (*told, "sent", "left")}


class Journal:
    """The last requests, the newest last, and those that are not answered yet."""

    def __init__(self) -> None:
        self._count = 0
        self._open = 0
        self._kept: deque[Arrival] = deque(maxlen=KEPT)

    @property
    def open(self) -> int:
        """How many requests are being answered now."""
        return self._open

    @property
    def arrivals(self) -> list[Arrival]:
        return list(self._kept)

    def opened(self, request: web.BaseRequest) -> Arrival:
        self._count += 1
        self._open += 1
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        arrival = Arrival(self._count, request.method, request.raw_path, headers)
        self._kept.append(arrival)
        return arrival

    def ended(self, arrival: Arrival) -> None:
        self._open -= 1
        arrival.ended = time.time()

    def clear(self) -> None:
        self._kept.clear()


JOURNAL = web.AppKey("JOURNAL", Journal)
ARRIVAL = web.RequestKey("ARRIVAL", Arrival)


@web.middleware
async def keep_journal(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write each request down, and how it ended."""
    if request.path in CONTROL_PATHS:
        return await handler(request)
    journal = request.app[JOURNAL]
    arrival = request[ARRIVAL] = journal.opened(request)
    try:
        response = await handler(request)
        arrival.status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            arrival.sent = len(response.body)
        return response
    except asyncio.CancelledError:
        arrival.left = True
        raise
    except ConnectionResetError:
        arrival.left = True
        return web.Response(status=499)  # nobody reads it
    finally:
        journal.ended(arrival)


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The request's body as it comes in, each chunk written down on the way."""
    arrival = request[ARRIVAL]
    async for chunk in request.content.iter_any():
        arrival.body_length += len(chunk)
        arrival.digest.update(chunk)
        yield chunk

"""How the contract's tests call: requests, ways to take a body, and the two roads."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.direct import DirectTransport
from gateway.upstream.session import SessionTransport
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Outgoing, Transport, field_lines

ROADS: dict[str, type[DirectTransport] | type[SessionTransport]] = {
    "direct": DirectTransport,
    "session": SessionTransport,
}
QUICK = Timeouts(connect=5, first_byte=0.5, idle=0.5)
HASTY = Timeouts(connect=0.5, first_byte=5, idle=5)
PATIENT = Timeouts(connect=5, first_byte=5, idle=5)
HOST = field_lines([(b"host", b"x")])
OK = b'{"ok":true}'

Open = Callable[..., Transport]
Whole = Callable[..., Coroutine[Any, Any, bytes]]


def a_call() -> UpstreamCall:
    return UpstreamCall("mock", "POST", "/v1/chat", "0" * 16)


def get(target: bytes = b"/", method: str = "GET") -> Outgoing:
    return Outgoing(method, target, HOST)


def post(body: bytes = b"{}") -> Outgoing:
    return Outgoing("POST", b"/v1/chat", HOST, body, len(body))


def upload(body: AsyncIterator[bytes], length: int | None = None) -> Outgoing:
    return Outgoing("POST", b"/up", HOST, body, length)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


class Gathered:
    """A sink with room for everything, or for one piece at a time."""

    def __init__(self, *, roomy: bool = True) -> None:
        self.pieces: list[bytes] = []
        self.framed: list[bytes] = []
        self.waits = 0
        self.came = asyncio.Event()
        self.roomy = roomy

    def take(self, piece: bytes, framed: bytes = b"") -> bool:
        self.pieces.append(piece)
        self.framed.append(framed)
        self.came.set()
        return self.roomy

    async def taken(self) -> None:
        self.waits += 1
        await asyncio.sleep(0)

    async def fill(self, transport: Transport, request: Outgoing) -> Tap:
        """Take the response to `request`; who heard of it."""
        tap = Tap()
        async with asyncio.timeout(5), transport.send(request, a_call()) as response:
            await response.hand_over(self, tap)
        return tap


async def read_whole(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    async with transport.send(request, call or a_call()) as response:
        return b"".join([piece async for piece in response.chunks()])


async def take_whole(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    sink = Gathered()
    async with transport.send(request, call or a_call()) as response:
        await response.hand_over(sink, Tap())
    return b"".join(sink.pieces)


async def take_piecemeal(transport: Transport, request: Outgoing, call: UpstreamCall | None = None) -> bytes:
    sink = Gathered(roomy=False)
    async with transport.send(request, call or a_call()) as response:
        await response.hand_over(sink, Tap())
    assert sink.waits == len(sink.pieces)
    return b"".join(sink.pieces)

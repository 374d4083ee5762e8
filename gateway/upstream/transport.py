"""How bytes travel to a provider and back: the seam behind which transports differ.

Whatever the transport: the target and the fields go out verbatim, the body comes in as received, aiohttp's words for
failures become ours here, and a connection whose state is in doubt is never used again.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from yarl import URL

from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall

Fields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request, ready to be written: no framing fields among `fields`, those are the transport's.

    `body` in whole, or as chunks with `length` bytes in all (None: unknown, sent chunked).
    """

    method: str
    target: bytes
    fields: Fields
    body: bytes | AsyncIterator[bytes] | None = None
    length: int | None = None


class Sink(Protocol):
    """Takes a body as it arrives, in the callback of the socket that it arrives on."""

    def take(self, piece: bytes) -> bool:
        """Take `piece` without waiting, and without raising; whether the next one may come at once."""
        ...

    async def taken(self) -> None:
        """Wait until the next piece may come. Raises ConnectionResetError if none will be taken any more."""
        ...


class Incoming(Protocol):
    """A response whose head is in."""

    status: int
    reason: str
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def ready(self) -> bool:
        """Whether some of the body, or its end, is here already."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body exactly as received, in whatever pieces the socket gave. Raises GatewayErrors."""
        ...

    async def hand_over(self, sink: Sink) -> None:
        """The same, to `sink`, which nothing waits for but the next read. Raises what it raises, too."""
        ...


class Transport(Protocol):
    """Connections to one provider."""

    def send(self, request: Outgoing, call: UpstreamCall) -> AbstractAsyncContextManager[Incoming]:
        """Send `request`; the block holds the connection. Raises an UpstreamError or UpstreamTimeout."""
        ...

    @property
    def in_use(self) -> int:
        """Connections that carry a request now."""
        ...

    @property
    def idle(self) -> int:
        """Connections that wait to be used."""
        ...

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        ...

    async def close(self) -> None: ...


class TransportFactory(Protocol):
    """Makes a provider's transport, within a running loop."""

    def __call__(self, origin: URL, timeouts: Timeouts, pool_size: int) -> Transport: ...

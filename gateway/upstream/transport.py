"""How bytes travel to a provider and back: the seam behind which transports differ.

Whatever the transport: the target and the fields go out verbatim, the body comes in as received, aiohttp's words for
failures become ours here, and a connection whose state is in doubt is never used again.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct
from yarl import URL

from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.tap import Tap
from gateway.wire.headers import Layout

Fields = Sequence[tuple[bytes, bytes]]


class Outgoing(Struct, frozen=True, eq=False):
    """A request, ready to be written: no framing fields among its lines, those are the transport's.

    `lines` are the header fields as `field_lines` writes them. `body` in whole, or as chunks with `length` bytes in all
    (None: unknown, sent chunked).
    """

    method: str
    target: bytes
    lines: bytes
    body: bytes | AsyncIterator[bytes] | None = None
    length: int | None = None

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The header fields one by one."""
        named = [line.partition(b": ") for line in self.lines.split(b"\r\n")[:-1]]
        return [(name, value) for name, _, value in named]


def field_lines(fields: Fields) -> bytes:
    """Header fields as they stand in a head, each with the end of its line."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


class Sink(Protocol):
    """Takes a body as it arrives, in the callback of the socket that it arrives on."""

    def take(self, piece: bytes, framed: bytes = b"") -> bool:
        """Take `piece` without waiting, and without raising; whether the next one may come at once.

        `framed` is the same in whole chunks, as it came; b"" if it did not come so.
        """
        ...

    async def taken(self) -> None:
        """Wait until the next piece may come. Raises ConnectionResetError if none will be taken any more."""
        ...


class Incoming(Protocol):
    """A response whose head is in."""

    status: int
    reason: str
    values: Sequence[bytes]  # of the fields, in order
    layout: Layout  # what their names tell

    @property
    def fields(self) -> Fields:
        """The fields as received."""
        ...

    @property
    def ready(self) -> bool:
        """Whether some of the body, or its end, is here already."""
        ...

    def whole(self) -> bytes | None:
        """The body, if all of it is here already; then it need not be read. None: it is to be."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body exactly as received, in whatever pieces the socket gave. Raises GatewayErrors."""
        ...

    async def hand_over(self, sink: Sink, tap: Tap) -> None:
        """The same, to `sink`, which nothing waits for but the next read. Raises what it raises, too.

        `tap` hears every piece after `sink` has it: it delays nobody.
        """
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

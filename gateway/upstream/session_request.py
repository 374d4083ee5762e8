"""What a `ClientSession` makes its requests and responses of here, so that it keeps the transports' promises.

By itself it normalises targets (a bare trailing `?` is lost), drops field bytes that are not UTF-8, merges fields whose
names differ in case only, cuts a body that is longer than its length and waits for ever behind one that is shorter.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import ClientConnectionResetError, ClientRequest, ClientResponse
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter

from gateway.errors import UpstreamError
from gateway.upstream import heads
from gateway.upstream.protocol import UpstreamProtocol
from gateway.upstream.transport import Outgoing


class VerbatimRequest(ClientRequest):
    """A request whose head is `outgoing`'s, byte for byte. The first two attributes are set before it is sent.

    `connected` takes the connection over before anything is written to it.
    """

    outgoing: Outgoing
    connected: Callable[[Connection], UpstreamProtocol]
    wants_new_connection = False
    upload: asyncio.Task[None] | None = None

    async def send(self, conn: Connection) -> ClientResponse:
        """Write the request, its head at once: a provider may answer before a slow body has begun."""
        writer = StreamWriter(self.connected(conn), self.loop)
        body = self.outgoing.body
        if conn.transport is None or conn.transport.is_closing():
            raise ClientConnectionResetError("Connection lost")
        heads.write(conn.transport, self.outgoing)
        if body is not None and not isinstance(body, bytes):
            if self.outgoing.length is None:
                writer.enable_chunking()
            self.upload = asyncio.create_task(self.write_bytes(writer, conn))
        assert self.session is not None
        self.response = self.response_class(
            self.method,
            self.original_url,
            writer=self.upload,
            continue100=None,
            timer=TimerNoop(),
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self.session,
            stream_writer=writer,
        )
        return self.response


class HeldResponse(ClientResponse):
    """A response that keeps its connection until it is told to let go, not only until its last byte is in."""

    def _response_eof(self) -> None:
        """aiohttp's hook for letting go."""


class Upload:
    """A body on its way up. It has exactly `length` bytes, if that is known, or is a failure.

    `on_taking` is called before the next chunk is asked for, when the provider's side has room; `on_giving` with a
    chunk's size before it is written; `on_end` after the last one was.
    """

    def __init__(
        self,
        body: AsyncIterator[bytes],
        length: int | None,
        *,
        on_taking: Callable[[], None],
        on_giving: Callable[[int], None],
        on_end: Callable[[], None],
    ) -> None:
        self.failure: Exception | None = None
        self._body = body
        self._left = length
        self._on_taking = on_taking
        self._on_giving = on_giving
        self._on_end = on_end

    def __aiter__(self) -> "Upload":
        return self

    async def __anext__(self) -> bytes:
        self._on_taking()
        try:
            chunk = await self._next()
        except Exception as error:
            self.failure = error
            raise
        if not chunk:
            self._on_end()
            raise StopAsyncIteration
        self._on_giving(len(chunk))
        return chunk

    async def _next(self) -> bytes:
        """The next chunk, an empty one at the end."""
        chunk = b""
        async for chunk in self._body:
            if chunk:
                break
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0 or (self._left and not chunk):
                raise UpstreamError("The request body is not as long as its length says.")
        return chunk

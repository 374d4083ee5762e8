"""A small HTTP client that sends exactly the bytes it is given, when it is told to: for what no decent client sends."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

DEADLINE = 10.0


@dataclass(frozen=True)
class RawResponse:
    """One response as it came: `fields` in order, names and values untouched; `body` without its chunked framing."""

    version: bytes
    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool  # False: the connection ended before the body did

    def all(self, name: str) -> list[bytes]:
        """Every value of a field."""
        return [value for known, value in self.fields if known.lower() == name.lower().encode()]

    def field(self, name: str) -> bytes | None:
        """The value of a field that stands there at most once."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands there {len(values)} times"
        return values[0] if values else None


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes | str | float) -> None:
        """Send bytes, each piece by itself; a number is a pause in seconds. A connection that is gone is no error."""
        for piece in pieces:
            if isinstance(piece, float | int):
                await asyncio.sleep(piece)
                continue
            try:
                self._writer.write(piece.encode("latin-1") if isinstance(piece, str) else piece)
                await self._writer.drain()
            except ConnectionError:
                return

    async def response(self, method: str = "GET") -> RawResponse:
        """The next response; EOFError if the connection ends before its head does."""
        async with asyncio.timeout(DEADLINE):
            return await self._response(method)

    async def interim(self) -> bytes:
        """The next head, as bytes."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything until the connection ends, cleanly or not."""
        async with asyncio.timeout(DEADLINE):
            return await _until_end(self._reader)

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes, not even the end, for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._reader.read(1)
                return False
        except TimeoutError:
            return True

    async def to_clean_end(self) -> bytes:
        """Everything until the connection ends; ConnectionResetError if that is not clean."""
        async with asyncio.timeout(DEADLINE):
            return await self._reader.read()

    @property
    def closed(self) -> bool:
        """Whether sending has failed, or this side has left."""
        return self._writer.is_closing()

    def end_of_sending(self) -> None:
        """Close this side only."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Leave rudely."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def leave(self) -> None:
        """Close without waiting."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass

    async def _response(self, method: str) -> RawResponse:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        version, status, reason = (first + b"  ").split(b" ", 2)
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        known = {name.lower(): value for name, value in fields}
        body, complete = b"", True
        if method != "HEAD" and int(status) not in (204, 304):
            body, complete = await self._body(known)
        return RawResponse(version, int(status), reason[:-2], fields, body, complete)

    async def _body(self, known: dict[bytes, bytes]) -> tuple[bytes, bool]:
        try:
            if b"transfer-encoding" in known:
                return await self._chunks(), True
            if b"content-length" in known:
                return await self._reader.readexactly(int(known[b"content-length"])), True
        except asyncio.IncompleteReadError as cut:
            return cut.partial, False
        return await _until_end(self._reader), True

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                body += await self._reader.readexactly(size)
                await self._reader.readexactly(2)
            except (asyncio.IncompleteReadError, ConnectionError) as cut:
                raise asyncio.IncompleteReadError(body, None) from cut
            if not size:
                return body


@asynccontextmanager
async def connected(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    """A connection to a loopback port; with a small `receive_buffer`, one that soon stalls its server."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    client = RawClient(*await asyncio.open_connection(sock=sock))
    try:
        yield client
    finally:
        await client.close()


async def _until_end(reader: asyncio.StreamReader) -> bytes:
    received = b""
    try:
        while chunk := await reader.read(65536):
            received += chunk
    except ConnectionError:
        pass
    return received

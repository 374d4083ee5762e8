"""An upstream that does exactly what its script says: bytes, pauses, resets, at the level of the socket.

A mocked session cannot split a chunk, stall, or break off; this can. `will(...)` queues the script of one request;
without a script a request is answered with a small JSON document.
"""

import asyncio
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from multidict import CIMultiDict

Step = Callable[["Received"], Awaitable[None]]

JSON_ANSWER = b'{"ok":true}'


@dataclass
class Received:
    """One request as it came, and the connection it came on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int
    line: bytes = b""
    raw_fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float = 0.0

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    @property
    def method(self) -> str:
        return self.line.split(b" ")[0].decode()

    @property
    def fields(self) -> CIMultiDict[str]:
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.raw_fields)


class ScriptedUpstream:
    """A server on a free loopback port, with TLS if there is a context for it. An async context manager."""

    def __init__(self, *, read_bodies: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.read_bodies = read_bodies
        self._tls = tls
        self._scripts: deque[tuple[Step, ...]] = deque()
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ScriptedUpstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def will(self, *steps: Step) -> None:
        """The script of the next request that has none yet."""
        self._scripts.append(steps)

    def forget(self) -> None:
        """Drop the scripts that no request has had."""
        self._scripts.clear()

    async def received(self, count: int = 1, seconds: float = 5.0) -> Received:
        """The request number `count`, once its head and body are in."""
        async with asyncio.timeout(seconds):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.requests[count - 1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            while await self._serve_one(reader, writer, number):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            if not writer.is_closing():
                writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        lines = head[:-4].split(b"\r\n")
        request = Received(reader, writer, number, lines[0])
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            request.raw_fields.append((name, value.strip()))
        if self.read_bodies:
            request.body = await _read_body(reader, request.fields)
        self.requests.append(request)
        self._arrived.set()
        for step in self._scripts.popleft() if self._scripts else (answer(),):
            await step(request)
        return not writer.is_closing()


async def _read_body(reader: asyncio.StreamReader, fields: CIMultiDict[str]) -> bytes:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    return await reader.readexactly(int(fields.get("content-length", "0")))


def send(*pieces: bytes) -> Step:
    """Write the pieces, each by itself."""

    async def step(request: Received) -> None:
        for piece in pieces:
            request.writer.write(piece)
            await request.writer.drain()

    return step


def answer(body: bytes = JSON_ANSWER, status: str = "200 OK", *fields: str, kind: str = "application/json") -> Step:
    """A whole response with Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields]
    return send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def begin(*fields: str, kind: str = "text/event-stream", status: str = "200 OK") -> Step:
    """The head of a chunked response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Transfer-Encoding: chunked", *fields]
    return send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")


def chunk(data: bytes) -> Step:
    return send(b"%x\r\n%b\r\n" % (len(data), data))


def event(data: bytes) -> Step:
    """One SSE event in a chunk of its own."""
    return chunk(b"data: " + data + b"\n\n")


def end() -> Step:
    return send(b"0\r\n\r\n")


def pause(seconds: float) -> Step:
    async def step(request: Received) -> None:
        await asyncio.sleep(seconds)

    return step


def until_left(seconds: float = 10.0) -> Step:
    """Wait until the other side has closed the connection; `request.closed` is set then."""

    async def step(request: Received) -> None:
        async with asyncio.timeout(seconds):
            try:
                while await request.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        request.closed_at = time.monotonic()
        request.closed.set()
        request.writer.close()

    return step


def close() -> Step:
    """An orderly end of the connection."""

    async def step(request: Received) -> None:
        request.writer.close()

    return step


def reset() -> Step:
    """RST."""

    async def step(request: Received) -> None:
        sock = request.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.writer.close()

    return step


def flood(size: int, piece: bytes = b"x" * 65536) -> Step:
    """`size` bytes of body in chunks, as fast as they are taken; `request.body` counts nothing of it."""

    async def step(request: Received) -> None:
        sent = 0
        while sent < size:
            request.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await request.writer.drain()
            sent += len(piece)

    return step

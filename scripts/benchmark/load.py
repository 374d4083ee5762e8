"""Clients and their upstream in one process with one clock, as cheap as Python allows: neither is what is measured.

A stream goes in lockstep: its next event leaves the upstream when the last one has arrived at the client. So one event
is in flight, what stands in between cannot gather several, and each costs it a read and a write.
"""

import asyncio
import itertools
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

FILLER = b"The sky is blue because air scatters short waves more than long ones. "
QUESTION = b'{"model":"bench",%s"max_tokens":200,"messages":[{"role":"user","content":"%s"}]}'
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":91,'
    b'"total_tokens":110}}'
)
CHUNK_OF = b'"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"bench"'
EVENT = (
    b'data: {%s,"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}\n\n'
    % CHUNK_OF
)
USAGE = b'"usage":{"prompt_tokens":19,"completion_tokens":200,"total_tokens":219}'
LAST = b'data: {%s,"choices":[],%s}\n\n' % (CHUNK_OF, USAGE)
DONE = b"data: [DONE]\n\n"
EVENTS = 200
ASKED_SIZE, ANSWER_SIZE = 12 * len(FILLER), 5 * len(FILLER)
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STREAM, SIZE = re.compile(rb'"seed":(\d+)'), re.compile(rb'"size":(\d+)')
SENT = re.compile(rb'"sent":(\d+)')
KEPT = 8192  # of a request: its head, and what its body begins with
HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 01:00:00 GMT\r\nContent-Type: %s\r\n"
    b"x-request-id: req_0123456789abcdef\r\nopenai-organization: org-bench\r\nopenai-processing-ms: 357\r\n"
    b"openai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n"
    b"%s\r\n\r\n"
)
BEGIN = HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@lru_cache(2)
def text(size: int) -> bytes:
    """So many bytes of text."""
    return (FILLER * (size // len(FILLER) + 1))[:size]


@lru_cache(2)
def unary(size: int) -> bytes:
    """A whole answer with so many bytes of text."""
    body = ANSWER % text(size)
    return HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body


CHUNK, END = chunk(EVENT), chunk(LAST) + chunk(DONE) + b"0\r\n\r\n"


@dataclass
class Streams:
    """The streams that are open, by the number that their request carries, and how many events each has."""

    events: int = EVENTS
    open: dict[int, Callable[[], None]] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)


class Upstream(asyncio.Protocol):
    """Answers chat completions, streamed or not, and takes spans without a look."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._received = b""
        self._count = self._size = 0
        self._stream: int | None = None
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._count += len(data)
        if len(self._received) < KEPT:
            self._received += data
        if not self._size and (end := self._received.find(b"\r\n\r\n")) > 0:
            length = LENGTH.search(self._received, 0, end + 2)
            self._size = end + 4 + (int(length[1]) if length else 0)
        if self._size and self._count >= self._size:
            asked, self._received = self._received, b""
            self._count = self._size = 0
            self._answer(asked)

    def _answer(self, asked: bytes) -> None:
        stream, size = STREAM.search(asked, 0, KEPT), SIZE.search(asked, 0, KEPT)
        if asked.startswith(b"POST /v1/traces"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif stream is None:
            self._transport.write(unary(int(size[1]) if size else ANSWER_SIZE))
        else:
            self._sent = 0
            self._stream = int(stream[1])
            self._streams.open[self._stream] = self.send
            self._transport.write(BEGIN)
            self.send()

    def send(self) -> None:
        """The next event, or the end."""
        self._sent += 1
        self._transport.write(CHUNK if self._sent <= self._streams.events else END)


class Client(asyncio.Protocol):
    """One connection, with one request at a time on it. `body` is asked in place of a chat completion."""

    def __init__(self, streams: Streams, path: str, key: str, body: bytes = b"") -> None:
        self.streams = streams
        self.late: list[float] = []  # seconds that each event took which says when it left
        self._body = body
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: application/json\r\n"
            "Content-Type: application/json\r\nUser-Agent: bench\r\nX-Stainless-Lang: python\r\n"
        ).encode()
        self._stream: int | None = None
        self._received = b""
        self._count = self._size = 0
        self._events = 0
        self._hold_at = 0
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the connection ended inside an answer"))

    async def ask(
        self, *, stream: bool = False, hold_at: int = 0, size: int = ASKED_SIZE, answer: int = ANSWER_SIZE
    ) -> None:
        """One exchange, with so many bytes of text; a stream that is held stays open after so many events."""
        self._stream = next(self.streams.numbers) if stream else None
        extra = b'"size":%d,' % answer if self._stream is None else b'"stream":true,"seed":%d,' % self._stream
        body = self._body or QUESTION % (extra, text(size))
        self._received, self._events, self._hold_at = b"", 0, hold_at
        self._count = self._size = 0
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(self._head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await self._answered

    def data_received(self, data: bytes) -> None:
        if self._stream is None:
            self._whole(data)
            return
        if not self._received:
            self._received = data[:32]
            if not data.startswith(b"HTTP/1.1 200"):
                self._failed()
                return
            data = data.partition(b"\r\n\r\n")[2]  # a head may end like a stream: with an id that ends with a 0
        if data.endswith(b"0\r\n\r\n"):
            del self.streams.open[self._stream]
            self._done()
            return
        if USAGE in data or DONE in data:
            return
        for _ in range(data.count(b"\n\n")):
            self._events += 1
            if self._hold_at and self._events >= self._hold_at:
                now = time.monotonic_ns()
                self.late += [(now - int(sent)) / 1e9 for sent in SENT.findall(data)]
                self._done()
                return
            self.streams.open[self._stream]()

    def _whole(self, data: bytes) -> None:
        """A part of an answer that has a length."""
        self._count += len(data)
        if not self._size:
            self._received += data
            end = self._received.find(b"\r\n\r\n")
            length = LENGTH.search(self._received, 0, end + 2) if end > 0 else None
            if not self._received.startswith(b"HTTP/1.1 200") or (end > 0 and length is None):
                self._failed()
            if length is None:
                return
            self._size = end + 4 + int(length[1])
        if self._count >= self._size:
            self._done()

    def _done(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _failed(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(RuntimeError(f"not a good answer: {self._received[:300]!r}"))


async def connect(streams: Streams, port: int, path: str, key: str, body: bytes = b"") -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(streams, path, key, body), "127.0.0.1", port)
    return client


def close(clients: list[Client]) -> None:
    for client in clients:
        client.transport.close()


async def requests(clients: list[Client], count: int) -> float:
    """So many requests over these connections; how many a second."""
    left = itertools.count(count, -1)

    async def work(client: Client) -> None:
        while next(left) > 0:
            await client.ask()

    began = time.perf_counter()
    await asyncio.gather(*map(work, clients))
    return count / (time.perf_counter() - began)


async def latency(client: Client, count: int) -> float:
    """The median of so many requests, one after the other, in microseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        await client.ask()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


async def streams_of(clients: list[Client], each: int) -> int:
    """So many whole streams over each connection; the number of events."""

    async def work(client: Client) -> None:
        for _ in range(each):
            await client.ask(stream=True)

    await asyncio.gather(*map(work, clients))
    return len(clients) * each * (clients[0].streams.events + 2)

"""Buckets that the workers of one machine share: one process keeps them in memory and answers the others.

A message is its length in four bytes and an order, or an answer, in msgpack. Places among what is concurrent belong to
the connection they were asked for on: those of a worker that dies are free at once.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from gateway.access.rate import Amounts, Buckets
from gateway.access.rate_memory import MemoryLimiter
from gateway.access.rate_remote import Taken, Unavailable
from gateway.settings.limits import Unit

HEAD: Final = 4
LONGEST: Final = 1 << 20
RETRY_SECONDS: Final = 0.1


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something to do in one step. Number 0 wants no answer: the amounts are taken whether they are there or not."""

    number: int
    buckets: Buckets
    amounts: Amounts


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of the order of that number."""

    number: int
    taken: Taken


@asynccontextmanager
async def arbiter(path: str, limiter: MemoryLimiter | None = None) -> AsyncIterator[None]:
    """Answer on a Unix socket at `path` while the block runs.

    Who may open the socket may use up everybody's limits: `path` belongs into a directory that others cannot enter.
    """
    shared, loop = limiter or MemoryLimiter(), asyncio.get_running_loop()
    asking: set[Asking] = set()
    _remove(path)  # it may be left by one that was killed
    server = await loop.create_unix_server(lambda: Asking(shared, asking), path)
    try:
        yield
    finally:
        server.close()
        for connection in list(asking):
            connection.close()
        _remove(path)


def serve_arbiter(path: str) -> None:
    """Answer until SIGTERM or SIGINT: what a process of its own does that serves several workers."""

    async def serve() -> None:
        stopping, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with arbiter(path):
            await stopping.wait()

    uvloop.run(serve())


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        Path(path).unlink()


class Messages:
    """Cuts a stream of bytes into messages. Raises ValueError for one that is too long."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, start = self._rest + data if self._rest else data, 0
        while len(data) - start >= HEAD:
            length = int.from_bytes(data[start : start + HEAD], "big")
            if length > LONGEST:
                raise ValueError("a message is too long")
            end = start + HEAD + length
            if end > len(data):
                break
            yield data[start + HEAD : end]
            start = end
        self._rest = data[start:]


class Asking(asyncio.Protocol):
    """A worker's connection, at the arbiter."""

    def __init__(self, limiter: MemoryLimiter, all_asking: "set[Asking]") -> None:
        self._limiter = limiter
        self._all = all_asking
        self._messages = Messages()
        self._places: Counter[str] = Counter()
        self._buckets: dict[str, Buckets] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        answers = []
        try:
            for message in self._messages.feed(data):
                order = _order.decode(message)
                answers.append(self._answer(order))
        except (ValueError, msgspec.MsgspecError):
            self._transport.close()
        self._transport.write(b"".join(answers))

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        for id, places in self._places.items():
            self._limiter.add(self._buckets[id][0], -float(places))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _answer(self, order: Order) -> bytes:
        if not order.number:
            for position, bucket in enumerate(order.buckets):
                self._limiter.add(bucket, order.amounts[position])
            self._note(order)
            return b""
        verdict = self._limiter.decide(order.buckets, order.amounts)
        if verdict.admitted:
            self._note(order)
        return _framed(Answer(order.number, Taken(verdict.violated, verdict.remaining)))

    def _note(self, order: Order) -> None:
        """Whose places these are."""
        for position, bucket in enumerate(order.buckets):
            if bucket.unit is Unit.CONCURRENT:
                self._buckets[bucket.id] = (bucket,)
                self._places[bucket.id] += round(order.amounts[position])
                if self._places[bucket.id] <= 0:
                    del self._places[bucket.id], self._buckets[bucket.id]


class ArbiterLink:
    """A Link to the arbiter of this machine. An async context manager; a lost connection is made again, beside."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: dict[str, tuple[Buckets, Amounts]] = {}
        self._line: Line | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ArbiterLink":
        connected = asyncio.Event()
        self._keeping = asyncio.create_task(self._keep_connected(connected))
        await connected.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))
        if self._line is not None:
            self._line.close()

    def ask(self, buckets: Buckets, amounts: Amounts, lease: str) -> "asyncio.Future[Taken]":
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        if self._line is None:
            answer.set_exception(Unavailable())
            return answer
        self._line.ask(buckets, amounts, answer)
        if lease:
            answer.add_done_callback(lambda answer: self._hold(answer, buckets, lease))
        return answer

    def tell(self, buckets: Buckets, amounts: Amounts, lease: str) -> None:
        self._held.pop(lease, None)
        if self._line is not None:
            self._line.tell(buckets, amounts)

    def _hold(self, answer: "asyncio.Future[Taken]", buckets: Buckets, lease: str) -> None:
        if answer.exception() is None and not answer.result().violated:
            places = tuple(bucket for bucket in buckets if bucket.unit is Unit.CONCURRENT)
            self._held[lease] = (places, (1.0,) * len(places))

    async def _keep_connected(self, tried: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, line = await loop.create_unix_connection(Line, self._path)
            except OSError:
                tried.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for places, amounts in self._held.values():  # a new arbiter knows of none
                line.tell(places, amounts)
            self._line = line
            tried.set()
            await line.lost.wait()
            self._line = None


class Line(asyncio.Protocol):
    """A worker's connection to the arbiter."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self._messages = Messages()
        self._asked: dict[int, asyncio.Future[Taken]] = {}
        self._number = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def ask(self, buckets: Buckets, amounts: Amounts, answer: "asyncio.Future[Taken]") -> None:
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(Unavailable())
            return
        self._number += 1
        self._asked[self._number] = answer
        self._transport.write(_framed(Order(self._number, buckets, amounts)))

    def tell(self, buckets: Buckets, amounts: Amounts) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_framed(Order(0, buckets, amounts)))

    def data_received(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            answer = _answer.decode(message)
            self._asked.pop(answer.number).set_result(answer.taken)

    def connection_lost(self, exc: Exception | None) -> None:
        for answer in self._asked.values():
            answer.set_exception(Unavailable())
        self._asked.clear()
        self.lost.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _framed(message: Order | Answer) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(HEAD, "big") + body


_encoder = msgspec.msgpack.Encoder()
_order = msgspec.msgpack.Decoder(Order)
_answer = msgspec.msgpack.Decoder(Answer)

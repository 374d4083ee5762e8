"""Buckets that the workers of one gateway share: their supervisor keeps them in memory and answers.

A worker has one end of a socket pair, the arbiter the other. A message is its length in four bytes and an order, or an
answer, in msgpack. Places among what is concurrent belong to the connection they were asked for on: those of a worker
that dies are free at once.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Final, cast

import msgspec

from gateway.access.rate import Amounts, Buckets
from gateway.access.rate_memory import MemoryLimiter
from gateway.access.rate_remote import Taken, Unavailable
from gateway.settings.limits import Unit

HEAD: Final = 4
LONGEST: Final = 1 << 20


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something to do in one step. Number 0 wants no answer: the amounts are taken whether they are there or not."""

    number: int
    buckets: Buckets
    amounts: Amounts


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of the order of that number."""

    number: int
    taken: Taken


class Arbiter:
    """Keeps the buckets. An async context manager, at whose end the workers are hung up on."""

    def __init__(self, limiter: MemoryLimiter | None = None) -> None:
        self._limiter = limiter or MemoryLimiter()
        self._asking: set[Asking] = set()

    async def __aenter__(self) -> "Arbiter":
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in list(self._asking):
            connection.close()

    async def answer(self, end: socket.socket) -> None:
        """Answer whoever has the other end, as long as somebody has."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: Asking(self._limiter, self._asking), end)


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
    """A Link to the arbiter that has the other end. An async context manager."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._line = Line()

    async def __aenter__(self) -> "ArbiterLink":
        await asyncio.get_running_loop().create_unix_connection(lambda: self._line, sock=self._end)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._line.close()

    def ask(self, buckets: Buckets, amounts: Amounts, lease: str) -> "asyncio.Future[Taken]":
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._line.ask(buckets, amounts, answer)
        return answer

    def tell(self, buckets: Buckets, amounts: Amounts, lease: str) -> None:
        self._line.tell(buckets, amounts)


class Line(asyncio.Protocol):
    """A worker's connection to the arbiter."""

    def __init__(self) -> None:
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

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _framed(message: Order | Answer) -> bytes:
    body = _encoder.encode(message)
    return len(body).to_bytes(HEAD, "big") + body


_encoder = msgspec.msgpack.Encoder()
_order = msgspec.msgpack.Decoder(Order)
_answer = msgspec.msgpack.Decoder(Answer)

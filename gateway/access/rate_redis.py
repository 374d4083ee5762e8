"""Buckets in Redis: the same for every worker and replica that shares it.

What is asked for in one turn of the event loop goes out as one call of one script, so that a thousand requests at once
cost a few round trips. All keys have one hash tag, since the script has to see all of a request's buckets.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from time import monotonic
from typing import Final

import msgspec
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from gateway.access.rate import Amounts, Buckets
from gateway.access.rate_remote import Taken, Unavailable
from gateway.settings import Secret
from gateway.settings.limits import Unit

SCRIPT: Final = files("gateway.access").joinpath("rate_redis.lua").read_text(encoding="utf-8")
DIGEST: Final = sha1(SCRIPT.encode("utf-8"), usedforsecurity=False).hexdigest()

CALLS: Final = 4
"""Calls under way at once, each on a connection of its own; what comes meanwhile goes into the next one."""

MOST_AT_ONCE: Final = 256
"""Orders in one call: Redis does nothing else meanwhile."""

MOST_WAITING: Final = 20_000
CUT_SECONDS: Final = 1.0
"""After so long a call is given up, and its connection with it: whoever asked has gone on without."""

FIRST_SECONDS: Final = 0.2
LAST_SECONDS: Final = 2.0

Quota = tuple[float, float, float]  # what it holds, its refill a second, the amount


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Something to do in one step, as the script reads it."""

    action: str
    lease: str
    quotas: tuple[Quota, ...]


class Waiting(msgspec.Struct, frozen=True):
    """An order that has not gone out yet."""

    keys: tuple[str, ...]
    order: Order
    answer: "asyncio.Future[Taken]"


def pool_of(url: Secret, *, seconds: float, connections: int) -> ConnectionPool:
    """Connections that try nothing twice: a script that ran may not run again."""
    return ConnectionPool.from_url(
        url.reveal(),
        max_connections=connections,
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )


class RedisLink:
    """A Link to one Redis. An async context manager; places are renewed while it is open."""

    def __init__(self, url: Secret, *, prefix: str, seconds: float, lease: float) -> None:
        self._cut = max(CUT_SECONDS, seconds)
        self._pool = pool_of(url, seconds=self._cut, connections=CALLS)
        self._prefix = f"{{{prefix}:rate}}:"
        self._lease = lease
        self._held: dict[str, Buckets] = {}
        self._waiting: list[Waiting] = []
        self._flush_is_due = False
        self._calls: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "RedisLink":
        self._renewing = asyncio.create_task(self._renew())
        for _ in range(CALLS):  # connects, and loads the script; whether that was possible shows later
            self.ask((), (), "").add_done_callback(_heard)
            self._flush()
        await asyncio.wait(self._calls, timeout=FIRST_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))
        until = monotonic() + LAST_SECONDS
        self._flush()
        while self._calls and monotonic() < until:
            await asyncio.wait(self._calls, timeout=until - monotonic())
        for call in self._calls:
            call.cancel()
        await self._pool.aclose()

    def ask(self, buckets: Buckets, amounts: Amounts, lease: str) -> "asyncio.Future[Taken]":
        future = self._send("take", buckets, amounts, lease)
        if lease:
            future.add_done_callback(lambda answer: self._hold(answer, buckets, lease))
        return future

    def tell(self, buckets: Buckets, amounts: Amounts, lease: str) -> None:
        self._held.pop(lease, None)
        self._send("settle", buckets, amounts, lease).add_done_callback(_heard)

    def _hold(self, answer: "asyncio.Future[Taken]", buckets: Buckets, lease: str) -> None:
        """Renew the places of `lease` from now on, if it got them."""
        if answer.exception() is None and not answer.result().violated:
            self._held[lease] = tuple(bucket for bucket in buckets if bucket.unit is Unit.CONCURRENT)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            for lease, buckets in list(self._held.items()):
                self._send("hold", buckets, (1.0,) * len(buckets), lease).add_done_callback(_heard)

    def _send(self, action: str, buckets: Buckets, amounts: Amounts, lease: str) -> "asyncio.Future[Taken]":
        answer: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MOST_WAITING:
            answer.set_exception(Unavailable())
            return answer
        keys = tuple([self._prefix + bucket.id for bucket in buckets])
        quotas = tuple([(bucket.most, bucket.rate, amounts[position]) for position, bucket in enumerate(buckets)])
        self._waiting.append(Waiting(keys, Order(action, lease, quotas), answer))
        self._flush_soon()
        return answer

    def _flush_soon(self) -> None:
        if self._waiting and not self._flush_is_due and len(self._calls) < CALLS:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and len(self._calls) < CALLS:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            call = asyncio.get_running_loop().create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._called)

    def _called(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._flush_soon()

    async def _call(self, batch: Sequence[Waiting]) -> None:
        """Have all orders done, and answer each."""
        try:
            async with asyncio.timeout(self._cut):
                answers = await self._answers(batch)
            for waiting, taken in zip(batch, answers, strict=True):
                waiting.answer.set_result(taken)
        except (RedisError, OSError, TimeoutError, msgspec.MsgspecError):
            pass  # whoever asked learns that there is no answer
        finally:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(Unavailable())

    async def _answers(self, batch: Sequence[Waiting]) -> list[Taken]:
        keys = [key for waiting in batch for key in waiting.keys]
        orders = _encoder.encode([waiting.order for waiting in batch])
        arguments = (len(keys), *keys, repr(self._lease), orders)
        connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_command("EVALSHA", DIGEST, *arguments)
            try:
                answer = await connection.read_response()
            except NoScriptError:  # a Redis that was started since, and has done nothing of it
                await connection.send_command("EVAL", SCRIPT, *arguments)
                answer = await connection.read_response()
        finally:
            await self._pool.release(connection)
        return _decoder.decode(answer)


def _heard(answer: "asyncio.Future[Taken]") -> None:
    """Nobody waits for this answer; that there is none is noticed by those who wait for theirs."""
    if not answer.cancelled():
        answer.exception()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Taken])

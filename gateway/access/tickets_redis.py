"""Browser tickets in Redis: what one gateway sold another redeems, once.

The request that a ticket stands for lies in Redis until then, for seconds, readable to whoever can read Redis.
"""

import asyncio
from math import ceil
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.access.rate_redis import pool_of
from gateway.errors import Overloaded
from gateway.settings import Secret

SECONDS: Final = 2.0
"""How long Redis may take: a ticket is waited for, and may be large."""

CONNECTIONS: Final = 64
UNAVAILABLE: Final = "Browser tickets cannot be kept or looked up at the moment."


class RedisTicketStore:
    """A TicketStore. An async context manager."""

    def __init__(self, url: Secret, *, prefix: str) -> None:
        self._redis = Redis.from_pool(pool_of(url, seconds=SECONDS, connections=CONNECTIONS))
        self._prefix = f"{prefix}:ticket:"

    async def __aenter__(self) -> "RedisTicketStore":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def put(self, id: str, payload: bytes, seconds: float) -> None:
        """Raises Overloaded where Redis has no room, or is not there."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._redis.set(self._prefix + id, payload, px=ceil(seconds * 1000))
        except (RedisError, OSError, TimeoutError) as error:
            raise Overloaded(UNAVAILABLE, retry_after=1) from error

    async def take(self, id: str) -> bytes | None:
        """Raises Overloaded where Redis is not there."""
        try:
            async with asyncio.timeout(SECONDS):
                payload: bytes | None = await self._redis.getdel(self._prefix + id)
        except (RedisError, OSError, TimeoutError) as error:
            raise Overloaded(UNAVAILABLE, retry_after=1) from error
        return payload

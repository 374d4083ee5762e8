"""The connections to one provider, whichever road a request takes: aiohttp's connector, making our protocol.

- A connection that has something to read when it is taken is closed and never used again. So one that the provider has
  closed costs a new connection, and never a lost or doubled request.
- A connection that can be used again may rest here, the last one to come on top. It stays the connector's own then:
  that opens connections, and holds their number to the limit.
"""

import asyncio
import re
from functools import partial
from ssl import SSLContext
from typing import Any, cast

from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.connector import Connection

from gateway.settings import POOL_IDLE
from gateway.settings.tcp import DEFAULT_KEEPALIVE, TcpKeepalive
from gateway.telemetry.fallbacks import Fallbacks
from gateway.upstream.known_response import Known
from gateway.upstream.protocol import UpstreamProtocol
from gateway.wire.shape import Shapes
from gateway.wire.tcp import socket_factory

DNS_TTL = 30  # seconds
KEEP_ALIVE_MARGIN = 1.0  # seconds; for a request on its way

_timeout = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*([0-9]{1,6})(?![0-9])", re.IGNORECASE).search


class Pool(TCPConnector):
    """At most `size` connections; `trust` verifies those with TLS, by default against the system's authorities.

    `idle` is how many seconds one may rest; fewer than the provider keeps it open, or a request may meet its close.
    """

    def __init__(
        self,
        size: int,
        *,
        idle: float = POOL_IDLE,
        trust: SSLContext | bool = True,
        keepalive: TcpKeepalive = DEFAULT_KEEPALIVE,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        super().__init__(
            limit=size,
            keepalive_timeout=idle,
            ttl_dns_cache=DNS_TTL,
            ssl=trust,
            socket_factory=socket_factory(keepalive),
        )
        loop = asyncio.get_running_loop()
        self._factory = cast(Any, partial(UpstreamProtocol, loop, Shapes[Known](), fallbacks))
        self._resting: list[tuple[float, Connection]] = []  # and since when
        self._rest_for = idle  # seconds
        self._learned = b""
        self._clock = loop.time
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> int:
        """Connections that carry a request now."""
        return len(self._acquired) - len(self._resting)

    @property
    def idle(self) -> int:
        """Connections that wait to be used."""
        return len(self._resting) + sum(map(len, self._conns.values()))

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        return sum(map(len, self._waiters.values()))

    async def connect(self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout) -> Connection:
        """A connection nobody else uses and that has nothing to say; a new one for a request that wants one."""
        if getattr(req, "wants_new_connection", False):
            return await self.connect_anew(req, traces, timeout)
        connection = self.rested()
        while connection is None:
            connection = await super().connect(req, traces, timeout)
            protocol = cast(UpstreamProtocol, connection._protocol)
            if protocol.used and protocol.has_spoken():
                connection.close()
                connection = None
        return connection

    async def connect_anew(self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout) -> Connection:
        """A connection that has never been used."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if not cast(UpstreamProtocol, connection._protocol).used:
                return connection
            connection.close()

    def rested(self) -> Connection | None:
        """A connection that was used before, and has had nothing to say since; None if none rests."""
        while self._resting:
            _, connection = self._resting.pop()
            protocol: Any = connection._protocol
            if not protocol.has_spoken():
                return connection
            connection.close()
        return None

    def rest(self, connection: Connection) -> None:
        """Keep a connection for the next request, unless somebody waits for one."""
        if self._waiters:
            connection.release()
            return
        self._resting.append((self._clock(), connection))
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._rest_for, self._sweep)

    def learn(self, keep_alive: bytes) -> None:
        """Let connections rest for less than the provider keeps them for, as its `Keep-Alive` field tells."""
        if keep_alive == self._learned:
            return
        self._learned = keep_alive
        found = _timeout(keep_alive)
        if found is None:
            return
        seconds = int(found[1])
        idle = max(seconds - KEEP_ALIVE_MARGIN, seconds / 2)
        if idle < self._rest_for:
            self._rest_for = self._keepalive_timeout = idle
            if self._sweeping is not None:
                self._sweeping.cancel()
                self._sweep()

    def _sweep(self) -> None:
        """Close those that have rested for too long. The oldest stand first."""
        until, gone = self._clock() - self._rest_for, 0
        for since, connection in self._resting:
            if since > until:
                break
            connection.close()
            gone += 1
        del self._resting[:gone]
        again = self._resting[0][0] - until if self._resting else 0.0
        self._sweeping = self._loop.call_later(again, self._sweep) if self._resting else None

    async def close(self, *, abort_ssl: bool = False) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for _, connection in self._resting:
            connection.close()
        self._resting.clear()
        await super().close(abort_ssl=abort_ssl)

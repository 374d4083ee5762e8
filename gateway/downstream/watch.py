"""How long a client may keep a connection waiting: what a server's sweep looks at, once in a while.

A look costs the connection nothing while it is busy; a bound is met at the first look after it, so a client may have
up to one sweep more than it says.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.downstream import request_head
from gateway.downstream.connection import GuardedConnection
from gateway.downstream.connection_bounds import ConnectionBounds


class _Wait(NamedTuple):
    """What a connection is waiting for (the same `key` as long as nothing moves), for how long, and what then."""

    key: tuple[str, int]
    patience: float
    give_up: Callable[[], None]


class Watch:
    """The state one connection was found in, and since when."""

    __slots__ = ("_body", "_bounds", "_connection", "_looked", "_since", "_transport", "_waited", "_was")

    def __init__(
        self, connection: GuardedConnection, transport: asyncio.Transport, bounds: ConnectionBounds, now: float
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._bounds = bounds
        self._was: tuple[str, int] | None = None
        self._since = self._looked = now
        self._body: StreamReader = EMPTY_PAYLOAD  # the one that was last found awaited, and for how long in all
        self._waited = 0.0

    def look(self, now: float) -> None:
        """Give up on the connection if it has been in one state for too long."""
        elapsed, self._looked = now - self._looked, now
        wait = self._wait(elapsed)
        if wait is None or wait.key != self._was:
            self._was, self._since = wait and wait.key, now
        elif now - self._since >= wait.patience:
            self._was = None
            wait.give_up()

    def _wait(self, elapsed: float) -> _Wait | None:
        connection, bounds = self._connection, self._bounds
        if connection.lingering or self._transport.is_closing():
            # A client that does not read would hold what is still to be flushed for ever.
            return _Wait(("end", 0), bounds.linger, self._transport.abort)
        if connection.silent:
            return _Wait(("silence", 0), bounds.head_timeout, self._transport.close)
        if connection.awaits_head:
            return _Wait(("head", 0), bounds.head_timeout, self._refuse_head)
        if connection.writing_paused:
            left = self._transport.get_write_buffer_size()
            return _Wait(("taking", left), bounds.send_timeout, self._transport.abort)
        body = connection.awaited_body
        return None if body is None else self._wait_for(body, elapsed)

    def _wait_for(self, body: StreamReader, elapsed: float) -> _Wait:
        if body is not self._body:
            self._body, self._waited = body, 0.0
        self._waited += elapsed
        earned = self._bounds.body_timeout + body.total_bytes / self._bounds.min_body_rate
        if self._waited > earned:
            return _Wait(self._was or ("body", 0), 0.0, self._refuse_body)
        return _Wait(("body", body.total_bytes), self._bounds.body_timeout, self._refuse_body)

    def _refuse_head(self) -> None:
        self._connection.refuse(request_head.HEAD_TIMEOUT)

    def _refuse_body(self) -> None:
        self._connection.refuse(request_head.BODY_TIMEOUT)

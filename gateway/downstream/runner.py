"""The runner production uses: aiohttp's, with guarded connections and one sweep over all of them.

`GuardedRunner(app, bounds=..., on_malformed=...)`, then `setup()`, a site, `cleanup()`, as with `web.AppRunner`.
"""

import asyncio
import select
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.web_server import Server

from gateway.downstream import request_head
from gateway.downstream.client_address import Trusts, trusts_none
from gateway.downstream.connection import GuardedConnection
from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.dispatch import Dispatch
from gateway.downstream.guarded_request import GuardedRequest
from gateway.downstream.known_request import KnownRequests
from gateway.downstream.refusal import Malformed, RefusalBody, openai_shape, refusal
from gateway.downstream.watch import Watch
from gateway.errors import GatewayError, InternalFault
from gateway.telemetry.fallbacks import Fallbacks

_SWEEP = 0.05  # seconds; a client that leaves is to be noticed within 200 ms
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class GuardedServer(Server):
    """Makes the connections, bounds their number, and sweeps over them."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        bounds: ConnectionBounds,
        on_malformed: Callable[[Malformed], None],
        refusal_body: RefusalBody,
        fallbacks: Fallbacks | None = None,
        trusts: Trusts = trusts_none,
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, **kwargs)
        self.bounds = bounds
        self.trusts = trusts
        self.on_malformed = on_malformed
        self.known = KnownRequests(bounds, fallbacks)
        self.refusal_body = refusal_body
        self.last_call = False  # the next answer on each connection is its last, and says so
        self.paused: set[GuardedConnection] = set()  # those that do not read, and so cannot notice an end
        self._watches: dict[GuardedConnection, Watch] = {}
        self._patience = max(_SWEEP, min(1.0, min(bounds.head_timeout, bounds.body_timeout, bounds.linger) / 4))
        self._next_look = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> GuardedConnection:
        return GuardedConnection(self, loop=self._loop, **self._kwargs)

    def opened(self, connection: GuardedConnection, transport: asyncio.Transport) -> None:
        """Watch a new connection; answer 503 if there are too many.

        Not accepting them would leave them in the backlog, where neither a client nor a load balancer can tell a full
        gateway from a dead one. The answer costs a connection too, hence the second bound, beyond which none is given.
        """
        self._watches[connection] = Watch(connection, transport, self.bounds, self._loop.time())
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP, self._sweep)
        if len(self._watches) > 2 * self.bounds.max_connections:
            transport.abort()
        elif len(self._watches) > self.bounds.max_connections:
            connection.refuse(request_head.TOO_MANY_CONNECTIONS)

    def refusal(self, failure: BaseException | None, request_id: str) -> web.StreamResponse:
        """The answer to what the application has no answer to."""
        error = failure if isinstance(failure, GatewayError) else InternalFault()
        return refusal(error, self.refusal_body(error), request_id)

    def refusing(
        self, failure: BaseException, request_id: str
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """What answers a request that never became one."""

        async def refuse(_: web.BaseRequest) -> web.StreamResponse:
            return self.refusal(failure, request_id)

        return refuse

    def closed(self, connection: GuardedConnection) -> None:
        """Forget a connection."""
        self._watches.pop(connection, None)
        self.paused.discard(connection)

    def close_idle(self, seconds: float) -> int:
        """End the connections that have waited for a request for so long; how many are left.

        One on which a request has arrived meanwhile, unread, is left to answer it: to close would reset it.
        """
        poll, before = select.poll(), self._loop.time() - seconds
        idle: dict[int, GuardedConnection] = {}
        for connection in self._watches:
            if connection.idle_since <= before and connection.transport is not None:
                descriptor = connection.transport.get_extra_info("socket").fileno()
                idle[descriptor] = connection
                poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            del idle[descriptor]
        for connection in idle.values():
            connection.close()
        return len(self._watches) - len(idle)

    async def shutdown(self, timeout: float | None = None) -> None:
        """End all connections, as aiohttp does, and the sweep."""
        await super().shutdown(timeout)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(_SWEEP, self._sweep) if self._watches else None
        self._abort_departed()
        now = self._loop.time()
        if now < self._next_look:
            return
        self._next_look = now + self._patience
        for watch in tuple(self._watches.values()):
            watch.look(now)

    def _abort_departed(self) -> None:
        """A paused transport hears neither FIN nor RST; where the platform can tell, ask for it (poll, Linux)."""
        if not self.paused:
            return
        poll = select.poll()
        transports = {}
        for connection in self.paused:
            transport = connection.transport
            descriptor = -1 if transport is None else transport.get_extra_info("socket").fileno()
            if transport is not None and descriptor >= 0:
                transports[descriptor] = transport
                poll.register(descriptor, _GONE)
        for descriptor, _ in poll.poll(0):
            transports[descriptor].abort()


class GuardedRunner(web.AppRunner):
    """`web.AppRunner` over guarded connections.

    `on_malformed` hears of every request that never became one; `refusal_body` renders the answer to it. `trusts`
    says whether an address is a trusted proxy's.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        bounds: ConnectionBounds,
        on_malformed: Callable[[Malformed], None],
        refusal_body: RefusalBody = openai_shape,
        fallbacks: Fallbacks | None = None,
        trusts: Trusts = trusts_none,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            app,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=bounds.keepalive_timeout,
            lingering_time=0,
            **kwargs,
        )
        self._guarded = partial(
            GuardedServer,
            bounds=bounds,
            on_malformed=on_malformed,
            refusal_body=refusal_body,
            fallbacks=fallbacks,
            trusts=trusts,
        )

    async def _make_server(self) -> Server:
        plain = await super()._make_server()
        return self._guarded(
            cast(Any, Dispatch(self.app).handle),
            request_factory=partial(GuardedRequest, loop=asyncio.get_running_loop()),
            handler_cancellation=plain.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **plain._kwargs,
        )

"""Which road a request takes to its provider, of two that keep the same contract (`tests/contract`).

The direct road is the cheap one. The session road is for what is unusual, where aiohttp's well-trodden ways count for
more than microseconds: bodies that are streamed up, of known length or not, as they come from the client. All other
bodies are small enough to be in memory whole, and most requests have none. What is unusual about a response shows too
late to choose by; both roads take every response.
"""

from contextlib import AbstractAsyncContextManager

from yarl import URL

from gateway.settings import TcpKeepalive, Timeouts
from gateway.settings.tcp import DEFAULT_KEEPALIVE
from gateway.telemetry.exchange import Road, UpstreamCall
from gateway.telemetry.fallbacks import Fallbacks
from gateway.upstream.direct import DirectExchange, DirectTransport
from gateway.upstream.pool import Pool
from gateway.upstream.session import SessionTransport
from gateway.upstream.transport import Incoming, Outgoing, TransportFactory


def roads(
    forced: Road | None = None, keepalive: TcpKeepalive = DEFAULT_KEEPALIVE, fallbacks: Fallbacks | None = None
) -> TransportFactory:
    """Makes transports that choose for each request, or take the `forced` road with all of them."""

    def made(origin: URL, timeouts: Timeouts, pool_size: int) -> Roads:
        pool = Pool(pool_size, idle=timeouts.pool_idle, keepalive=keepalive, fallbacks=fallbacks)
        return Roads(origin, timeouts, pool, forced)

    return made


_DIRECT, _SESSION = Road.DIRECT, Road.SESSION


class Roads:
    """Both roads to one provider, over one pool: a connection made on one is used again on the other."""

    def __init__(self, origin: URL, timeouts: Timeouts, pool: Pool, forced: Road | None = None) -> None:
        self._pool = pool
        self._forced = forced
        self._direct = DirectTransport(origin, timeouts, pool.limit, pool)
        self._session = SessionTransport(origin, timeouts, pool.limit, pool)

    def send(self, request: Outgoing, call: UpstreamCall) -> AbstractAsyncContextManager[Incoming]:
        """On the forced road; else on the session road for a body that is streamed, the direct one for all else."""
        road = self._forced
        if road is None:
            body = request.body
            road = _DIRECT if body is None or type(body) is bytes else _SESSION
        call.road = road
        return DirectExchange(self._direct, request, call) if road is _DIRECT else self._session.send(request, call)

    async def close(self) -> None:
        await self._direct.close()
        await self._session.close()

    @property
    def in_use(self) -> int:
        """Connections that carry a request now."""
        return self._pool.in_use

    @property
    def idle(self) -> int:
        """Connections that wait to be used."""
        return self._pool.idle

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""
        return self._pool.waiting

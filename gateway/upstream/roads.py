"""Which road a request takes to its provider, of two that keep the same contract (`tests/contract`).

The direct road is the cheap one. The session road is for what is unusual, where aiohttp's well-trodden ways count for
more than microseconds: bodies that are streamed up, of known length or not, as they come from the client. All other
bodies are small enough to be in memory whole, and most requests have none. What is unusual about a response shows too
late to choose by; both roads take every response.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from yarl import URL

from gateway.settings import Timeouts
from gateway.telemetry.exchange import Road, UpstreamCall
from gateway.upstream.direct import DirectTransport
from gateway.upstream.pool import Pool
from gateway.upstream.session import SessionTransport
from gateway.upstream.transport import Incoming, Outgoing, Transport, TransportFactory

Choice = Callable[[Outgoing], Road]


def by_kind(request: Outgoing) -> Road:
    """The session road for a body that is streamed, the direct one for all else."""
    return Road.DIRECT if request.body is None or isinstance(request.body, bytes) else Road.SESSION


def roads(forced: Road | None = None) -> TransportFactory:
    """Makes transports that choose for each request, or take the `forced` road with all of them."""
    choice = by_kind if forced is None else lambda _: forced
    return lambda origin, timeouts, pool_size: Roads(origin, timeouts, pool_size, choice)


class Roads:
    """Both roads to one provider, over one pool: a connection made on one is used again on the other."""

    def __init__(self, origin: URL, timeouts: Timeouts, pool_size: int, choice: Choice = by_kind) -> None:
        self._pool = pool = Pool(pool_size)
        self._choice = choice
        self._transports: dict[Road, Transport] = {
            Road.DIRECT: DirectTransport(origin, timeouts, pool_size, pool),
            Road.SESSION: SessionTransport(origin, timeouts, pool_size, pool),
        }

    def send(self, request: Outgoing, call: UpstreamCall) -> AbstractAsyncContextManager[Incoming]:
        call.road = road = self._choice(request)
        return self._transports[road].send(request, call)

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()

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

"""`Server-Timing`: where a response's time went until its head left, for whoever debugs latency in a browser or SDK.

Source: W3C Server Timing. Durations are in milliseconds. `upstream` sums the waits for the providers' heads; `gateway`
is what is left of the time so far.
"""

from time import monotonic_ns

from aiohttp import web

from gateway.downstream.state import EXCHANGE
from gateway.telemetry.exchange import Exchange

FIELD = "Server-Timing"


async def tell_server_timing(request: web.Request, response: web.StreamResponse) -> None:
    """Add the field to a response that is about to leave; a provider's own stays beside it."""
    if EXCHANGE in request:
        response.headers.add(FIELD, server_timing(request[EXCHANGE], monotonic_ns()))


def server_timing(exchange: Exchange, now: int) -> str:
    """The field's value, for a head that leaves at `now`."""
    spans: list[tuple[str, int]] = []
    if exchange.authenticated is not None:
        spans.append(("auth", exchange.authenticated - exchange.started))
        if exchange.admitted is not None:
            spans.append(("limit", exchange.admitted - exchange.authenticated))
    waited = sum((call.head or call.ended or now) - call.started for call in exchange.calls)
    if exchange.calls:
        spans.append(("upstream", waited))
    spans.append(("gateway", max(0, now - exchange.started - waited)))
    return ", ".join(f"{name};dur={duration / 1e6:.3f}" for name, duration in spans)

"""`Server-Timing`: where a response's time went until its head left, for whoever debugs latency in a browser or SDK.

Source: W3C Server Timing. Durations are in milliseconds. `upstream` is the time in which a provider was waited for: the
whole of calls that have ended, of others the wait for their head. `gateway` is what is left of the time so far.
"""

from collections.abc import Sequence
from time import monotonic_ns

from aiohttp import web

from gateway.downstream.state import EXCHANGE
from gateway.telemetry.exchange import Exchange, UpstreamCall

FIELD = "Server-Timing"


def tell_server_timing(request: web.Request, response: web.StreamResponse) -> None:
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
    waited = _waited(exchange.calls, now)
    if exchange.calls:
        spans.append(("upstream", waited))
    spans.append(("gateway", max(0, now - exchange.started - waited)))
    return ", ".join(f"{name};dur={duration / 1e6:.3f}" for name, duration in spans)


def _waited(calls: Sequence[UpstreamCall], now: int) -> int:
    """The time in which at least one call was waited for; calls side by side count once."""
    waited = last = 0
    for call in sorted(calls, key=lambda call: call.started):
        over = call.ended is not None and call.ended <= now
        until = (call.ended if over else call.head) or now
        if until > last:
            waited += until - max(call.started, last)
            last = until
    return waited

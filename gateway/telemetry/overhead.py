"""What the gateway itself took of an exchange's time."""

from gateway.telemetry.exchange import Exchange, UpstreamCall


def overhead_ns(exchange: Exchange, ended: int) -> int:
    """The time in which the gateway waited neither for an upstream nor for the client, of an exchange over at `ended`.

    That is the time in which no call was open, less the waits for the request's body and before a repeated call, less
    what of the time after the last call was spent in back-pressure. While a call is open the time is the upstream's:
    waiting for its pool, its head or its next chunk, or for a slow client, which holds it back. Never below 0.
    """
    started = last = exchange.started
    outside = ended - started - exchange.waited_for_body_ns - exchange.waited_to_retry_ns
    calls = exchange.calls
    for call in sorted(calls, key=_start) if len(calls) > 1 else calls:
        end = ended if call.ended is None else call.ended
        if end > last:
            outside -= end - (call.started if call.started > last else last)
            last = end
    if exchange.waited_for_client_ns:
        outside -= min(ended - last, exchange.waited_for_client_ns)
    return outside if outside > 0 else 0


def _start(call: UpstreamCall) -> int:
    return call.started

"""What the gateway itself took of an exchange's time."""

from gateway.telemetry.exchange import Exchange, UpstreamCall


def overhead_ns(exchange: Exchange, ended: int) -> int:
    """The time in which the gateway waited neither for an upstream nor for the client, of an exchange over at `ended`.

    That is the time in which no call was open, less the wait for the request's body, less what of the time after the
    last call was spent in back-pressure. While a call is open the time is the upstream's: waiting for its pool, its
    head or its next chunk, or for a slow client, which holds the upstream back. Never below 0.
    """
    outside = ended - exchange.started - exchange.waited_for_body_ns
    last = exchange.started
    for call in sorted(exchange.calls, key=_start) if len(exchange.calls) > 1 else exchange.calls:
        end = ended if call.ended is None else call.ended
        if end > last:
            outside -= end - max(call.started, last)
            last = end
    tail = ended - last
    return max(0, outside - min(tail, exchange.waited_for_client_ns))


def _start(call: UpstreamCall) -> int:
    return call.started

"""How much is taken on: requests at once, and what a client may send with one.

What a head announces is judged before its body is read. Beyond as many requests as are served at once, each is refused
at once: one that waits in a queue costs memory, and its client has given up by the time it is served.
"""

from collections.abc import Collection
from time import monotonic_ns

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.downstream.body import check_length
from gateway.downstream.body_memory import BodyMemory, HeldBody
from gateway.downstream.guarded_request import Message
from gateway.downstream.known_request import KnownRequest
from gateway.downstream.state import EXCHANGE, HELD_BODY, TOLD
from gateway.errors import Overloaded
from gateway.settings import Limits

RETRY_AFTER = 1  # seconds


def limit(limits: Limits, exempt: Collection[str]) -> Middleware:
    """Stands after authentication: who has no key takes no place. `exempt` route templates always have one."""
    exempt, memory = frozenset(exempt), BodyMemory(limits.max_buffered_bytes)
    most, inside = limits.max_concurrent, 0

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal inside
        state = request._state
        most_bytes = limits.max_body_bytes if state[TOLD].head.is_json else limits.max_upload_bytes
        message: Message = request._message
        held = None
        if type(message) is not KnownRequest or message.length > most_bytes:
            check_length(request, most_bytes)
            held = HeldBody(memory)
        exchange = state[EXCHANGE]
        exchange.admitted = monotonic_ns()
        if exchange.route in exempt:
            return await handler(request)
        if inside >= most:
            raise Overloaded(retry_after=RETRY_AFTER)
        inside += 1
        if held is not None:
            state[HELD_BODY] = held
        try:
            return await handler(request)
        finally:
            inside -= 1
            if held is not None:
                held.release()

    return limited

"""How much a client may send: what its head announces is judged before its body is read."""

from time import monotonic_ns

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.downstream.body import check_length, is_json
from gateway.downstream.state import EXCHANGE
from gateway.settings import Limits


def limit(limits: Limits) -> Middleware:
    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        check_length(request, limits.max_body_bytes if is_json(request) else limits.max_upload_bytes)
        request[EXCHANGE].admitted = monotonic_ns()
        return await handler(request)

    return limited

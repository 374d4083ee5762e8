"""The one place where a failure becomes a response, in the dialect of the route that was called.

`as_gateway_error` is the only translator of foreign exceptions, and logs those nobody foresaw.
"""

import asyncio
import logging
import re

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.downstream.state import DIALECT, EXCHANGE, STARTED
from gateway.errors import (
    Drained,
    GatewayError,
    InternalFault,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ProviderNotConfigured,
    Unauthenticated,
)
from gateway.providers.provider import Dialect
from gateway.schema.error_bodies import PROBLEM

ERROR_FIELD = "x-gateway-error"

logger = logging.getLogger("gateway")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure that comes back from further in."""
    exchange = request._state[EXCHANGE]
    try:
        return await handler(request)
    except asyncio.CancelledError:
        if exchange.error != Drained.code:
            raise
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        error: GatewayError = Drained(retry_after=1)
    except Exception as exc:
        error = _not_served(request) if isinstance(exc, web.HTTPNotFound) else as_gateway_error(exc)
    exchange.failed(error)
    if STARTED in request:  # a second response would hang the client
        if request.transport is not None:
            request.transport.close()
        return request[STARTED]
    return answer(error, dialect_of(request), exchange.id, request.path)


def _not_served(request: web.Request) -> GatewayError:
    """Nothing is there; below /provider/ that means that no such provider is configured."""
    below = _PROVIDER.match(request.raw_path)
    if below is None:
        return NotFound()
    return ProviderNotConfigured(f"No provider {below[1]} is configured on this gateway.")


_PROVIDER = re.compile(r"/provider/([A-Za-z0-9._-]{1,64})(?:[/?]|$)")


def as_gateway_error(exc: Exception) -> GatewayError:
    """Our word for any exception."""
    match exc:
        case GatewayError():
            return exc
        case web.HTTPNotFound():
            return NotFound()
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(headers={"Allow": ", ".join(sorted(exc.allowed_methods))})
        case web.HTTPRequestEntityTooLarge():
            return PayloadTooLarge()
        case _:
            logger.error("a fault of the gateway", exc_info=exc)
            return InternalFault()


def dialect_of(request: web.Request) -> Dialect | None:
    """The dialect of the route called, None where errors are the gateway's own."""
    for app in reversed(request.match_info.apps):
        dialect = app.get(DIALECT)
        if dialect is not None:
            return dialect
    return None


def answer(error: GatewayError, dialect: Dialect | None, request_id: str, path: str) -> web.Response:
    """`error` as a response."""
    fields = {ERROR_FIELD: error.code, "x-request-id": request_id, **error.headers}
    if error.retry_after is not None:
        fields["Retry-After"] = str(error.retry_after)
    if not error.retryable:
        fields["x-should-retry"] = "false"
    if isinstance(error, Unauthenticated):
        fields["WWW-Authenticate"] = 'Bearer realm="gateway"'
    if dialect is None:
        body = PROBLEM.render(error, request_id, path)
        return web.Response(status=error.status, body=body, headers=fields, content_type=PROBLEM.media_type)
    if dialect.name == "anthropic":
        fields["request-id"] = request_id
    body = dialect.error(error, request_id)
    return web.Response(status=error.status, body=body, headers=fields, content_type="application/json")

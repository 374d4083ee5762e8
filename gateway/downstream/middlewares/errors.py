"""The one place where a failure becomes a response, in the dialect of the route that was called.

`as_gateway_error` is the only translator of foreign exceptions, and logs those nobody foresaw.
"""

import asyncio
import logging

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.downstream.directory import Directory, dialect_meant
from gateway.downstream.state import CLIENT, DIALECT, EXCHANGE, STARTED
from gateway.errors import (
    Drained,
    GatewayError,
    InternalFault,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    Unauthenticated,
)
from gateway.providers.provider import Dialect
from gateway.schema.error_bodies import PROBLEM

ERROR_FIELD = "x-gateway-error"

logger = logging.getLogger("gateway")


def errors(directory: Directory) -> Middleware:
    """Answer every failure that comes back from further in; `directory` words the 404s."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
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
            error = not_found(request) if isinstance(exc, web.HTTPNotFound) else as_gateway_error(exc)
        exchange.failed(error)
        if STARTED in request:  # a second response would hang the client
            if request.transport is not None:
                request.transport.close()
            return request[STARTED]
        dialect = dialect_of(request) or dialect_meant(request.raw_path.partition("?")[0])
        response = answer(error, dialect, exchange.id, request.path)
        if "Connection" in error.headers:  # which says that this one ends
            response.force_close()
        return response

    def not_found(request: web.Request) -> GatewayError:
        if CLIENT not in request:
            return NotFound()
        return directory.not_found(request.raw_path.partition("?")[0], request[CLIENT], request[EXCHANGE].origin)

    return answered


def as_gateway_error(exc: Exception) -> GatewayError:
    """Our word for any exception."""
    match exc:
        case GatewayError():
            return exc
        case web.HTTPNotFound():
            return NotFound()
        case web.HTTPMethodNotAllowed():
            allowed = sorted(exc.allowed_methods)
            return MethodNotAllowed(f"Use {' or '.join(allowed)} at this path.", headers={"Allow": ", ".join(allowed)})
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

"""`/metrics`, for Prometheus: on the gateway's own port, or on a listener by itself."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import hdrs, web

from gateway.downstream.routes import Served
from gateway.errors import GatewayError, Overloaded, Unauthenticated
from gateway.schema.operation import Operation, Response
from gateway.settings.metrics import MetricsSettings
from gateway.telemetry.exposition import expose
from gateway.telemetry.series import Figures

Gathered = Callable[[], Awaitable[Iterable[Figures]]]
"""What a scrape is told, as it is now. Raises Overloaded where it cannot be gathered."""

METRICS = Operation(
    "GET",
    "/metrics",
    "Figures for Prometheus",
    description="Text 0.0.4, or OpenMetrics 1.0 with exemplars where that is preferred. Where a token is set for "
    "it, it takes that as a bearer token, and no gateway key.",
    tags=("gateway",),
    public=True,
    responses=(Response(200, "The figures.", str, "text/plain"),),
    errors=(Unauthenticated, Overloaded),
)


def metrics_route(gathered: Gathered, settings: MetricsSettings) -> Served:
    """The route; a client's key has no say in it."""

    async def exposed(request: web.Request) -> web.Response:
        if not settings.admits(request.headers.get(hdrs.AUTHORIZATION)):
            raise Unauthenticated("Send the token of GATEWAY_METRICS_TOKEN as a bearer token.")
        exposition = expose(await gathered(), ",".join(request.headers.getall(hdrs.ACCEPT, ())))
        return web.Response(body=exposition.body, headers={hdrs.CONTENT_TYPE: exposition.content_type})

    return Served(METRICS, exposed)


def metrics_app(gathered: Gathered, settings: MetricsSettings) -> web.Application:
    """An application with nothing else, for a listener by itself."""
    served = metrics_route(gathered, settings)

    async def exposed(request: web.Request) -> web.StreamResponse:
        try:
            return await served.handler(request)
        except GatewayError as refused:
            challenge = {hdrs.WWW_AUTHENTICATE: 'Bearer realm="metrics"'} if refused.status == 401 else {}
            return web.Response(status=refused.status, text=f"{refused.message}\n", headers=challenge)

    app = web.Application()
    app.router.add_get(METRICS.path, exposed)
    return app

"""Which web pages may call (the CORS protocol of the Fetch standard): aiohttp-cors, on every application of the house.

Rule 1: a preflight is answered before anybody asks for a key, the same for every path, one that leads nowhere too.
Rule 2: whatever an allowed page gets, it may read: refusals, errors and streams as well as good answers.
Rule 3: every answer says that it depends on the origin, lest a cache hands one page what was made for another.

aiohttp-cors works on routes: it refuses those for all methods, knows origins by equality alone, and never sees a
request that leads nowhere. `Pages` stands in the place of its router, where it asks which page may do what.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from aiohttp_cors import CorsConfig, ResourceOptions
from aiohttp_cors.abc import AbstractRouterAdapter

from gateway.downstream.middlewares.errors import ERROR_FIELD
from gateway.downstream.state import EXCHANGE
from gateway.errors import OriginRefused
from gateway.settings.cors import ANY, CorsSettings

Preflight = Callable[[web.Request], Awaitable[web.Response]]
Opened = Callable[[web.Application], web.Application]

PREFLIGHT_VARIES = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


def open_to_pages(settings: CorsSettings) -> Opened:
    """What lets the pages of `settings` call an application, and returns it; those below it ask for it themselves."""
    if not settings.origins:
        return lambda app: app
    allowed = Origins(settings)

    def opened(app: web.Application) -> web.Application:
        app[PAGES] = pages = Pages(app, allowed)
        app.on_response_prepare.append(_vary)
        CorsConfig(app, router_adapter=pages).add(app)
        return app

    return opened


@web.middleware
async def preflights(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflights; to stand before authentication, since a browser sends no key with one."""
    app = request.match_info.apps[-1]
    if not is_preflight(request) or PAGES not in app:
        return await handler(request)
    try:
        response = await app[PAGES].preflight(request)
    except web.HTTPForbidden:  # its text repeats what was sent
        request[EXCHANGE].failed(OriginRefused())
        response = web.Response(status=OriginRefused.status, headers={ERROR_FIELD: OriginRefused.code})
    response.headers[hdrs.VARY] = PREFLIGHT_VARIES
    return response


def is_preflight(request: web.BaseRequest) -> bool:
    """Whether a browser asks what a page may do; any other OPTIONS request is a provider's business."""
    fields = request.headers
    return request.method == hdrs.METH_OPTIONS and _ORIGIN in fields and _METHOD in fields


_ORIGIN, _METHOD, _FIELDS = hdrs.ORIGIN, hdrs.ACCESS_CONTROL_REQUEST_METHOD, hdrs.ACCESS_CONTROL_REQUEST_HEADERS


class Origins(Mapping[str, ResourceOptions]):
    """The options of each allowed origin, as aiohttp-cors looks them up; origins with `*.` hold for every subdomain."""

    def __init__(self, settings: CorsSettings) -> None:
        self.methods = frozenset(settings.methods)
        self._options = _options(settings)
        self._listed = settings.origins
        self._any = ANY in settings.origins
        wild = [origin for origin in settings.origins if "://*." in origin]
        self._exact = frozenset(settings.origins) - {ANY, *wild}
        self._patterns = tuple(map(_subdomains_of, wild))

    def __getitem__(self, origin: str) -> ResourceOptions:
        if origin in self._exact or any(pattern.fullmatch(origin) for pattern in self._patterns):
            return self._options
        if self._any and origin != ANY and _is_plain(origin):  # aiohttp-cors looks `*` up where it found nothing
            return self._options
        raise KeyError(origin)

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


class Pages(AbstractRouterAdapter):
    """What aiohttp-cors asks of a router, answered for all requests that end in one application."""

    def __init__(self, app: web.Application, origins: Origins) -> None:
        self._app = app
        self._origins = origins
        self.preflight: Preflight = _nobody_answers

    def add_preflight_handler(self, routing_entity: object, handler: Preflight, webview: bool = False) -> None:
        self.preflight = handler

    def set_config_for_routing_entity(self, routing_entity: object, config: object) -> None:
        """All of an application has the same."""

    def is_preflight_request(self, request: web.Request) -> bool:
        return is_preflight(request)

    def is_cors_enabled_on_request(self, request: web.Request) -> bool:
        # The applications above see the response too; one of them all shall add the fields.
        return request.match_info.apps[-1] is self._app

    async def get_preflight_request_config(
        self, preflight_request: web.Request, origin: str, requested_method: str
    ) -> Mapping[str, ResourceOptions]:
        """Raises KeyError for what is not allowed."""
        fields = ",".join(preflight_request.headers.getall(_FIELDS, ()))
        if requested_method not in self._origins.methods or not _is_plain(fields):
            raise KeyError(requested_method)
        return self._origins

    def get_non_preflight_request_config(self, request: web.Request) -> Mapping[str, ResourceOptions]:
        return self._origins


PAGES = web.AppKey("pages", Pages)


async def _nobody_answers(request: web.Request) -> web.Response:
    raise web.HTTPForbidden


async def _vary(request: web.Request, response: web.StreamResponse) -> None:
    told = ",".join(response.headers.getall(hdrs.VARY, ())).lower()
    if "origin" not in map(str.strip, told.split(",")) and "*" not in told:
        response.headers.add(hdrs.VARY, "Origin")


def _options(settings: CorsSettings) -> ResourceOptions:
    return ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=settings.credentials,
        expose_headers=_listed(settings.expose_headers),
        allow_headers=_listed(settings.headers),
        allow_methods=settings.methods,
        max_age=settings.max_age,
    )


def _listed(fields: tuple[str, ...]) -> Any:
    return ANY if fields == (ANY,) else fields


def _subdomains_of(origin: str) -> re.Pattern[str]:
    scheme, _, host = origin.partition("://*")
    return re.compile(rf"{re.escape(scheme)}://[a-z0-9_-]+(?:\.[a-z0-9_-]+)*{re.escape(host)}")


# What may be repeated to whoever sent it.
_is_plain = re.compile(r"[!-~ \t]{0,4096}").fullmatch

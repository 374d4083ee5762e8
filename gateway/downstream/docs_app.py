"""`/docs` and `/openapi.json`: the document, and a page that shows it with nothing from outside this process.

The page's files are open, since a browser cannot send a key with an address; they are the same for everyone. The
document tells which providers and projects there are, and so asks for a key unless it is told not to.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from aiohttp import web

import gateway
from gateway.downstream.routes import Served
from gateway.errors import NotFound
from gateway.schema.operation import JSON, Operation, Parameter, Response
from gateway.settings.docs import Docs

STATIC = Path(__file__).parent / "docs_page" / "static"
FILES = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "LICENSE": "text/plain",
}
VERSION = f'"{gateway.__version__}"'
PAGE_FIELDS = {
    # Swagger UI sets style attributes; everything else keeps to the strictest there is.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "ETag": VERSION,
}

PAGE = Operation(
    "GET",
    "/docs",
    "This documentation",
    description="Swagger UI, served from the gateway alone.",
    tags=("gateway",),
    public=True,
    responses=(Response(200, "The page.", media_type="text/html"),),
)
PAGE_FILE = Operation(
    "GET",
    "/docs/{name}",
    "A file of the documentation's page",
    tags=("gateway",),
    public=True,
    parameters=(Parameter("name", "path", "Which.", {"type": "string", "enum": list(FILES)}),),
    responses=(Response(200, "The file.", media_type="*/*"),),
    errors=(NotFound,),
)
DOCUMENT = Operation(
    "GET",
    "/openapi.json",
    "This documentation as OpenAPI 3.1",
    tags=("gateway",),
    responses=(Response(200, "An OpenAPI 3.1 document.", media_type=JSON),),
)


def docs_routes(settings: Docs, render: Callable[[], bytes]) -> tuple[Served, ...]:
    """The page and the document; `render` is asked for it once, when it is first wanted."""
    if not settings.served:
        return ()
    rendered = cache(render)

    async def page(request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in FILES:
            raise NotFound()
        if request.headers.get("If-None-Match") == VERSION:
            return web.Response(status=304, headers=PAGE_FIELDS)
        body = await asyncio.to_thread((STATIC / name).read_bytes)
        return web.Response(body=body, content_type=FILES[name], charset="utf-8", headers=PAGE_FIELDS)

    async def document(request: web.Request) -> web.Response:
        return web.Response(body=rendered(), content_type=JSON, headers={"Cache-Control": "no-cache"})

    return (
        Served(PAGE, page, also=f"{PAGE.path}/"),
        Served(PAGE_FILE, page),
        Served(replace(DOCUMENT, public=settings.public), document),
    )

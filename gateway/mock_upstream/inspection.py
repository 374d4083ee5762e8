"""Looking at the mock from outside: what arrived, what is open, what exactly a request looked like here."""

from __future__ import annotations

from aiohttp import web

from gateway.mock_upstream.asking import begin
from gateway.mock_upstream.journal import ARRIVAL, JOURNAL, body_chunks
from gateway.mock_upstream.sending import send_document


def routes() -> list[web.RouteDef]:
    return [
        web.get("/health", health),
        web.get("/mock/requests", list_requests),
        web.delete("/mock/requests", forget_requests),
        web.get("/mock/open", count_open),
        web.route("*", "/mock/echo", echo),
        web.route("*", "/mock/echo/{tail:.*}", echo),
    ]


async def health(request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok"})


async def list_requests(request: web.Request) -> web.StreamResponse:
    """The requests that arrived last, the newest last."""
    return web.json_response({"requests": [arrival.document() for arrival in request.app[JOURNAL].arrivals]})


async def forget_requests(request: web.Request) -> web.StreamResponse:
    request.app[JOURNAL].clear()
    return web.Response(status=204)


async def count_open(request: web.Request) -> web.StreamResponse:
    return web.json_response({"open": request.app[JOURNAL].open})


async def echo(request: web.Request) -> web.StreamResponse:
    """The request as it arrived, after the whole of its body was read and let go."""
    async for _ in body_chunks(request):
        pass
    behaviour, _ = await begin(request)
    told = request[ARRIVAL].document()
    names = ("method", "target", "headers", "body_length", "body_sha256")
    return await send_document(request, {name: told[name] for name in names}, behaviour)

"""What operators and their machines ask: is it alive, is it ready, what is it."""

import time
from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

import gateway
from gateway.downstream.ops_contract import HEALTH, LIVE, READY, ROOT
from gateway.downstream.routes import Served
from gateway.errors import Draining


def ops_routes(*, build: str, is_draining: Callable[[], bool]) -> tuple[Served, ...]:
    """`/`, `/health`, `/livez` and `/readyz`: open to everyone, and telling nothing that is not."""
    began = time.monotonic()

    async def root(request: web.Request) -> web.Response:
        return _json({"service": "llm-gateway", "version": gateway.__version__})

    async def health(request: web.Request) -> web.Response:
        uptime = round(time.monotonic() - began, 1)
        facts = {"status": "ok", "version": gateway.__version__, "build": build or "unknown", "uptime_seconds": uptime}
        return _json(facts)

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if is_draining():
            raise Draining(retry_after=5)
        return web.Response(text="ok\n")

    return Served(ROOT, root), Served(HEALTH, health), Served(LIVE, livez), Served(READY, readyz)


def _json(facts: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(facts), content_type="application/json")

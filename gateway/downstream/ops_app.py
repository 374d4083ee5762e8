"""What operators and their machines ask: is it alive, is it ready, what is it."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson
from aiohttp import web

import gateway
from gateway.access.clients import Client, Clients
from gateway.downstream.middlewares.authenticate import client_of
from gateway.downstream.ops_contract import HEALTH, LIVE, READY, ROOT, VERBOSE
from gateway.downstream.routes import Served
from gateway.errors import Draining, Unauthenticated
from gateway.upstream.circuit import Door, State


def ops_routes(
    *, build: str, is_draining: Callable[[], bool], doors: Collection[Door], clients: Clients
) -> tuple[Served, ...]:
    """`/`, `/health`, `/livez` and `/readyz`: open to everyone, and telling nothing that is not.

    Which providers there are is told only to those whose key may use them.
    """
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
        if VERBOSE in request.query:
            return _json(_readiness(doors, _client(request, clients)))
        return web.Response(text="ok\n")

    return Served(ROOT, root), Served(HEALTH, health), Served(LIVE, livez), Served(READY, readyz)


def _readiness(doors: Collection[Door], client: Client | None) -> Mapping[str, object]:
    """A provider that fails makes the gateway no less ready: to send its clients elsewhere would help nobody."""
    found = Counter(door.circuit.state for door in doors)
    told: dict[str, Any] = {"status": "ready", "circuits": {state.value: found[state] for state in State}}
    if client is not None:
        told["providers"] = {
            door.name: {"circuit": door.circuit.state, "calls": door.open}
            for door in doors
            if client.may_use_provider(door.name)
        }
    return told


def _client(request: web.Request, clients: Clients) -> Client | None:
    try:
        return client_of(request, clients)
    except Unauthenticated:
        return None


def _json(facts: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(facts), content_type="application/json")

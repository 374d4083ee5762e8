"""A small application behind the runner production uses, and what it saw, for tests of what stands before handlers."""

import asyncio
import functools
import inspect
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import uvloop
from aiohttp import web

from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.refusal import Malformed
from gateway.downstream.runner import GuardedRunner
from tests.raw_http import RawResponse, connected

GOOD = b"GET /echo HTTP/1.1\r\nHost: gateway\r\n\r\n"
BROAD = ConnectionBounds(head_timeout=5, body_timeout=5, linger=1)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
QUICK = ConnectionBounds(head_timeout=0.4, body_timeout=0.4, linger=0.4, min_body_rate=1000)


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on asyncio's own loop and on uvloop, which is what production uses."""

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**arguments))  # type: ignore[arg-type]

    own = inspect.signature(test).parameters.values()
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([new_loop, *own])  # type: ignore[attr-defined]
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


@dataclass
class Served:
    """A running server: its port, what it heard of malformed requests, what its handlers saw."""

    port: int = 0
    malformed: list[Malformed] = field(default_factory=list)
    handled: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    left_at: list[float] = field(default_factory=list)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    runner: GuardedRunner | None = None

    def app(self, handlers: Mapping[str, Handler]) -> web.Application:
        app = web.Application()
        for path, handler in handlers.items():
            app.router.add_route("*", path, handler)
        app.router.add_route("*", "/echo", self.echo)
        app.router.add_route("*", "/ignore", self.ignore)
        app.router.add_route("*", "/swallow", self.swallow)
        app.router.add_route("*", "/stream", self.stream)
        app.router.add_route("*", "/hang", self.hang)
        app.router.add_route("*", "/sip", self.sip)
        app.router.add_route("*", "/wait", self.wait)
        app.router.add_route("*", "/key", self.key)
        app.router.add_route("*", "/refuse", self.refuse)
        app.router.add_route("*", "/fail", self.fail)
        app.router.add_route("*", "/fail_late", self.fail_late)
        app.router.add_route("*", "/nothing", self.nothing)
        app.router.add_route("*", "/injected", self.injected)
        app.router.add_route("*", "/big", self.big)
        app.router.add_route("*", "/sizable", self.sizable)
        return app

    async def echo(self, request: web.Request) -> web.Response:
        self.handled.append(request.raw_path)
        body = await request.read()
        seen = {"method": request.method, "target": request.raw_path, "fields": list(request.headers.items())}
        return web.json_response({**seen, "body": body.decode("latin-1")})

    async def ignore(self, request: web.Request) -> web.Response:
        self.handled.append(request.raw_path)
        return web.Response(text="ignored")

    async def swallow(self, request: web.Request) -> web.Response:
        self.handled.append(request.raw_path)
        await request.content.read()
        return web.Response(text="swallowed")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_any():
            await response.write(chunk)
        return response

    async def hang(self, request: web.Request) -> web.Response:
        self.handled.append(request.raw_path)
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left_at.append(time.monotonic())
        raise AssertionError

    async def sip(self, request: web.Request) -> web.Response:
        await request.content.readany()
        return await self.hang(request)

    async def wait(self, request: web.Request) -> web.Response:
        self.handled.append(request.raw_path)
        self.started.set()
        await self.proceed.wait()
        return web.Response(text="waited")

    async def key(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("X-API-Key") == "k" else 401)

    async def refuse(self, request: web.Request) -> web.Response:
        return web.Response(status=413, text="no")

    async def fail(self, request: web.Request) -> web.Response:
        raise ZeroDivisionError

    async def fail_late(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise ZeroDivisionError

    async def nothing(self, request: web.Request) -> web.StreamResponse:
        return None  # type: ignore[return-value]

    async def injected(self, request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"X-Set": "a\r\nX-More: b"})

    async def big(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.started.set()
        try:
            for _ in range(2000):
                await response.write(bytes(65536))
        finally:
            self.left_at.append(time.monotonic())
        return response

    async def sizable(self, request: web.Request) -> web.StreamResponse:
        self.handled.append(request.raw_path)
        request.transport.set_write_buffer_limits(2**30)
        return web.Response(body=bytes(16 * 2**20))


@asynccontextmanager
async def served(
    bounds: ConnectionBounds = BROAD,
    handlers: Mapping[str, Handler] = MappingProxyType({}),
    app: web.Application | None = None,
    **kwargs: Any,
) -> AsyncIterator[Served]:
    """The application with `handlers` by path, or another one, as production would run it."""
    it = Served()
    app = it.app(handlers) if app is None else app
    it.runner = GuardedRunner(app, bounds=bounds, on_malformed=it.malformed.append, shutdown_timeout=1, **kwargs)
    await it.runner.setup()
    await web.TCPSite(it.runner, "127.0.0.1", 0).start()
    it.port = it.runner.addresses[0][1]
    try:
        yield it
    finally:
        await it.runner.cleanup()


async def answer_to(it: Served, *pieces: bytes | str | float) -> RawResponse:
    async with connected(it.port) as client:
        await client.send(*pieces)
        return await client.response()


async def assert_serves_on(it: Served) -> None:
    assert (await answer_to(it, GOOD)).status == 200


def assert_refusal(answer: RawResponse, status: int) -> None:
    assert answer.status == status
    assert answer.field("Connection") == b"close"
    assert answer.field("Content-Type") == b"application/json"
    assert answer.field("x-gateway-error") is not None
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == answer.field("x-gateway-error").decode()

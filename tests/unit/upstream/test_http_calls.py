"""A workflow's own HTTP calls stand on the record like any other call."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.settings import TcpKeepalive
from gateway.telemetry.exchange import Exchange, Outcome, TraceIds
from gateway.upstream.http_calls import HttpCalls
from tests.tcp import keepalive_of


@pytest.fixture
async def shop() -> AsyncIterator[TestServer]:
    async def prices(request: web.Request) -> web.Response:
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        traced = request.headers.getall("traceparent", [])
        response = web.json_response({"traceparent": traced, "price": 3, "port": port})
        response.set_cookie("visited", "yes")
        return response

    async def cookies(request: web.Request) -> web.Response:
        return web.json_response(dict(request.cookies))

    async def silence(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits this long")

    app = web.Application()
    app.add_routes([web.get("/prices", prices), web.get("/cookies", cookies), web.get("/silence", silence)])
    async with TestServer(app) as server:
        yield server


@pytest.fixture
def exchange() -> Exchange:
    trace = TraceIds(trace_id="a" * 32, span_id="b" * 16, flags=1)
    return Exchange("req_1", "POST", "/projects/demo/summary", trace, workflow_span_id="c" * 16)


async def test_a_call_is_recorded_below_the_workflow(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        async with session.get(shop.make_url("/prices")) as response:
            body = await response.read()
    (call,) = exchange.calls
    assert (call.provider, call.method, call.path, call.status) == ("http", "GET", "/prices", 200)
    assert (call.server, call.port, call.step) == ("127.0.0.1", shop.port, "127.0.0.1")
    assert call.parent_span_id == "c" * 16
    assert call.bytes_received == len(body)
    assert call.outcome is Outcome.COMPLETE
    assert call.ended is not None and call.head is not None and call.started <= call.head <= call.ended


async def test_a_connection_is_probed(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls(TcpKeepalive(idle=41, interval=7, probes=3)) as calls, calls.session(exchange) as session:
        async with session.get(shop.make_url("/prices")) as response:
            port = (await response.json())["port"]
        assert shop.port is not None
        assert keepalive_of(("127.0.0.1", port), ("127.0.0.1", shop.port)) == (1, 41, 7, 3)


async def test_the_trace_goes_on_with_the_calls_own_span(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        async with session.get(shop.make_url("/prices")) as response:
            told = (await response.json())["traceparent"]
    assert told == [f"00-{'a' * 32}-{exchange.calls[0].span_id}-01"]


async def test_a_query_is_not_recorded(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        async with session.get(shop.make_url("/prices").with_query(key="hunter2")) as response:
            await response.read()
    assert "hunter2" not in repr(exchange)


async def test_cookies_are_not_kept(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        async with session.get(shop.make_url("/prices")) as response:
            await response.read()
        async with session.get(shop.make_url("/cookies")) as response:
            assert await response.json() == {}


async def test_a_server_that_is_not_there_is_recorded_as_unreachable(exchange: Exchange, unused_tcp_port: int) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:{unused_tcp_port}/")
    assert exchange.calls[0].outcome is Outcome.UPSTREAM_UNREACHABLE


async def test_a_server_that_is_too_slow_is_recorded_as_such(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        with pytest.raises(TimeoutError):
            await session.get(shop.make_url("/silence"), timeout=aiohttp.ClientTimeout(total=0.05))
    assert exchange.calls[0].outcome is Outcome.UPSTREAM_TIMEOUT


async def test_a_call_that_is_stopped_is_recorded_as_left(shop: TestServer, exchange: Exchange) -> None:
    async with HttpCalls() as calls, calls.session(exchange) as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await session.get(shop.make_url("/silence"))
    (call,) = exchange.calls
    assert call.outcome is Outcome.CLIENT_GONE and call.ended is not None

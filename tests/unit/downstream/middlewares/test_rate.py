"""Requests are let in or answered 429, and both are told where they stand."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from aiohttp.typedefs import Handler

from gateway.access.budgets import Budgets
from gateway.access.clients import Client
from gateway.access.gate import Gate, Tokens
from gateway.access.rate_memory import MemoryLimiter
from gateway.downstream.directory import Directory
from gateway.downstream.middlewares.errors import errors
from gateway.downstream.middlewares.rate import rate, show_limits
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.state import CLIENT, DIALECT, EXCHANGE
from gateway.providers.declarations import CUSTOMS
from gateway.settings.limits import Unit, parse_rules, scope
from gateway.telemetry.exchange import Exchange, TraceIds

Connect = Callable[[web.Application], Awaitable[TestClient[web.Request, web.Application]]]

ALICE = Client("alice", providers=frozenset({"openai", "anthropic", "gemini"}), projects=frozenset({"demo"}))


@pytest.fixture
def gate() -> Gate:
    return Gate(Budgets(), MemoryLimiter())


def gate_of(rules: str) -> Gate:
    found, problems = parse_rules(rules)
    assert not problems
    return Gate(Budgets(found), MemoryLimiter())


def application(gate: Gate, handler: Handler, client: Client | None = ALICE) -> web.Application:
    """The middleware between those it stands between, and a sub-application for each kind of route."""

    @web.middleware
    async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        trace = TraceIds(trace_id="a" * 32, span_id="b" * 16)
        route = "unmatched" if resource is None else resource.canonical
        request[EXCHANGE] = Exchange("req_1", request.method, request.path, trace, route=route)
        if client is not None:
            request[CLIENT] = client
        return await handler(request)

    app = web.Application(middlewares=[known, errors(Directory((), ())), rate(gate)])
    app.on_response_prepare.append(_show)
    for name in ("openai", "anthropic", "gemini", "other"):
        provider = web.Application()
        provider[DIALECT] = CUSTOMS[name if name in CUSTOMS else "openai"].dialect
        provider.router.add_route("*", "/{tail:.*}", handler)
        app.add_subapp(f"/provider/{name}", provider)
    for name in ("demo", "closed"):
        project = web.Application()
        project.router.add_get("/run", handler)
        app.add_subapp(f"/projects/{name}", project)
    app.router.add_get("/open", handler)
    return app


async def _show(request: web.Request, response: web.StreamResponse) -> None:
    show_limits(request, response)


async def fine(request: web.Request) -> web.StreamResponse:
    return web.json_response({})


async def test_a_request_over_the_limit_is_a_429_in_the_dialect_of_its_route(aiohttp_client: Connect) -> None:
    client = await aiohttp_client(application(gate_of("key: 2 requests/15s"), fine))
    for _ in range(2):
        assert (await client.get("/provider/openai/x")).status == 200
    refused = await client.get("/provider/openai/x")
    assert refused.status == 429
    error = (await refused.json())["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert error["message"] == "Limit reached: 2 requests per 15s for this key. Try again in 8 s."
    assert refused.headers["Retry-After"] == "8"
    assert refused.headers["RateLimit-Policy"] == '"key-requests-15s";q=2;w=15;qu="requests"'
    assert refused.headers["RateLimit"] == '"key-requests-15s";r=0;t=8'
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-should-retry" not in refused.headers


async def test_a_good_answer_tells_the_same(aiohttp_client: Connect) -> None:
    client = await aiohttp_client(application(gate_of("key: 2 requests/h"), fine))
    answered = await client.get("/provider/anthropic/x")
    assert answered.headers.getall("RateLimit-Policy") == ['"key-requests-hour";q=2;w=3600;qu="requests"']
    assert answered.headers.getall("RateLimit") == ['"key-requests-hour";r=1;t=1800']
    assert answered.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert answered.headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert "x-ratelimit-limit-requests" not in answered.headers


@pytest.mark.parametrize("path", ["/provider/gemini/x", "/projects/demo/run", "/open"])
async def test_where_an_api_has_no_fields_of_its_own_the_ietfs_remain(aiohttp_client: Connect, path: str) -> None:
    client = await aiohttp_client(application(gate_of("key: 2 requests/h"), fine))
    told = {name for name in (await client.get(path)).headers if "ratelimit" in name.lower()}
    assert told == {"RateLimit", "RateLimit-Policy"}


async def test_what_a_provider_told_of_its_own_limits_stays(aiohttp_client: Connect) -> None:
    async def relayed(request: web.Request) -> web.StreamResponse:
        fields = [(b"X-RateLimit-Remaining-Requests", b"4999"), (b"RateLimit", b'"theirs";r=1')]
        return RelayedResponse(200, "OK", fields, body=b"")

    client = await aiohttp_client(application(gate_of("key: 2 requests/h"), relayed))
    fields = (await client.get("/provider/openai/x")).headers
    assert fields.getall("x-ratelimit-remaining-requests") == ["4999"]
    assert "x-ratelimit-limit-requests" not in fields
    assert fields.getall("RateLimit") == ['"theirs";r=1', '"key-requests-hour";r=1;t=1800']


async def test_each_provider_and_project_has_its_own_limit(aiohttp_client: Connect) -> None:
    client = await aiohttp_client(application(gate_of("provider openai: 1 requests/h; project: 1 requests/h"), fine))
    paths = [
        "/provider/openai/x",
        "/provider/openai/y",
        "/provider/gemini/x",
        "/projects/demo/run",
        "/projects/demo/run",
    ]
    assert [(await client.get(path)).status for path in paths] == [200, 429, 200, 200, 429]


@pytest.mark.parametrize(
    ("barred", "own", "rules"),
    [
        ("/provider/other/x", "/provider/openai/x", "provider: 1 requests/h"),
        ("/projects/closed/run", "/projects/demo/run", "project: 1 requests/h"),
    ],
)
async def test_who_may_not_use_a_place_uses_up_nothing_of_it(
    aiohttp_client: Connect, barred: str, own: str, rules: str
) -> None:
    client = await aiohttp_client(application(gate_of(rules), fine))
    assert [(await client.get(barred)).status for _ in range(3)] == [200, 200, 200]  # refusing it is another's business
    assert [(await client.get(own)).status for _ in range(2)] == [200, 429]


async def test_who_has_no_key_is_not_counted(aiohttp_client: Connect) -> None:
    client = await aiohttp_client(application(gate_of("key: 1 requests/h"), fine, client=None))
    for _ in range(3):
        answered = await client.get("/open")
        assert answered.status == 200
        assert "RateLimit" not in answered.headers


async def test_places_are_free_again_however_a_request_ends(aiohttp_client: Connect) -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound if request.query else RuntimeError("a bug")

    gate = gate_of("key: 1 concurrent")
    client = await aiohttp_client(application(gate, failing))
    for query in ("", "?missing", "", "?missing"):
        assert (await client.get(f"/provider/openai/x{query}")).status != 429
    assert len(gate) == 0


async def test_a_limit_that_depends_on_the_body_waits_for_it(aiohttp_client: Connect) -> None:
    gate = gate_of("key: 1 requests/h, 100 tokens/h")
    entered: list[bool] = []

    async def relaying(request: web.Request) -> web.StreamResponse:
        admission = gate.admission_of(request[EXCHANGE])
        assert admission is not None
        entered.append(admission.shown is not None)
        hold = await admission.enter_call("openai", "m", Tokens(10, 10))
        admission.leave_call(hold, Tokens(20, 20))
        return web.json_response({})

    client = await aiohttp_client(application(gate, relaying))
    answered = await client.post("/provider/openai/x")
    assert answered.headers["RateLimit"].startswith('"key-requests-hour";r=0;t=3600, "key-tokens-hour";r=80;')
    assert answered.headers["x-ratelimit-remaining-tokens"] == "80"
    assert (await client.post("/provider/openai/x")).status == 429
    assert entered == [False, False]


async def test_a_keys_own_limit_holds_as_soon_as_it_is_known(aiohttp_client: Connect, gate: Gate) -> None:
    bounded = replace(ALICE, requests=scope(Unit.REQUESTS)("1/h"))
    for who, statuses in ((ALICE, [200, 200]), (bounded, [200, 429])):
        client = await aiohttp_client(application(gate, fine, client=who))
        assert [(await client.get("/open")).status for _ in range(2)] == statuses

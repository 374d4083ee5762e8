"""What web pages of allowed and of foreign origins get, on every kind of route."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import ClientResponse, web

from gateway.downstream.cors import PAGES
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream, answer, begin, close, end, event

APP = "https://app.example.com"
FOREIGN = "https://evil.test"
CHAT = "/provider/openai/v1/chat/completions"
ALLOW = "Access-Control-Allow-"

PATHS = (
    "/",
    "/health",
    "/metrics",
    "/tickets",
    "/openapi.json",
    "/projects",
    "/projects/demo/summary",
    "/projects/demo/nothing",
    "/projects/nothing/at/all",
    CHAT,
    "/provider/anthropic/v1/messages",
    "/provider/groq/openai/v1/models",  # known, but not configured
    "/provider/nobody/v1",
    "/nothing",
    "/demo/nothing.js",
)


ROLES = ("POINTS", "WRITER", "JUDGE", "CANDIDATE_1", "CANDIDATE_2")
DEMO = {"GATEWAY_PROJECTS": "demo", **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ROLES}}


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start(GATEWAY_CORS_ORIGINS=f"{APP},https://*.example.org", **DEMO)


@pytest.fixture
async def page() -> AsyncIterator[aiohttp.ClientSession]:
    """Sends nothing by itself: no key."""
    async with aiohttp.ClientSession() as session:
        yield session


def asks(origin: str = APP, method: str = "POST", fields: str | None = "content-type,x-api-key") -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return asked if fields is None else {**asked, "Access-Control-Request-Headers": fields}


def comparable(response: ClientResponse) -> tuple[int, Mapping[str, object]]:
    """All of a response but what differs by chance."""
    fields = {name.lower(): value for name, value in response.headers.items()}
    allowed = fields.get("access-control-allow-headers", "")
    by_chance = {"date": "", "x-gateway-request-id": "", "access-control-allow-headers": sorted(allowed.split(","))}
    return response.status, {**fields, **by_chance}


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_needs_no_key_and_reveals_nothing(
    gateway: Running, upstream: ScriptedUpstream, page: aiohttp.ClientSession, path: str
) -> None:
    for origin in (APP, "https://a.b.example.org"):
        async with page.options(gateway.url + path, headers=asks(origin)) as response:
            assert await response.read() == b""
            assert response.status == 200
            assert response.headers[ALLOW + "Origin"] == origin
            assert response.headers[ALLOW + "Methods"] == "POST"
            assert sorted(response.headers[ALLOW + "Headers"].split(",")) == ["CONTENT-TYPE", "X-API-KEY"]
            assert response.headers["Access-Control-Max-Age"] == "600"
            assert ALLOW + "Credentials" not in response.headers
            assert "origin" in response.headers["Vary"].lower()
            known = comparable(response)
        async with page.options(gateway.url + "/no/such/path", headers=asks(origin)) as response:
            assert comparable(response) == known
    assert upstream.requests == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_foreign_page_is_refused_everywhere_alike(
    gateway: Running, upstream: ScriptedUpstream, page: aiohttp.ClientSession, path: str
) -> None:
    async with page.options(gateway.url + path, headers=asks(FOREIGN)) as response:
        assert await response.read() == b""
        assert response.status == 403
        assert response.headers["x-gateway-error"] == "origin_refused"
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        assert "origin" in response.headers["Vary"].lower()
        refused = comparable(response)
    async with page.options(gateway.url + "/no/such/path", headers=asks(FOREIGN)) as response:
        assert comparable(response) == refused
    assert upstream.requests == []


@pytest.mark.parametrize(
    "asked",
    [
        asks("null"),
        asks("https://example.org"),
        asks("https://evilexample.org"),
        asks(APP + ".evil.test"),
        asks(method="TRACE"),
        asks(method="post"),
        asks(method="GET\tPOST"),
        asks(fields="x-caf\xe9"),
    ],
)
async def test_what_is_not_allowed_is_refused(
    gateway: Running, page: aiohttp.ClientSession, asked: dict[str, str]
) -> None:
    async with page.options(gateway.url + CHAT, headers=asked) as response:
        assert response.status == 403
        assert ALLOW + "Origin" not in response.headers


async def test_methods_and_fields_can_be_bounded(start: Start, page: aiohttp.ClientSession) -> None:
    gateway = await start(
        GATEWAY_CORS_ORIGINS=APP,
        GATEWAY_CORS_METHODS="GET,POST",
        GATEWAY_CORS_HEADERS="X-API-Key,Content-Type",
        GATEWAY_CORS_EXPOSE_HEADERS="X-One,X-Two",
        GATEWAY_CORS_MAX_AGE="5",
    )
    for asked, status in (
        (asks(), 200),
        (asks(fields=None), 200),
        (asks(method="DELETE"), 403),
        (asks(fields="x-api-key,x-other"), 403),
    ):
        async with page.options(gateway.url + CHAT, headers=asked) as response:
            assert response.status == status
    async with page.get(gateway.url + "/health", headers={"Origin": APP}) as response:
        assert sorted(response.headers["Access-Control-Expose-Headers"].split(",")) == ["X-One", "X-Two"]
    async with page.options(gateway.url + CHAT, headers=asks()) as response:
        assert response.headers["Access-Control-Max-Age"] == "5"


async def test_credentials_are_allowed_where_that_is_set(start: Start, page: aiohttp.ClientSession) -> None:
    gateway = await start(GATEWAY_CORS_ORIGINS=APP, GATEWAY_CORS_CREDENTIALS="true")
    async with page.options(gateway.url + CHAT, headers=asks()) as response:
        assert response.headers[ALLOW + "Credentials"] == "true"
    async with page.get(gateway.url + "/health", headers={"Origin": APP}) as response:
        assert response.headers[ALLOW + "Credentials"] == "true"
        assert response.headers[ALLOW + "Origin"] == APP
    async with page.get(gateway.url + "/health", headers={"Origin": FOREIGN}) as response:
        assert ALLOW + "Credentials" not in response.headers


async def test_all_origins_may_be_allowed(start: Start, page: aiohttp.ClientSession) -> None:
    gateway = await start(GATEWAY_CORS_ORIGINS="*")
    for origin in (FOREIGN, "null"):
        async with page.options(gateway.url + CHAT, headers=asks(origin)) as response:
            assert (response.status, response.headers[ALLOW + "Origin"]) == (200, origin)
        async with page.get(gateway.url + "/health", headers={"Origin": origin}) as response:
            assert response.headers[ALLOW + "Origin"] == origin
            assert response.headers["Vary"] == "Origin"


REFUSALS = (
    ("GET", "/health", None, 200),
    ("GET", "/nothing", KEY, 404),
    ("GET", "/nothing", None, 401),
    ("POST", CHAT, None, 401),
    ("POST", CHAT, "wrong", 401),
    ("DELETE", "/tickets", KEY, 405),
    ("POST", "/projects/demo/summary", KEY, 415),
    ("GET", "/projects/demo/nothing", KEY, 404),
    ("POST", "/projects/demo/summary", None, 401),
    ("GET", "/provider/groq/openai/v1/models", KEY, 404),
    ("POST", CHAT + "?stream_mode=nonsense", KEY, 400),
)


@pytest.mark.parametrize(("method", "path", "key", "status"), REFUSALS)
async def test_an_allowed_page_may_read_whatever_it_gets(
    gateway: Running, page: aiohttp.ClientSession, method: str, path: str, key: str | None, status: int
) -> None:
    fields = {"Origin": APP} if key is None else {"Origin": APP, "X-API-Key": key}
    async with page.request(method, gateway.url + path, headers=fields) as response:
        assert response.status == status
        assert response.headers[ALLOW + "Origin"] == APP
        assert "X-Gateway-Request-Id" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers.getall("Vary") == ["Origin"]
    async with page.request(method, gateway.url + path, headers={**fields, "Origin": FOREIGN}) as response:
        assert response.status == status
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        assert response.headers.getall("Vary") == ["Origin"]


async def test_a_stream_may_be_read_and_the_providers_own_words_on_it_do_not_pass(
    gateway: Running, upstream: ScriptedUpstream, page: aiohttp.ClientSession
) -> None:
    theirs = (f"Access-Control-Allow-Origin: {FOREIGN}", "Access-Control-Expose-Headers: x", "Vary: Accept-Encoding")
    upstream.will(begin(*theirs), event(b"[DONE]"), end())
    fields = {"Origin": APP, "X-API-Key": KEY}
    async with page.post(gateway.url + CHAT, json={"stream": True}, headers=fields) as response:
        assert await response.read() == b"data: [DONE]\n\n"
        assert response.headers.getall(ALLOW + "Origin") == [APP]
        assert len(response.headers.getall("Access-Control-Expose-Headers")) == 1
        assert response.headers.getall("Vary") == ["Accept-Encoding", "Origin"]


@pytest.mark.parametrize("how", ["refused", "broken"])
async def test_a_providers_failure_may_be_read(
    gateway: Running, upstream: ScriptedUpstream, page: aiohttp.ClientSession, how: str
) -> None:
    upstream.will(answer(b"{}", "429 Slow Down") if how == "refused" else close())
    async with page.post(gateway.url + CHAT, json={}, headers={"Origin": APP, "X-API-Key": KEY}) as response:
        assert response.status == (429 if how == "refused" else 502)
        assert response.headers[ALLOW + "Origin"] == APP


async def test_what_already_varies_with_the_origin_says_it_once(
    gateway: Running, upstream: ScriptedUpstream, page: aiohttp.ClientSession
) -> None:
    for told in ("accept, ORIGIN", "*"):
        upstream.will(answer(b"{}", "200 OK", f"Vary: {told}"))
        async with page.post(gateway.url + CHAT, json={}, headers={"Origin": APP, "X-API-Key": KEY}) as response:
            assert response.headers.getall("Vary") == [told]


@pytest.mark.parametrize("missing", ["Origin", "Access-Control-Request-Method"])
async def test_any_other_question_about_options_is_the_providers(
    gateway: Running, upstream: ScriptedUpstream, missing: str
) -> None:
    fields = {name: value for name, value in asks().items() if name != missing}
    upstream.will(answer(b"", "204 No Content", "Allow: POST"))
    async with gateway.session.options(CHAT, headers=fields) as response:
        assert (response.status, response.headers["Allow"]) == (204, "POST")
    assert (await upstream.received()).method == "OPTIONS"


async def test_off_by_default(start: Start, upstream: ScriptedUpstream, page: aiohttp.ClientSession) -> None:
    gateway = await start()
    async with page.options(gateway.url + CHAT, headers=asks()) as response:
        assert response.status == 401
    upstream.will(answer(b"{}", "200 OK", "Access-Control-Allow-Origin: *"))
    async with gateway.session.post(CHAT, json={}, headers={"Origin": APP}) as response:
        assert response.status == 200
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        assert "Vary" not in response.headers


async def test_every_application_is_open(gateway: Running) -> None:
    def closed(app: web.Application) -> list[web.Application]:
        below = [info["app"] for resource in app.router.resources() if "app" in (info := resource.get_info())]
        return [one for one in (app, *below) if PAGES not in one] + [one for part in below for one in closed(part)]

    assert closed(gateway.gateway.app) == []

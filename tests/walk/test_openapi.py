"""The document at /openapi.json tells the truth about the running gateway."""

from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.downstream.api_document import render
from gateway.schema.openapi import Json
from tests.running import KEY, Running, Start

DEMO = {
    "GATEWAY_PROJECTS": "demo",
    **{
        f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/gpt-4o-mini"
        for role in ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
    },
}
CONFIGURED = ("openai", "anthropic", "gemini")
# Other spellings of paths that are documented.
LISTS_AND_PAGES = ("/provider/", "/projects/", "/docs/", "/demo/")
ALSO = {*(("GET", path) for path in LISTS_AND_PAGES), *(("*", f"/provider/{name}") for name in CONFIGURED)}


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start(**DEMO)


@pytest.fixture
async def document(gateway: Running) -> Json:
    async with gateway.session.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return dict(await response.json())


async def test_it_is_valid_openapi(document: Json) -> None:
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


async def test_every_route_is_in_it(gateway: Running, document: Json) -> None:
    served = {(method, path) for method, path in routes(gateway.gateway.app) if not is_switched_off(path)} - ALSO
    documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(method, path) for method, path in served if method != "*"} <= documented
    everything = {path for method, path in served if method == "*"}
    assert everything == {f"/provider/{name}/{{tail}}" for name in CONFIGURED}
    assert all(("POST", path) in documented for path in everything)


async def test_nothing_is_in_it_that_is_not_served(gateway: Running, document: Json) -> None:
    served = {path for _, path in routes(gateway.gateway.app)}
    assert [path for path in document["paths"] if path not in served and not path.startswith("/provider/")] == []


async def test_a_route_from_elsewhere_would_be_missing() -> None:
    async def smuggled(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_get("/smuggled", smuggled)
    assert "/smuggled" not in msgspec.json.decode(render(app))["paths"]
    assert ("GET", "/smuggled") in set(routes(app))


async def test_what_it_calls_open_is_open_and_all_else_wants_a_key(gateway: Running, document: Json) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger:
        for path, item in document["paths"].items():
            for method, operation in item.items():
                async with stranger.request(method, path.replace("{", "").replace("}", "")) as response:
                    is_open = operation.get("security") == []
                    assert (response.status == 401) is not is_open, (method, path)


async def test_its_project_errors_look_like_the_real_ones(gateway: Running, document: Json) -> None:
    example = error_example(document, "/projects/demo/summary", "401", "application/problem+json", "invalid_api_key")
    async with aiohttp.ClientSession(gateway.url) as stranger, stranger.post("/projects/demo/summary") as response:
        assert response.content_type == "application/problem+json"
        real = await response.json()
    assert real.keys() == example.keys()
    assert {name: real[name] for name in ("type", "title", "status", "code")} == {
        name: example[name] for name in ("type", "title", "status", "code")
    }


@pytest.mark.parametrize(
    ("name", "path"), [("openai", "/v1/models"), ("anthropic", "/v1/models"), ("gemini", "/v1beta/models")]
)
async def test_its_provider_errors_look_like_the_real_ones(
    gateway: Running, document: Json, name: str, path: str
) -> None:
    example = error_example(document, f"/provider/{name}{path}", "401", "application/json", "invalid_api_key", "get")
    async with aiohttp.ClientSession(gateway.url) as stranger, stranger.get(f"/provider/{name}{path}") as response:
        real = await response.json()
    assert shape(real) == shape(example)


async def test_the_document_is_the_same_each_time(gateway: Running) -> None:
    assert render(gateway.gateway.app) == render(gateway.gateway.app)


async def test_by_itself_the_document_asks_for_a_key(gateway: Running) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger:
        async with stranger.get("/openapi.json") as response:
            assert response.status == 401
        async with stranger.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"}) as response:
            assert response.status == 200


async def test_it_can_be_opened_to_everyone(start: Start) -> None:
    gateway = await start(GATEWAY_DOCS="open")
    async with aiohttp.ClientSession(gateway.url) as stranger, stranger.get("/openapi.json") as response:
        assert response.status == 200
        assert (await response.json())["paths"]["/openapi.json"]["get"]["security"] == []


async def test_it_can_be_switched_off(start: Start) -> None:
    gateway = await start(GATEWAY_DOCS="off")
    for path in ("/openapi.json", "/docs", "/docs/page.js"):
        async with gateway.session.get(path) as response:
            assert response.status == 404


async def test_the_page_comes_from_the_package_alone(gateway: Running) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger:
        async with stranger.get("/docs") as response:
            page = await response.text()
            policy = response.headers["Content-Security-Policy"]
        assert response.status == 200 and response.content_type == "text/html"
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert "//" not in page.replace("<!doctype html>", "") and "<script>" not in page
        for name, kind in (("page.js", "text/javascript"), ("swagger-ui.css", "text/css"), ("LICENSE", "text/plain")):
            async with stranger.get(f"/docs/{name}") as response:
                assert (response.status, response.content_type) == (200, kind)
                assert response.headers["Content-Security-Policy"] == policy
        async with stranger.get("/docs/../app.py") as response:
            assert response.status in (400, 401, 404)
        async with stranger.get("/docs/page.py") as response:
            assert response.status == 404


async def test_a_page_that_a_browser_has_is_not_sent_again(gateway: Running) -> None:
    async with gateway.session.get("/docs/swagger-ui-bundle.js") as response:
        etag = response.headers["ETag"]
        assert len(await response.read()) > 1_000_000
    async with gateway.session.get("/docs/swagger-ui-bundle.js", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
        assert await response.read() == b""


def routes(app: web.Application) -> list[tuple[str, str]]:
    """Every route there is, HEAD aside, which goes with GET."""
    return [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]


def is_switched_off(path: str) -> bool:
    """Whether a path belongs to a known provider that is not configured: nothing is served there but a 404."""
    return path.startswith("/provider/") and path.split("/")[2] not in ("", *CONFIGURED)


def error_example(
    document: Json, path: str, status: str, media_type: str, code: str, method: str = "post"
) -> dict[str, Any]:
    reference = document["paths"][path][method]["responses"][status]["$ref"]
    response = document["components"]["responses"][reference.rpartition("/")[2]]
    return dict(response["content"][media_type]["examples"][code]["value"])


def shape(value: Any) -> Any:
    """The keys of a document, and what kind of value each holds."""
    return {key: shape(below) for key, below in value.items()} if isinstance(value, dict) else type(value)

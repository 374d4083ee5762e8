"""A client that follows a provider's URL comes to the provider through the gateway, not round it."""

from collections.abc import AsyncIterator

import pytest

from gateway.wire import shape
from tests.raw_http import connected
from tests.running import KEY, PROVIDER_KEY, Running, Start
from tests.scripted import ScriptedUpstream, answer, begin, chunk, end, send

ROUTE = "/provider/openai"
MODELS = f"{ROUTE}/v1/models"
HEAD_ONLY = b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 9\r\nLocation: /v1/x/\r\n\r\n"


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


@pytest.fixture
async def other() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


async def locations(gateway: Running, upstream: ScriptedUpstream, field: str) -> list[bytes | None]:
    """The field as five clients get it, the later ones without a look of the parser."""
    name = field.partition(":")[0]
    async with connected(gateway.port) as client:
        found = []
        for _ in range(5):
            upstream.will(answer(b"{}", "200 OK", field))
            await client.send(
                f"POST {MODELS} HTTP/1.1\r\nHost: gw.example.com\r\nX-API-Key: {KEY}\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            )
            found.append((await client.response()).field(name))
    return found


@pytest.mark.parametrize(
    ("field", "mapped"),
    [
        ("Location: {own}/v1/x/?a=%2F&", f"{ROUTE}/v1/x/?a=%2F&"),
        ("Location: /v1/x/", f"{ROUTE}/v1/x/"),
        ("Content-Location: {own}/v1/x", f"{ROUTE}/v1/x"),
        ("Link: <{own}/v1/x?after=2>; rel=next", f"<{ROUTE}/v1/x?after=2>; rel=next"),
        ("Refresh: 0; url={own}/v1/x", f"0; url={ROUTE}/v1/x"),
        ("Operation-Location: {own}/v1/x", f"http://gw.example.com{ROUTE}/v1/x"),
        ("Location: https://elsewhere.example.com/v1/x", "https://elsewhere.example.com/v1/x"),
    ],
)
async def test_a_url_of_the_providers_becomes_the_gateways(
    gateway: Running, upstream: ScriptedUpstream, field: str, mapped: str
) -> None:
    found = await locations(gateway, upstream, field.format(own=upstream.url))
    assert found == [mapped.encode()] * 5


@pytest.mark.parametrize("location", ["{own}/v1/models/", "/v1/models/"])
async def test_a_redirect_is_followed_through_the_gateway(
    gateway: Running, upstream: ScriptedUpstream, location: str
) -> None:
    upstream.will(answer(b"", "308 Permanent Redirect", "Location: " + location.format(own=upstream.url)))
    async with gateway.session.post(MODELS, json={"a": 1}) as response:
        assert (response.status, str(response.url)) == (200, f"{gateway.url}{MODELS}/")
    first, second = upstream.requests
    assert (second.method, second.target, second.body) == ("POST", b"/v1/models/", first.body)
    assert second.fields["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert KEY not in str(second.fields)


async def test_a_base_url_with_a_path_maps_both_ways(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=f"{upstream.url}/openai")
    upstream.will(answer(b"", "307 Temporary Redirect", f"Location: {upstream.url}/openai/v1/models/"))
    async with gateway.session.get(MODELS) as response:
        assert str(response.url) == f"{gateway.url}{MODELS}/"
    assert [request.target for request in upstream.requests] == [b"/openai/v1/models", b"/openai/v1/models/"]
    upstream.will(answer(b"", "307 Temporary Redirect", f"Location: {upstream.url}/other/v1/models"))
    async with gateway.session.get(MODELS, allow_redirects=False) as response:
        assert response.headers["location"] == f"{upstream.url}/other/v1/models"  # no route of the gateway leads there


async def test_a_stream_and_a_head_are_mapped_too(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(begin("Content-Location: /v1/x"), chunk(b"data: [DONE]\n\n"), end())
    async with gateway.session.post(MODELS, json={}) as response:
        assert response.headers["content-location"] == f"{ROUTE}/v1/x"
        assert await response.read() == b"data: [DONE]\n\n"
    upstream.will(send(HEAD_ONLY))
    async with gateway.session.head(MODELS, allow_redirects=False) as response:
        assert response.headers["location"] == f"{ROUTE}/v1/x/"


async def test_an_answer_in_another_shape_is_mapped_too(gateway: Running, upstream: ScriptedUpstream) -> None:
    body = b'{"choices":[{"message":{"content":"hi"}}]}'
    upstream.will(answer(body, "200 OK", "Content-Location: /v1/chat/completions/1"))
    async with gateway.session.post(f"{ROUTE}/v1/chat/completions?stream_mode=text", json={}) as response:
        assert response.headers["content-location"] == f"{ROUTE}/v1/chat/completions/1"
        assert await response.read() == b"hi"


@pytest.mark.parametrize(
    ("trusted", "origin"), [("127.0.0.1", "https://api.example.com"), ("", "http://127.0.0.1:{port}")]
)
async def test_an_absolute_url_names_the_origin_that_the_client_called(
    start: Start, upstream: ScriptedUpstream, trusted: str, origin: str
) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES=trusted)
    upstream.will(answer(b"{}", "202 Accepted", f"Operation-Location: {upstream.url}/v1/x"))
    told = {"X-Forwarded-For": "192.0.2.60", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.com"}
    async with gateway.session.post(MODELS, json={}, headers=told) as response:
        assert response.headers["operation-location"] == origin.format(port=gateway.port) + f"{ROUTE}/v1/x"


async def test_a_fallbacks_urls_lead_to_the_fallback(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await start(
        GATEWAY_PROVIDER_OPENAI_FALLBACK="spare",
        GATEWAY_PROVIDER_SPARE_BASE_URL=other.url,
        GATEWAY_PROVIDER_SPARE_API_KEY="sk-spare-0123456789",
    )
    upstream.will(answer(b"{}", "503 Busy"))
    other.will(answer(b"{}", "202 Accepted", f"Location: {other.url}/v1/x"))
    async with gateway.session.post(MODELS, json={}) as response:
        assert response.headers["location"] == "/provider/spare/v1/x"


async def test_a_url_that_holds_the_providers_key_is_left_out(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(b"{}", "200 OK", f"Location: {upstream.url}/v1/x?key={PROVIDER_KEY}"))
    async with gateway.session.get(MODELS) as response:
        assert "location" not in response.headers

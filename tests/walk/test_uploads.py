"""An upload in a session of its own: begun with a key, gone on with at a URL, as Google's SDK does it."""

import time

import aiohttp
import pytest

from gateway.access import upload_tokens
from gateway.configuration import load
from tests.running import KEY, OTHER_KEY, PROVIDER_KEY, Running, Start, environ
from tests.scripted import ScriptedUpstream, answer

START = "/provider/gemini/upload/v1beta/files"
FIELDS = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Protocol": "resumable"}


async def begun(gateway: Running, upstream: ScriptedUpstream, own: str = "") -> str:
    """The URL that a client gets for its upload."""
    own = own or f"{upstream.url}/upload/v1beta/files?upload_id=a-1&upload_protocol=resumable"
    upstream.will(answer(b"", "200 OK", f"X-Goog-Upload-URL: {own}", f"X-Goog-Upload-Control-URL: {own}"))
    async with gateway.session.post(START, json={"file": {}}, headers=FIELDS) as response:
        assert response.status == 200
        assert (
            response.headers["x-goog-upload-control-url"].partition("&gateway")[0]
            in response.headers["x-goog-upload-url"]
        )
        return response.headers["x-goog-upload-url"]


async def send_part(url: str, **fields: str) -> int:
    async with aiohttp.ClientSession() as stranger:
        async with stranger.post(url, data=b"a part", headers=fields) as response:
            await response.read()
            return response.status


async def test_parts_go_through_the_gateway_without_a_key(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await begun(gateway, upstream)
    assert url.startswith(f"{gateway.url}{START}?upload_id=a-1&upload_protocol=resumable&gateway_upload=")
    for number in (2, 3):
        assert await send_part(url) == 200
        got = await upstream.received(number)
        assert got.target == b"/upload/v1beta/files?upload_id=a-1&upload_protocol=resumable"
        assert (got.body, got.fields["x-goog-api-key"]) == (b"a part", PROVIDER_KEY)
    assert [exchange.client for exchange in gateway.exchanges] == ["alice"] * 3


async def test_the_url_is_good_for_that_upload_alone(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await begun(gateway, upstream)
    assert await send_part(url.replace("a-1", "a-2")) == 401
    assert await send_part(url.replace("/upload/v1beta/files", "/v1beta/models/m:generateContent")) == 401
    assert await send_part(url.replace("/gemini/", "/openai/")) == 401
    assert await send_part(url.partition("&gateway_upload")[0]) == 401
    assert await send_part(url, **{"X-API-Key": "wrong"}) == 401
    assert len(upstream.requests) == 1


async def test_a_key_that_is_sent_counts(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await begun(gateway, upstream)
    assert await send_part(url, **{"X-API-Key": KEY}) == 200
    assert await send_part(url, **{"X-API-Key": OTHER_KEY}) == 403
    assert b"gateway_upload" not in upstream.requests[1].target


async def test_the_url_is_good_as_long_as_the_key_and_for_a_day(
    gateway: Running, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await begun(gateway, upstream)
    names = environ(upstream.url)
    gateway.gateway.take_over(load({**names, "GATEWAY_API_KEYS": f"alice={KEY};providers=openai"}))
    assert await send_part(url) == 403
    gateway.gateway.take_over(load({**names, "GATEWAY_API_KEYS": f"alice={KEY};expires=2020-01-01"}))
    assert await send_part(url) == 401
    gateway.gateway.take_over(load({**names, "GATEWAY_API_KEYS": f"bob={OTHER_KEY}"}))
    assert await send_part(url) == 401
    gateway.gateway.take_over(load(names))
    assert await send_part(url) == 200
    now = time.time() + upload_tokens.SECONDS
    monkeypatch.setattr(time, "time", lambda: now)
    assert await send_part(url) == 401


async def test_a_url_that_is_not_the_providers_gets_no_token(gateway: Running, upstream: ScriptedUpstream) -> None:
    foreign = "https://elsewhere.example.com/upload?upload_id=1"
    assert await begun(gateway, upstream, foreign) == foreign


@pytest.mark.parametrize("secret", ["", "x" * 32])
async def test_gateways_with_the_same_secret_take_each_others(
    start: Start, upstream: ScriptedUpstream, secret: str
) -> None:
    one, other = await start(GATEWAY_TICKET_SECRET=secret), await start(GATEWAY_TICKET_SECRET=secret)
    url = await begun(one, upstream)
    assert await send_part(url.replace(one.url, other.url)) == (200 if secret else 401)

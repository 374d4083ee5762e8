"""A WebSocket handshake gets a 426 at once, and its client goes on over HTTP; any other upgrade is ignored."""

import json
from typing import Any

import aiohttp
import pytest

from gateway.wire import shape
from tests.raw_http import RawResponse, connected
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream

RESPONSES = "/provider/openai/v1/responses"
HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJ\r\n"
WITH_KEY = f"Authorization: Bearer {KEY}\r\n"


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


async def answer_to(gateway: Running, path: str, fields: str, method: str = "GET") -> RawResponse:
    async with connected(gateway.port) as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
        return await client.response()


def code(path: str, body: bytes) -> Any:
    """What an error's body calls itself where the dialect of `path` puts that."""
    told = json.loads(body)
    if "anthropic" in path:
        return told["type"], told["error"]["type"]
    if "gemini" in path:
        return told["error"]["code"], told["error"]["status"]
    return told["error"]["code"] if "openai" in path else told["status"]


PATHS = {
    RESPONSES: "websocket_not_supported",
    "/provider/anthropic/v1/messages": ("error", "invalid_request_error"),
    "/provider/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent": (
        426,
        "INVALID_ARGUMENT",
    ),
    "/projects/demo/summary": 426,
    "/nothing": 426,
    "/livez": 426,
}


@pytest.mark.parametrize("key", [WITH_KEY, "", "X-API-Key: gw_nobody\r\n"], ids=["key", "no key", "wrong key"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_websocket_is_answered_426_in_the_dialect_of_the_route(
    gateway: Running, upstream: ScriptedUpstream, path: str, key: str
) -> None:
    async with connected(gateway.port) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{key}{HANDSHAKE}\r\n")
        answer = await client.response()
        assert await client.rest() == b""
    assert (answer.status, answer.field("Upgrade")) == (426, b"HTTP/1.1")
    assert answer.field("Connection") == b"close, Upgrade"
    assert (answer.field("x-gateway-error"), answer.field("x-should-retry")) == (b"websocket_not_supported", b"false")
    assert code(path, answer.body) == PATHS[path]
    exchange = await gateway.exchange()
    assert (exchange.status, exchange.outcome, exchange.client) == (
        426,
        "refused",
        "alice" if key == WITH_KEY else None,
    )
    assert not upstream.requests


async def test_a_handshake_without_its_upgrade_is_one_too(gateway: Running, upstream: ScriptedUpstream) -> None:
    """A proxy in front that knows nothing of WebSocket drops the hop-by-hop fields alone."""
    async with connected(gateway.port) as client:
        await client.send(f"GET {RESPONSES} HTTP/1.1\r\nHost: x\r\n{WITH_KEY}Sec-WebSocket-Key: x3JJ\r\n\r\n")
        assert (await client.response()).status == 426
        assert await client.rest() == b""
    assert not upstream.requests


@pytest.mark.parametrize(
    "fields",
    [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    ],
)
async def test_any_other_upgrade_is_ignored(gateway: Running, upstream: ScriptedUpstream, fields: str) -> None:
    assert (await answer_to(gateway, RESPONSES, WITH_KEY + fields)).status == 200
    got = await upstream.received()
    assert "upgrade" not in got.fields and "http2-settings" not in got.fields


async def test_a_post_that_offers_an_upgrade_is_served(gateway: Running, upstream: ScriptedUpstream) -> None:
    fields = f"{WITH_KEY}{HANDSHAKE}Content-Length: 0\r\n"
    assert (await answer_to(gateway, RESPONSES, fields, "POST")).status == 200
    assert not [name for name in (await upstream.received()).fields if name.lower().startswith("sec-websocket")]


async def test_no_handshake_is_taken_for_a_request_that_was_served(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    head = f"GET {RESPONSES} HTTP/1.1\r\nHost: x\r\n{WITH_KEY}"
    async with connected(gateway.port) as client:
        for number in range(4):
            await client.send(f"{head}Content-Length: 0\r\nX-Number: {number}\r\n\r\n")
            assert (await client.response()).status == 200
        await client.send(f"{head}Content-Length: 0\r\nSec-WebSocket-Key: x3JJ\r\n\r\n")
        assert (await client.response()).status == 426
    for _ in range(3):
        assert (await answer_to(gateway, RESPONSES, f"{WITH_KEY}{HANDSHAKE}Content-Length: 0\r\n")).status == 426
    assert len(upstream.requests) == 4


async def test_a_stock_client_is_told(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_CORS_ORIGINS="https://app.example.com")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.session.ws_connect(f"{RESPONSES}?ticket=x&key=x", origin="https://app.example.com")
    assert refused.value.status == 426
    assert not upstream.requests

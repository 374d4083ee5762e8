"""What the log and the spans tell of a client whose request came through a proxy."""

import json

import aiohttp
import pytest

from gateway.telemetry.access_log import json_line
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream

CHAT = "/provider/openai/v1/chat/completions"
FIELDS = {
    "X-Forwarded-For": "203.0.113.9, 192.0.2.60",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "api.example.com",
    "X-Request-ID": "edge-4711",
}


async def test_a_trusted_proxy_names_the_client(start: Start) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES="127.0.0.0/8")
    async with gateway.session.post(CHAT, json={}, headers=FIELDS) as response:
        assert response.status == 200
    exchange = await gateway.exchange()
    assert (exchange.peer, exchange.scheme, exchange.host) == ("192.0.2.60", "https", "api.example.com")
    line = json.loads(json_line(exchange))
    assert (line["peer"], line["proxy_request_id"]) == ("192.0.2.60", "edge-4711")


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8,::1"])
async def test_anybody_else_names_nobody(start: Start, trusted: str) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES=trusted)
    async with gateway.session.post(CHAT, json={}, headers={**FIELDS, "Forwarded": "for=192.0.2.60;proto=https"}):
        pass
    exchange = await gateway.exchange()
    assert (exchange.peer, exchange.scheme) == ("127.0.0.1", "http")
    assert exchange.host == f"127.0.0.1:{gateway.port}"
    assert "proxy_request_id" not in json.loads(json_line(exchange))


async def test_refusals_tell_the_client_as_well(start: Start) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES="127.0.0.1")
    async with aiohttp.ClientSession() as stranger:
        async with stranger.get(gateway.url + "/nothing", headers=FIELDS) as response:
            assert response.status == 401
    assert (await gateway.exchange()).peer == "192.0.2.60"


async def test_nothing_of_it_goes_to_the_provider(start: Start, upstream: ScriptedUpstream) -> None:
    gateway: Running = await start(GATEWAY_TRUSTED_PROXIES="127.0.0.1")
    told = {name: value for name, value in FIELDS.items() if name != "X-Request-ID"}
    async with gateway.session.post(CHAT, json={}, headers={**told, "Forwarded": "for=192.0.2.60", "X-API-Key": KEY}):
        pass
    got = await upstream.received()
    assert not {name.lower() for name in got.fields} & {"forwarded", *map(str.lower, told)}

"""A browser's EventSource: a POST with the key buys a ticket, and the ticket stands for that one request."""

import aiohttp
import pytest
from yarl import URL

from gateway.telemetry.access_log import json_line, text_line
from tests.running import KEY, OTHER_KEY, Running, Start
from tests.scripted import ScriptedUpstream, begin, end, event

PATH = "/provider/openai/v1/chat/completions?stream_mode=sse"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def bought(gateway: Running, path: str = PATH, key: str = KEY) -> str:
    async with gateway.session.post(
        "/tickets", json={"path": path, "body": BODY}, headers={"X-API-Key": key}
    ) as response:
        assert response.status == 201
        return str((await response.json())["url"])


async def test_a_ticket_stands_for_the_request_it_was_bought_for(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await bought(gateway)
    upstream.will(begin(), event(b'{"choices":[]}'), event(b"[DONE]"), end())
    async with aiohttp.ClientSession(gateway.url) as browser, browser.get(url) as response:
        assert response.content_type == "text/event-stream"
        assert b"[DONE]" in await response.read()
    got = await upstream.received()
    assert (got.method, got.target) == ("POST", b"/v1/chat/completions")
    assert got.fields["content-type"] == "application/json"
    exchange = await gateway.exchange(2)
    assert exchange.client == "alice"
    assert exchange.authenticated is not None and exchange.started <= exchange.authenticated


async def test_a_second_use_is_answered_204_and_bills_nothing(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await bought(gateway)
    upstream.will(begin(), event(b"[DONE]"), end())
    async with aiohttp.ClientSession(gateway.url) as browser:
        async with browser.get(url) as response:
            await response.read()
        async with browser.get(url) as response:
            assert response.status == 204
    assert len(upstream.requests) == 1


async def test_an_expired_ticket_bills_nothing(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_TICKET_SECONDS="0.00001")
    url = await bought(gateway)
    async with aiohttp.ClientSession(gateway.url) as browser, browser.get(url) as response:
        assert response.status == 204
    assert not upstream.requests


@pytest.mark.parametrize("change", ["path", "signature", "query", "nothing"])
async def test_a_ticket_is_good_for_nothing_else(gateway: Running, upstream: ScriptedUpstream, change: str) -> None:
    url = await bought(gateway)
    changed = {
        "path": url.replace("openai", "anthropic"),
        "signature": url[:-3] + ("AAA" if not url.endswith("AAA") else "BBB"),
        "query": url.replace("stream_mode=sse", "stream_mode=text"),
        "nothing": PATH + "&ticket=",
    }[change]
    async with aiohttp.ClientSession(gateway.url) as browser, browser.get(changed) as response:
        assert response.status == 401
    assert not upstream.requests


async def test_a_ticket_gives_no_more_than_its_key(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await bought(gateway, key=OTHER_KEY)
    async with aiohttp.ClientSession(gateway.url) as browser, browser.get(url) as response:
        assert response.status == 403
    assert not upstream.requests


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"path":"/x","body":{}}', b'{"path":"/provider/openai/x"}', b'{"path":1,"body":{}}']
)
async def test_a_bad_ticket_request_is_a_400(gateway: Running, body: bytes) -> None:
    async with gateway.session.post("/tickets", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/x", "provider/openai/x", "/provider/openai/x y", "/provider/openai/\n", "/provider/é"]
)
async def test_a_ticket_for_no_target_says_which_it_can_be_for(gateway: Running, path: str) -> None:
    async with gateway.session.post("/tickets", json={"path": path, "body": {}}) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["param"]) == (400, "path")
    assert problem["detail"] == "`path` must begin with /provider/ or /projects/ and be percent-encoded ASCII."


TARGETS = ("/v1/files?parking_ticket=3", "/v1/files/ticket=3", "/v1/files?ticket=3&a=%74", "/v1/files?a=ticket=3")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", TARGETS)
async def test_a_query_is_the_providers_where_a_key_is_sent(
    gateway: Running, upstream: ScriptedUpstream, method: str, target: str
) -> None:
    url = URL(f"{gateway.url}/provider/openai{target}", encoded=True)
    async with gateway.session.request(method, url) as response:
        assert response.status == 200
    assert (await upstream.received()).target == target.encode()
    assert (await gateway.exchange()).client == "alice"


async def test_a_key_that_is_not_valid_is_not_made_good_by_a_ticket(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    url = await bought(gateway)
    async with gateway.session.get(url, headers={"X-API-Key": "gw_nobody"}) as response:
        assert response.status == 401
    upstream.will(begin(), event(b"[DONE]"), end())
    async with aiohttp.ClientSession(gateway.url) as browser:
        async with browser.get(url, headers={"Authorization": "Basic YTpi"}) as response:  # of a proxy in front: no key
            assert response.status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("target", ["/v1/files?parking_ticket=3", "/v1/files/ticket=3", "/v1/files?tick%65t=3"])
async def test_what_only_looks_like_a_ticket_needs_a_key(
    gateway: Running, upstream: ScriptedUpstream, target: str
) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(URL(f"{gateway.url}/provider/openai{target}", encoded=True)) as response:
            assert response.status == 401
            assert "X-API-Key" in (await response.json())["error"]["message"]
    assert not upstream.requests


async def test_parameters_that_stand_beside_a_ticket_reach_the_provider(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    url = await bought(
        gateway, "/provider/openai/v1/chat/completions?my_ticket=1&my_stream_mode=2&stream_mode=sse&x=%2f"
    )
    upstream.will(begin(), event(b"[DONE]"), end())
    async with aiohttp.ClientSession() as browser, browser.get(URL(gateway.url + url, encoded=True)) as response:
        assert response.status == 200
    assert (await upstream.received()).target == b"/v1/chat/completions?my_ticket=1&my_stream_mode=2&x=%2f"


async def test_no_ticket_is_in_log_or_trace(gateway: Running, upstream: ScriptedUpstream) -> None:
    url = await bought(gateway)
    upstream.will(begin(), event(b"[DONE]"), end())
    async with aiohttp.ClientSession(gateway.url) as browser:
        for _ in range(2):
            async with browser.get(url) as response:
                await response.read()
    ticket = url.rpartition("ticket=")[2]
    await gateway.exchange(3)
    for exchange in gateway.exchanges:
        assert ticket not in json_line(exchange).decode() + text_line(exchange).decode() + repr(exchange)
    sent = upstream.requests[0]
    assert ticket.encode() not in sent.line + b"".join(value for _, value in sent.raw_fields)

"""An absolute-form target is served as its origin-form, if it names the origin in `Host` (RFC 9112, section 3.2.2)."""

import json
from typing import Any

import pytest

from gateway.telemetry.access_log import json_line
from gateway.wire import shape
from tests.guarded_app import answer_to, on_both_loops, served
from tests.raw_http import RawResponse, connected
from tests.running import KEY, Running, Start
from tests.scripted import ScriptedUpstream

CHAT = "/provider/openai/v1/chat/completions"
BODY = '{"model":"gpt-4o-mini","messages":[]}'
PATHS = (
    CHAT,
    f"{CHAT}?stream_mode=json&a=%2f+b&&ticket=1",
    "/provider/openai//v1/a%2Fb/?",
    "/provider/openai/v1/../../x",
    "/projects/demo/summary",
    "/openapi.json",
    "/livez",
    "/nothing?x=http://gateway/",
    "/",
)


def request(target: str, host: str = "gateway", method: str = "POST", more: str = "") -> str:
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {KEY}\r\n{more}"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"


def comparable(answer: RawResponse) -> tuple[object, ...]:
    """All of an answer but what is made anew for each."""
    fields = [(name, b"" if b"request-id" in name else value) for name, value in answer.fields if name != b"Date"]
    body = answer.body if b"req_" not in answer.body else len(answer.body)
    return answer.status, answer.reason, fields, body


async def facts(gateway: Running, upstream: ScriptedUpstream, sent: str) -> tuple[object, ...]:
    """What came of a request: its answer, its log line, and what the provider got."""
    calls, exchanges = len(upstream.requests), len(gateway.exchanges)
    async with connected(gateway.port) as client:
        await client.send(sent)
        answer = await client.response()
    line: dict[str, Any] = json.loads(json_line(await gateway.exchange(exchanges + 1)))
    for name in ("time", "request_id", "trace_id", "duration_ms", "first_byte_ms"):
        line.pop(name, None)
    called = [
        (got.line, [field for field in got.raw_fields if field[0] != b"traceparent"], got.body)
        for got in upstream.requests[calls:]
    ]
    return comparable(answer), line, called


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("path", PATHS)
async def test_it_is_served_as_origin_form(
    gateway: Running, upstream: ScriptedUpstream, path: str, method: str
) -> None:
    expected = await facts(gateway, upstream, request(path, method=method))
    assert await facts(gateway, upstream, request(f"http://gateway{path}", method=method)) == expected


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://gateway:80", "gateway"),
        ("http://gateway", "gateway:80"),
        ("http://gateway:", "gateway"),
        ("HTTP://GateWay", "gATEwAY"),
        ("http://gateway:8080", "gateway:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://[2001:DB8::1]", "[2001:db8::1]:80"),
    ],
)
@on_both_loops
async def test_the_same_origin_may_be_written_in_several_ways(origin: str, host: str) -> None:
    async with served() as it:
        answer = await answer_to(it, f"GET {origin}/echo?a HTTP/1.1\r\nHost: {host}\r\n\r\n")
        assert answer.status == 200
        assert json.loads(answer.body)["target"] == "/echo?a"
        assert ["Host", host] in json.loads(answer.body)["fields"]


@pytest.mark.parametrize(("rest", "target"), [("", "/"), ("/", "/"), ("?a=/b", "/?a=/b"), ("//x", "//x")])
async def test_a_target_without_a_path_is_the_root(gateway: Running, rest: str, target: str) -> None:
    async with connected(gateway.port) as client:
        await client.send(request(f"http://gateway{rest}", method="GET"))
        status = (await client.response()).status
        await client.send(request(target, method="GET"))
        assert (await client.response()).status == status
    assert [exchange.path for exchange in gateway.exchanges] == [target.partition("?")[0]] * 2


async def test_https_is_served_where_a_trusted_proxy_ends_tls(start: Start) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES="127.0.0.1")
    forwarded = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    for origin, host, status in (
        ("https://gateway", "gateway", 200),
        ("https://gateway:443", "gateway", 200),
        ("http://gateway", "gateway", 200),
        ("https://gateway:80", "gateway", 400),
        ("https://other", "gateway", 400),
    ):
        async with connected(gateway.port) as client:
            await client.send(request(origin + CHAT, host, more=forwarded))
            assert (await client.response()).status == status
    served = [exchange for exchange in gateway.exchanges if exchange.status == 200]
    assert len(served) == 3
    assert {(each.scheme, each.host, each.peer) for each in served} == {("https", "gateway", "192.0.2.1")}


async def test_https_is_refused_where_somebody_else_is_trusted(start: Start) -> None:
    gateway = await start(GATEWAY_TRUSTED_PROXIES="192.0.2.1")
    async with connected(gateway.port) as client:
        await client.send(request(f"https://gateway{CHAT}"))
        assert (await client.response()).status == 400


async def test_it_is_limited_as_origin_form(start: Start) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 3 requests/hour")
    async with connected(gateway.port) as client:
        statuses = []
        for origin in ("", "http://gateway", "", "http://gateway"):
            await client.send(request(origin + CHAT))
            statuses.append((await client.response()).status)
    assert statuses == [200, 200, 200, 429]


async def test_it_neither_teaches_nor_disturbs_what_is_recognized(
    gateway: Running, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)
    origins = ["http://gateway"] * 4 + ["", "http://gateway"] * 4 + ["http://other"]
    async with connected(gateway.port) as client:
        statuses = []
        for origin in origins:
            await client.send(request(origin + CHAT))
            statuses.append((await client.response()).status)
    assert statuses == [200] * 12 + [400]
    assert {got.target for got in upstream.requests} == {b"/v1/chat/completions"}
    assert len(upstream.requests) == 12
    assert gateway.gateway.fallbacks.count == 0

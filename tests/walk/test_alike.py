"""Requests whose heads are alike: what is worked out once for all of them never carries over what is one's own."""

import asyncio
import random

import aiohttp
import pytest

from gateway.wire import headers
from tests.raw_http import connected
from tests.running import KEY, OTHER_KEY, PROVIDER_KEY, Running
from tests.scripted import ScriptedUpstream, answer

CHAT = "/provider/openai/v1/chat/completions"
MESSAGES = "/provider/anthropic/v1/messages"
OWN = ("X-Request-ID", "Idempotency-Key", "X-Correlation-Id", "traceparent", "X-Forwarded-For")


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


async def test_each_request_is_known_by_its_own_key(gateway: Running, upstream: ScriptedUpstream) -> None:
    async with aiohttp.ClientSession(gateway.url) as session:
        for _ in range(2):
            for key, status in ((KEY, 200), (OTHER_KEY, 403), ("gw_unknown", 401), (KEY, 200)):
                async with session.post(CHAT, json={}, headers={"X-API-Key": key}) as response:
                    assert response.status == status
            for key, status in ((OTHER_KEY, 200), ("", 401)):
                async with session.post(MESSAGES, json={}, headers={"Authorization": f"Bearer {key}"}) as response:
                    assert response.status == status
    sent = b"".join(name + value for got in upstream.requests for name, value in got.raw_fields)
    assert KEY.encode() not in sent and OTHER_KEY.encode() not in sent
    assert [exchange.client for exchange in gateway.exchanges] == ["alice", "bob", None, "alice", "bob", None] * 2


async def test_what_is_a_requests_own_goes_on_as_it_came(gateway: Running, upstream: ScriptedUpstream) -> None:
    async def ask(number: int) -> None:
        values = {name: f"{name}-{number}-100%b\t%s" for name in OWN if name != "traceparent"}
        fields = {**values, "traceparent": trace(number), "X-Number": "100 %b %d"}
        fields["x-gateway-session-id"] = f"session-{number}"
        async with gateway.session.post(CHAT, json={"number": number}, headers=fields) as response:
            assert response.status == 200

    await asyncio.gather(*map(ask, range(1, 41)))
    assert len(upstream.requests) == 40
    for got in upstream.requests:
        number = int(got.body.partition(b":")[2].strip(b" }"))
        for name in OWN[:3]:
            assert got.fields.getall(name) == [f"{name}-{number}-100%b\t%s"]
        assert got.fields["traceparent"].startswith(trace(number)[:36])
        assert got.fields["x-number"] == "100 %b %d"
        assert "x-forwarded-for" not in got.fields
        names = [name.lower() for name, _ in got.raw_fields]
        assert names.index(b"x-request-id") < names.index(b"idempotency-key") < names.index(b"x-number")
    sessions = {exchange.session for exchange in gateway.exchanges}
    assert len(sessions) == 40


async def test_a_connection_field_may_name_what_is_a_requests_own(gateway: Running, upstream: ScriptedUpstream) -> None:
    for number in range(3):
        async with connected(gateway.port) as client:
            await client.send(
                f"GET /provider/openai/v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
                f"X-Request-ID: {number}\r\nIdempotency-Key: {number}\r\nConnection: keep-alive, x-request-id\r\n\r\n"
            )
            assert (await client.response()).status == 200
        got = await upstream.received(number + 1)
        assert "x-request-id" not in got.fields
        assert got.fields["idempotency-key"] == str(number)


async def test_more_kinds_of_heads_than_are_kept_are_served_as_well(
    gateway: Running, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.downstream.head.MOST", 4)
    monkeypatch.setattr("gateway.upstream.line.MOST_FORMS", 4)
    monkeypatch.setattr("gateway.downstream.provider_app.MOST_PATHS", 4)
    chosen = random.Random(7)
    for turn in range(60):
        kind = chosen.randrange(10)
        upstream.will(answer(b"{}", "200 OK", f"X-Kind-{kind}: {kind}", "X-Key: " + "k" * kind))
        fields = {f"X-Kind-{kind}": str(kind), "X-Long": "x" * (5000 if kind == 9 else 1)}
        async with gateway.session.get(f"/provider/openai/v1/{kind}", headers=fields) as response:
            assert (response.status, response.headers[f"X-Kind-{kind}"]) == (200, str(kind))
        got = await upstream.received(turn + 1)
        assert (got.target, got.fields[f"x-kind-{kind}"]) == (f"/v1/{kind}".encode(), str(kind))
        assert len(got.fields["x-long"]) == (5000 if kind == 9 else 1)


async def test_a_providers_key_stays_here_whatever_its_other_answers_looked_like(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    for value in ("fine", f"Bearer {PROVIDER_KEY}", "fine again"):
        upstream.will(answer(b"{}", "200 OK", f"X-Echo: {value}", "X-Other: 1"))
        async with gateway.session.get("/provider/openai/v1/models") as response:
            assert response.headers.get("X-Echo") == (None if PROVIDER_KEY in value else value)
            assert response.headers["X-Other"] == "1"


HEADS: list[list[tuple[bytes, bytes]]] = [
    [(b"Content-Length", b"2"), (b"X-100%", b"100%b"), (b"Server", b"x")],
    [(b"Content-Type", b"text/event-stream"), (b"Connection", b"keep-alive"), (b"Alt-Svc", b"h3")],
    [(b"content-type", b"Text/Event-Stream"), (b"content-length", b"9")],
    [(b"X-A", b"1"), (b"x-a", b"2"), (b"Set-Cookie", b"a=b"), (b"Content-Length", b"0")],
    [],
]
UNUSUAL: list[list[tuple[bytes, bytes]]] = [
    [(b"Connection", b"x-a"), (b"X-A", b"1")],
    [(b"Connection", b"close"), (b"connection", b"x-a"), (b"X-A", b"1")],
    [(b"X A", b"1")],
    [(b"X-Key", b"sk-secret-1")],
    [(b"Content-Length", b"1"), (b"content-length", b"2")],
]


@pytest.mark.parametrize("fields", HEADS)
def test_lines_are_what_the_fields_would_have_been(fields: list[tuple[bytes, bytes]]) -> None:
    expected = b"".join(b"%b: %b\r\n" % field for field in headers.to_client(fields, key=b"sk-secret-1"))
    for _ in range(2):
        assert (
            headers.client_lines([value for _, value in fields], headers.layout_of(fields), key=b"sk-secret-1")
            == expected
        )


@pytest.mark.parametrize("fields", UNUSUAL)
def test_unusual_heads_are_left_to_a_closer_look(fields: list[tuple[bytes, bytes]]) -> None:
    assert headers.client_lines([value for _, value in fields], headers.layout_of(fields), key=b"sk-secret-1") is None

"""Calls that are repeated, or made to another provider, where that was asked for; and never otherwise."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.telemetry.access_log import json_line
from gateway.telemetry.exchange import Outcome
from tests.running import PROVIDER_KEY, Running, Start
from tests.scripted import (
    JSON_ANSWER,
    ScriptedUpstream,
    Step,
    answer,
    begin,
    close,
    end,
    event,
    pause,
    reset,
    until_left,
)

CHAT = "/provider/openai/v1/chat/completions"
DELTA = b'{"choices":[{"delta":{"content":"hi"}}]}'
OTHER_PROVIDER_KEY = "sk-other-5f4e3d2c1b0a9988"
QUICK = {"GATEWAY_RETRY_BACKOFF": "0.01"}


@pytest.fixture
async def other() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def gateway(start: Start) -> Running:
    """Repeats nothing by itself."""
    return await start(**QUICK)


def asking(retries: int, **more: str) -> dict[str, str]:
    return {"X-Gateway-Retries": str(retries), **more}


def failing(status: str = "503 Busy", *fields: str) -> Step:
    return answer(b'{"error":"theirs"}', status, *fields)


async def test_nothing_is_repeated_unasked(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing())
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, await response.read()) == (503, b'{"error":"theirs"}')
        assert not {"x-gateway-attempts", "x-should-retry"} & {name.lower() for name in response.headers}
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", ["429 Slow Down", "500 Oh", "502 Bad", "503 Busy", "504 Late", "529 Overloaded"])
async def test_a_failure_is_met_by_another_try_which_the_client_does_not_notice(
    gateway: Running, upstream: ScriptedUpstream, status: str
) -> None:
    upstream.will(failing(status))
    async with gateway.session.post(CHAT, json={"a": 1}, headers=asking(2)) as response:
        assert (response.status, await response.read()) == (200, JSON_ANSWER)
        assert response.headers["x-gateway-attempts"] == "2"
        assert "x-should-retry" not in response.headers
    first, second = upstream.requests
    assert (first.line, first.body) == (second.line, second.body)
    assert first.fields["traceparent"] != second.fields["traceparent"]
    assert not [name for name in second.fields if name.lower().startswith("x-gateway")]
    assert upstream.connections == 1, "what was dropped was read, and its connection used again"
    exchange = await gateway.exchange()
    assert (exchange.status, exchange.outcome, exchange.error) == (200, Outcome.COMPLETE, None)
    number = int(status[:3])
    assert [(call.attempt, call.status) for call in exchange.calls] == [(0, number), (1, 200)]
    assert exchange.calls[0].outcome is (Outcome.UPSTREAM_ERROR if number >= 500 else Outcome.COMPLETE)
    assert exchange.waited_to_retry_ns > 0
    line = json.loads(json_line(exchange))
    assert line["upstream_status"] == 200
    assert [call.get("attempt", 0) for call in line["calls"]] == [0, 1]


async def test_a_stream_comes_through_after_a_failure(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing())
    upstream.will(begin(), event(DELTA), event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json={"stream": True}, headers=asking(1)) as response:
        assert await response.read() == b"data: " + DELTA + b"\n\ndata: [DONE]\n\n"


async def test_tries_are_counted_and_the_last_answer_is_passed_on(gateway: Running, upstream: ScriptedUpstream) -> None:
    for _ in range(3):
        upstream.will(failing())
    async with gateway.session.post(CHAT, json={}, headers=asking(2)) as response:
        assert (response.status, await response.read()) == (503, b'{"error":"theirs"}')
        assert response.headers["x-gateway-attempts"] == "3"
        assert response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 3


async def test_the_operator_decides_for_all_and_for_each_provider(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RETRIES="1", GATEWAY_PROVIDER_GEMINI_RETRIES="2", GATEWAY_MAX_RETRIES="3", **QUICK)
    for path, fields, tries in (
        ("/provider/openai/v1/x", {}, 2),
        ("/provider/gemini/v1/x", {}, 3),
        ("/provider/openai/v1/x", asking(0), 1),
        ("/provider/openai/v1/x", asking(99), 4),
    ):
        upstream.requests.clear()
        for _ in range(tries):
            upstream.will(failing())
        async with gateway.session.post(path, json={}, headers=fields) as response:
            assert response.status == 503
        assert len(upstream.requests) == tries


@pytest.mark.parametrize(
    "status", ["200 OK", "301 Moved", "400 Bad", "401 No", "404 No", "408 Late", "409 No", "501 No", "505 No"]
)
async def test_any_other_answer_is_passed_on(gateway: Running, upstream: ScriptedUpstream, status: str) -> None:
    upstream.will(failing(status))
    async with gateway.session.post(CHAT, json={}, headers=asking(3), allow_redirects=False) as response:
        assert response.status == int(status[:3])
        assert response.headers["x-gateway-attempts"] == "1"
        assert "x-should-retry" not in response.headers
    assert len(upstream.requests) == 1


async def test_a_provider_that_says_it_is_useless_is_believed(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing("503 Busy", "X-Should-Retry: false"))
    async with gateway.session.post(CHAT, json={}, headers=asking(3)) as response:
        assert response.status == 503
        assert response.headers.getall("x-should-retry") == ["false"]
    assert len(upstream.requests) == 1


async def test_what_a_provider_says_of_another_try_passes(gateway: Running, upstream: ScriptedUpstream) -> None:
    for _ in range(2):
        upstream.will(failing("503 Busy", "X-Should-Retry: true"))
    async with gateway.session.post(CHAT, json={}, headers=asking(1)) as response:
        assert response.headers.getall("x-should-retry") == ["true"]


async def test_a_provider_is_left_alone_as_long_as_it_asks(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing("429 Slow", "Retry-After: 60", "Retry-After-Ms: 300"))
    began = time.monotonic()
    async with gateway.session.post(CHAT, json={}, headers=asking(1)) as response:
        assert response.status == 200
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    "asked", ["Retry-After: 60", "Retry-After-Ms: 30000", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT"]
)
async def test_one_that_asks_for_too_long_is_not_called_again(
    gateway: Running, upstream: ScriptedUpstream, asked: str
) -> None:
    upstream.will(failing("429 Slow", asked))
    async with gateway.session.post(CHAT, json={}, headers=asking(3)) as response:
        assert response.status == 429
        assert response.headers["x-gateway-attempts"] == "1"
        assert "x-should-retry" not in response.headers, "later it may work"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("patience", [{"x-stainless-read-timeout": "2"}, {"X-Gateway-Deadline": "2"}])
async def test_no_try_begins_that_the_client_would_not_wait_for(
    gateway: Running, upstream: ScriptedUpstream, patience: dict[str, str]
) -> None:
    upstream.will(failing("503 Busy", "Retry-After: 3"))
    began = time.monotonic()
    async with gateway.session.post(CHAT, json={}, headers=asking(3, **patience)) as response:
        assert response.status == 503
    assert time.monotonic() - began < 1.5
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("told", ["garbage", "", "-1", "1e999"])
async def test_a_patience_that_cannot_be_read_is_ignored(
    gateway: Running, upstream: ScriptedUpstream, told: str
) -> None:
    upstream.will(failing())
    fields = asking(1, **{"x-stainless-read-timeout": told})
    async with gateway.session.post(CHAT, json={}, headers=fields) as response:
        assert response.status == 200


async def test_a_deadline_ends_the_wait_for_an_answer(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(until_left())
    async with gateway.session.post(CHAT, json={}, headers={"X-Gateway-Deadline": "0.3"}) as response:
        assert response.status == 504
        assert (await response.json())["error"]["code"] == "deadline_exceeded"
        assert response.headers["x-gateway-attempts"] == "1"
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.UPSTREAM_TIMEOUT
    assert [(call.error, call.outcome) for call in exchange.calls] == [("deadline_exceeded", Outcome.UPSTREAM_TIMEOUT)]


async def test_a_deadline_is_for_the_answers_beginning(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(), event(DELTA), pause(0.6), event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json={"stream": True}, headers={"X-Gateway-Deadline": "0.4"}) as response:
        assert (await response.read()).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    "fields",
    [{"X-Gateway-Retries": told} for told in ("", "x", "-1", "1.5", "9999")]
    + [{"X-Gateway-Deadline": told} for told in ("", "x", "-1", "0", "inf", "nan", "1e99")],
)
async def test_a_wish_that_cannot_be_read_is_told(
    gateway: Running, upstream: ScriptedUpstream, fields: dict[str, str]
) -> None:
    async with gateway.session.post(CHAT, json={}, headers=fields) as response:
        assert response.status == 400
        assert (await response.json())["error"]["param"] == next(iter(fields)).lower()
    assert upstream.requests == []


async def test_a_provider_that_cannot_be_reached_is_tried_again(start: Start, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=url, **QUICK)
    async with gateway.session.post(CHAT, json={}, headers=asking(2)) as response:
        assert response.status == 502
        assert (await response.json())["error"]["code"] == "upstream_unreachable"
        assert response.headers["x-gateway-attempts"] == "3"
        assert response.headers["x-should-retry"] == "false"
    exchange = await gateway.exchange()
    assert [call.error for call in exchange.calls] == ["upstream_unreachable"] * 3
    assert exchange.outcome is Outcome.UPSTREAM_UNREACHABLE


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_safe_request_that_met_a_closing_connection_is_one_call_that_was_sent_twice(
    start: Start, upstream: ScriptedUpstream, method: str
) -> None:
    gateway = await start()
    async with gateway.session.post(CHAT, json={}):
        pass
    upstream.will(close())
    upstream.will(answer(b""))
    async with gateway.session.request(method, "/provider/openai/v1/models") as response:
        assert response.status == 200
        assert "x-gateway-attempts" not in response.headers  # nobody asked for retries
    first, second = upstream.requests[1:]
    assert (first.line, first.raw_fields) == (second.line, second.raw_fields)
    exchange = await gateway.exchange(2)
    assert [(call.attempt, call.error, call.reused_connection) for call in exchange.calls] == [(1, None, False)]
    (told,) = json.loads(json_line(exchange))["calls"]
    assert (told["attempt"], told["status"], told["outcome"]) == (1, 200, "complete")
    async with gateway.session.get("/metrics") as response:
        assert 'gateway_upstream_retries_total{provider="openai"} 1' in await response.text()


async def test_a_post_that_met_a_closing_connection_is_not_sent_again(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start()
    async with gateway.session.post(CHAT, json={}):
        pass
    upstream.will(close())
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, response.headers["x-gateway-error"]) == (502, "upstream_error")
    assert len(upstream.requests) == 2
    assert "calls" not in json.loads(json_line(await gateway.exchange(2)))


@pytest.mark.parametrize("how", [close, reset])
async def test_what_may_have_been_served_is_not_sent_twice(
    gateway: Running, upstream: ScriptedUpstream, how: object
) -> None:
    for method, fields, tries in (
        ("POST", {}, 1),
        ("PATCH", {}, 1),
        ("POST", {"Idempotency-Key": "once"}, 2),
        ("GET", {}, 2),
        ("DELETE", {}, 2),
    ):
        upstream.will(answer(JSON_ANSWER, "200 OK", "Connection: close"))
        async with gateway.session.post(CHAT, json={}):
            upstream.requests.clear()
        upstream.will(how())  # type: ignore[operator]
        async with gateway.session.request(method, CHAT, headers=asking(1, **fields)) as response:
            assert response.status == (200 if tries == 2 else 502)
            assert response.headers["x-gateway-attempts"] == str(tries)
        assert len(upstream.requests) == tries, method


async def test_a_provider_that_keeps_the_client_waiting_is_not_asked_again(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_FIRST_BYTE_TIMEOUT="0.2", **QUICK)
    upstream.will(until_left())
    async with gateway.session.get("/provider/openai/v1/models", headers=asking(3)) as response:
        assert response.status == 504
    assert len(upstream.requests) == 1


async def test_once_a_byte_is_out_nothing_is_repeated(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(), event(DELTA), pause(0.05), reset())
    async with gateway.session.post(CHAT, json={"stream": True}, headers=asking(3)) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert len(upstream.requests) == 1
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_a_body_that_is_streamed_on_cannot_be_sent_again(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing())
    fields = asking(3, **{"Content-Type": "application/octet-stream"})
    async with gateway.session.post("/provider/openai/v1/files", data=b"x" * 1000, headers=fields) as response:
        assert response.status == 503
        assert response.headers["x-gateway-attempts"] == "1"
    assert len(upstream.requests) == 1


async def test_a_client_that_leaves_between_tries_ends_them(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(failing("503 Busy", "Retry-After: 10"))
    asked = asyncio.create_task(gateway.session.post(CHAT, json={}, headers=asking(3)))
    await upstream.received()
    await asyncio.sleep(0.1)
    asked.cancel()
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.CLIENT_GONE
    assert len(upstream.requests) == 1


async def test_a_large_failure_is_not_waited_for(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(status="503 Busy", kind="text/plain"), until_left())
    async with gateway.session.post(CHAT, json={}, headers=asking(1)) as response:
        assert response.status == 200
    first = (await gateway.exchange()).calls[0]
    assert (first.status, first.error, first.outcome) == (503, None, Outcome.UPSTREAM_ERROR)


# Another provider


async def with_fallback(start: Start, other: ScriptedUpstream, **more: str) -> Running:
    return await start(
        GATEWAY_PROVIDER_SPARE_BASE_URL=other.url,
        GATEWAY_PROVIDER_SPARE_API_KEY=OTHER_PROVIDER_KEY,
        GATEWAY_PROVIDER_OPENAI_FALLBACK="spare",
        **{**QUICK, **more},
    )


async def test_another_provider_answers_for_one_that_fails(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await with_fallback(start, other)
    upstream.will(failing("429 Slow", "Retry-After: 600"))
    other.will(answer(b'{"spare":1}', "200 OK", f"X-Echo: {OTHER_PROVIDER_KEY}"))
    async with gateway.session.post(CHAT, json={"model": "m"}) as response:
        assert (response.status, await response.read()) == (200, b'{"spare":1}')
        assert response.headers["x-gateway-attempts"] == "2"
        assert response.headers["x-gateway-provider"] == "spare"
        assert "x-echo" not in response.headers
    got = await other.received()
    assert (got.target, got.body) == (b"/v1/chat/completions", b'{"model": "m"}')
    assert got.fields["authorization"] == f"Bearer {OTHER_PROVIDER_KEY}"
    assert PROVIDER_KEY not in str(got.raw_fields)
    exchange = await gateway.exchange()
    assert [(call.provider, call.attempt) for call in exchange.calls] == [("openai", 0), ("spare", 1)]


async def test_first_the_provider_itself_then_the_other_then_the_truth(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await with_fallback(start, other, GATEWAY_RETRIES="1")
    for _ in range(2):
        upstream.will(failing())
    other.will(answer(b'{"error":"of the other"}', "500 Oh"))
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, await response.read()) == (500, b'{"error":"of the other"}')
        assert response.headers["x-gateway-attempts"] == "3"
        assert response.headers["x-should-retry"] == "false"
    assert (len(upstream.requests), len(other.requests)) == (2, 1)


async def test_another_provider_answers_for_one_whose_circuit_is_open(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await with_fallback(start, other, GATEWAY_CIRCUIT_FAILURES="1", GATEWAY_CIRCUIT_SECONDS="60")
    upstream.will(failing())
    for attempts in ("2", "1"):
        async with gateway.session.post(CHAT, json={}) as response:
            assert (response.status, response.headers["x-gateway-attempts"]) == (200, attempts)
            assert response.headers["x-gateway-provider"] == "spare"
    assert (len(upstream.requests), len(other.requests)) == (1, 2)


async def test_a_refusal_is_not_taken_elsewhere(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await with_fallback(start, other)
    upstream.will(failing("400 Bad"))
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 400
    upstream.will(failing())
    async with gateway.session.post(CHAT, json={}, headers=asking(0)) as response:
        assert response.status == 503
    assert other.requests == []


async def test_a_key_gets_no_provider_by_way_of_another(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    key = "gw_eve-5a4b3c2d1e0f9988-0011223344556677"
    gateway = await with_fallback(start, other, GATEWAY_API_KEYS=f"eve={key};providers=openai")
    upstream.will(failing())
    async with gateway.session.post(CHAT, json={}, headers={"X-API-Key": key}) as response:
        assert response.status == 503
    assert other.requests == []


async def test_when_the_other_is_not_to_be_called_the_failure_is_told(
    start: Start, upstream: ScriptedUpstream, other: ScriptedUpstream
) -> None:
    gateway = await with_fallback(start, other, GATEWAY_CIRCUIT_FAILURES="1", GATEWAY_CIRCUIT_SECONDS="60")
    other.will(failing("500 Oh"))
    async with gateway.session.post("/provider/spare/v1/chat/completions", json={}) as response:
        assert response.status == 500
    upstream.will(failing())
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, await response.read()) == (503, b'{"error":"theirs"}')
    assert len(other.requests) == 1

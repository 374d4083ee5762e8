"""Calls within limits: what they are let in with, and what they are charged, however they end."""

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from yarl import URL

from gateway.access.budgets import Budgets
from gateway.access.clients import Client
from gateway.access.gate import Admission, Gate
from gateway.access.rate_memory import MemoryLimiter
from gateway.errors import (
    BudgetExhausted,
    Forbidden,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UnsupportedMediaType,
)
from gateway.providers.declarations import CUSTOMS
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.settings import Timeouts
from gateway.settings.limits import parse_rules
from gateway.settings.prices import Prices, parse_prices
from gateway.telemetry.exchange import Exchange, TraceIds, UpstreamCall
from gateway.telemetry.metrics import Metrics
from gateway.upstream.client import UpstreamClient
from gateway.upstream.limited import LimitedUpstream
from gateway.upstream.limited_request import estimated, read
from tests.scripted import ScriptedUpstream, answer, begin, close, end, event, pause, reset, until_left

ALICE = Client("alice")
CHAT = "/v1/chat/completions"
JSON = ((b"Content-Type", b"application/json"),)
RULES = "key: 1000 requests/h, 1000000 tokens/h, 1000000 input_tokens/h, 1000000 output_tokens/h, 100 usd/h"
PRICES = "m=10/100/1"
ANSWER = b'{"model":"m","choices":[],"usage":{"prompt_tokens":30,"completion_tokens":7}}'


@dataclass
class Workplace:
    """A limited way out to a scripted upstream, with an exchange that is let in."""

    gate: Gate
    limited: LimitedUpstream
    providers: dict[str, Provider]
    exchange: Exchange
    admission: Admission

    async def call(self, body: Any, path: str = CHAT, provider: str = "openai", **more: Any) -> bytes:
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        fields = JSON if body is not None else ()
        request = UpstreamRequest("POST" if body is not None else "GET", path, fields, sent, len(sent or b""))
        call = UpstreamCall(provider, request.method, path, "c" * 16)
        async with self.limited.call(self.exchange, self.providers[provider], request, call) as response:
            return b"".join([chunk async for chunk in response.chunks()])

    async def used(self) -> dict[str, float]:
        """What was taken, by policy, once the exchange has ended."""
        self.gate.close(self.exchange)
        plan = (*self.gate.budgets.of_request(ALICE, None).buckets,)
        plan += self.gate.budgets.of_call(ALICE, None, "openai", None).buckets
        verdict = await self.gate.limiter.admit(plan, (0.0,) * len(plan))
        return {
            bucket.policy.removeprefix("key-").removesuffix("-hour"): round(bucket.most - left, 9)
            for bucket, left in zip(plan, verdict.remaining, strict=True)
        }


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def workplace(stack: AsyncExitStack, url: str, rules: str = RULES, prices: str = PRICES) -> Workplace:
    providers = {
        name: Provider(name, URL(url), custom.dialect, None, timeouts=Timeouts(connect=1, first_byte=2, idle=2))
        for name, custom in CUSTOMS.items()
    }
    client = await stack.enter_async_context(UpstreamClient(list(providers.values()), pool_size=10, live=Metrics({})))
    found, problems = parse_rules(rules)
    table, more = parse_prices(prices)
    assert not problems
    assert not more
    gate = Gate(Budgets(found), MemoryLimiter(clock=lambda: 1000.0))
    exchange = Exchange("req_1", "POST", CHAT, TraceIds(trace_id="a" * 32, span_id="b" * 16))
    admission = gate.open(exchange, ALICE, provider="openai")
    assert admission is not None
    return Workplace(gate, LimitedUpstream(client, gate, table), providers, exchange, admission)


def said(model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def size(body: Any) -> float:
    return len(json.dumps(body)) / 4


@pytest.mark.parametrize(
    ("provider", "path", "body", "model", "output"),
    [
        ("openai", CHAT, said(max_tokens=50), "m", 50),
        ("openai", CHAT, said(max_completion_tokens=60), "m", 60),
        ("openai", CHAT, said(max_tokens=50, n=3), "m", 150),
        ("openai", CHAT, said(), "m", 1000),
        ("openai", CHAT, said(max_tokens="many", n=True), "m", 1000),
        ("openai", CHAT, said(max_tokens="5000"), "m", 5000),
        ("openai", CHAT, said(max_tokens=50, max_completion_tokens=70), "m", 70),
        ("openai", CHAT, said(max_output_tokens=1, maxOutputTokens=1), "m", 1000),
        ("openai", CHAT, said(max_tokens=1), "m", 16),
        ("openai", CHAT, said(max_tokens=0), "m", 1000),
        ("openai", CHAT, said(max_tokens=-5, n=-5), "m", 1000),
        ("openai", CHAT, said(max_tokens=1.5), "m", 1000),
        ("openai", "/v1/completions", {"model": "m", "max_tokens": 50, "n": 2, "best_of": 3}, "m", 150),
        ("openai", "/v1/responses", {"model": "m", "input": "x", "max_tokens": 1}, "m", 1000),
        ("openai", "/openai/deployments/m/chat/completions", said("cheap", max_tokens=50), "m", 50),
        ("anthropic", "/v1/messages", said(max_tokens=80, max_output_tokens=1), "m", 80),
        ("anthropic", "/v1/messages", said(max_output_tokens=1), "m", 1000),
        ("gemini", "/v1beta/models/gem:generateContent", {"contents": [], "maxOutputTokens": 1}, "gem", 1000),
        (
            "gemini",
            "/v1beta/models/gem:streamGenerateContent",
            {"contents": [], "generation_config": {"max_output_tokens": 90, "candidate_count": 2}},
            "gem",
            180,
        ),
        ("openai", "/v1/responses", {"model": "m", "input": "x", "max_output_tokens": 70}, "m", 70),
        ("openai", "/v1/embeddings", {"model": "m", "input": "x"}, "m", 0),
        ("anthropic", "/v1/messages", said(max_tokens=80), "m", 80),
        (
            "gemini",
            "/v1beta/models/gem:generateContent",
            {"contents": [], "generationConfig": {"maxOutputTokens": 90, "candidateCount": 2}},
            "gem",
            180,
        ),
    ],
)
def test_the_estimate_is_the_bodys_size_and_what_it_allows(
    provider: str, path: str, body: Any, model: str, output: float
) -> None:
    declared = Provider(provider, None, CUSTOMS[provider].dialect, None)
    api = declared.dialect.api(path)
    assert api is not None
    asked = read(declared, api, path, json.dumps(body).encode(), parse_prices("m=1/2,gem=1/2")[0])
    assert asked.model == model
    assert (asked.tokens.input, asked.tokens.output) == (size(body), output)
    assert asked.tokens.cost == pytest.approx((size(body) + 2 * output) / 1e6)


async def test_of_other_paths_the_model_alone_is_read() -> None:
    declared = Provider("openai", None, CUSTOMS["openai"].dialect, None)
    path = "/v1/images/generations"
    request = UpstreamRequest("POST", path, JSON, b'{"model":"img"}')
    asked = await estimated(declared, request, path, parse_prices("")[0])
    assert (asked.model, asked.api, asked.tokens.output) == ("img", None, 0)


async def test_decoded_bodies_do_not_wait_for_a_thread() -> None:
    declared = Provider("openai", None, CUSTOMS["openai"].dialect, None)
    plain = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * (8 << 20)}]}).encode()
    sent, fields = gzip.compress(plain), (*JSON, (b"Content-Encoding", b"gzip"))
    request = UpstreamRequest("POST", CHAT, fields, sent, len(sent))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    peaks = []
    for count in (1, 12):
        tracemalloc.start()
        try:
            asked = await asyncio.gather(*[estimated(declared, request, CHAT, Prices()) for _ in range(count)])
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert [each.tokens.input for each in asked] == [len(plain) / 4] * count
    one, twelve = peaks
    assert twelve < one + 4 * len(plain)


async def test_a_call_is_charged_what_the_provider_tells(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url)
    upstream.will(answer(ANSWER))
    assert await work.call(said()) == ANSWER
    assert await work.used() == {
        "requests": 1,
        "tokens": 37,
        "input-tokens": 30,
        "output-tokens": 7,
        "cost": pytest.approx(0.001),
    }


async def test_while_it_lasts_the_estimate_is_reserved(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key: 1000 tokens/h")
    upstream.will(pause(0.2), answer(ANSWER))
    first = asyncio.create_task(work.call(said(max_tokens=900)))
    await upstream.received()
    with pytest.raises(RateLimited, match="1,000 tokens per hour for this key"):
        await work.call(said(max_tokens=100))
    await first
    upstream.will(answer(ANSWER))
    await work.call(said(max_tokens=100))
    assert (await work.used())["tokens"] == 74


async def test_cached_input_is_charged_its_own_price(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url)
    upstream.will(
        answer(
            b'{"model":"m","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":0,'
            b'"prompt_tokens_details":{"cached_tokens":600}}}'
        )
    )
    await work.call(said())
    assert (await work.used())["cost"] == pytest.approx((400 * 10 + 600 * 1) / 1e6)


async def test_a_stream_is_charged_what_its_end_tells(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url)
    upstream.will(begin(), event(b'{"choices":[]}'), event(ANSWER), event(b"[DONE]"), end())
    await work.call(said(stream=True))
    assert (await work.used())["tokens"] == 37


async def test_an_answer_that_tells_no_usage_is_charged_by_its_size(
    stack: AsyncExitStack, upstream: ScriptedUpstream
) -> None:
    work = await workplace(stack, upstream.url)
    body = said()
    upstream.will(answer(b'{"choices":[]}'.ljust(400)))
    await work.call(body)
    assert await work.used() == {
        "requests": 1,
        "tokens": size(body) + 100,
        "input-tokens": size(body),
        "output-tokens": 100,
        "cost": pytest.approx((10 * size(body) + 100 * 100) / 1e6),
    }


async def test_and_what_a_client_allows_bounds_no_charge(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url)
    upstream.will(answer(b'{"choices":[]}'.ljust(4000)))
    await work.call(said(max_tokens=25))
    assert (await work.used())["output-tokens"] == 1000


async def test_a_stream_that_a_client_leaves_is_charged_by_what_came(
    stack: AsyncExitStack, upstream: ScriptedUpstream
) -> None:
    work = await workplace(stack, upstream.url)
    body = said(stream=True)
    data = b'{"choices":[{"delta":{"content":"hi"}}]}'
    upstream.will(begin(), event(data), pause(0.05), event(data), until_left())
    call = UpstreamCall("openai", "POST", CHAT, "c" * 16)
    request = UpstreamRequest("POST", CHAT, JSON, json.dumps(body).encode())
    came = 0
    async with work.limited.call(work.exchange, work.providers["openai"], request, call) as response:
        async for chunk in response.chunks():
            came += len(chunk)
            if came >= 2 * len(b"data: " + data + b"\n\n"):
                break
    used = await work.used()
    assert used["input-tokens"] == size(body)
    assert used["output-tokens"] == 2  # an event with any text is a token at least
    assert call.estimated_tokens == round(size(body) + 2)


async def test_a_stream_that_breaks_is_charged_what_it_told_of_its_input(
    stack: AsyncExitStack, upstream: ScriptedUpstream
) -> None:
    work = await workplace(stack, upstream.url)
    started = b'{"type":"message_start","message":{"model":"m","usage":{"input_tokens":500,"output_tokens":1}}}'
    upstream.will(begin(), event(started), reset())
    with pytest.raises(GatewayError):
        await work.call(said(stream=True, max_tokens=100), "/v1/messages", "anthropic")
    used = await work.used()
    assert used["input-tokens"] == 500
    assert 1 <= used["output-tokens"] <= 100


async def test_a_call_that_got_no_answer_is_charged_the_estimate(
    stack: AsyncExitStack, upstream: ScriptedUpstream
) -> None:
    work = await workplace(stack, upstream.url)
    body = said(max_tokens=70)
    upstream.will(close())
    with pytest.raises(GatewayError):
        await work.call(body)
    assert (await work.used())["tokens"] == size(body) + 70


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "500 Internal Server Error"])
async def test_a_call_that_was_refused_is_charged_no_tokens(
    stack: AsyncExitStack, upstream: ScriptedUpstream, status: str
) -> None:
    work = await workplace(stack, upstream.url)
    upstream.will(answer(b'{"error":{"message":"no"}}', status))
    await work.call(said())
    assert await work.used() == {"requests": 1, "tokens": 0, "input-tokens": 0, "output-tokens": 0, "cost": 0}


async def test_a_call_that_reached_nobody_is_charged_no_tokens(stack: AsyncExitStack) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.url
    work = await workplace(stack, url)
    with pytest.raises(GatewayError):
        await work.call(said())
    assert (await work.used())["tokens"] == 0


async def test_what_is_no_model_call_takes_no_tokens(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url)
    await work.call(None, "/v1/models")
    await work.call(None, CHAT)
    await work.call(b"\0binary", "/v1/files")
    assert await work.used() == {"requests": 1, "tokens": 0, "input-tokens": 0, "output-tokens": 0, "cost": 0}


async def test_a_call_over_its_budget_is_not_sent(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key: 0.004 usd/h")
    upstream.will(answer(ANSWER))
    await work.call(said(max_tokens=10))  # 0.001
    with pytest.raises(BudgetExhausted):
        await work.call(said(max_tokens=50))
    assert len(upstream.requests) == 1
    upstream.will(answer(ANSWER))
    await work.call(said(max_tokens=1))


async def test_a_model_without_a_price_is_refused_where_cost_is_bounded(
    stack: AsyncExitStack, upstream: ScriptedUpstream
) -> None:
    work = await workplace(stack, upstream.url)
    with pytest.raises(Forbidden) as refused:
        await work.call(said("other"))
    assert refused.value.param == "model"
    assert not upstream.requests
    assert (await work.used())["requests"] == 0


@pytest.mark.parametrize("rules", ["key: 1 usd/h", "key model m: 1 requests/h"])
async def test_a_body_without_a_model_is_refused_where_a_limit_depends_on_it(
    stack: AsyncExitStack, upstream: ScriptedUpstream, rules: str
) -> None:
    work = await workplace(stack, upstream.url, rules)
    with pytest.raises(InvalidRequest) as refused:
        await work.call(b'{"messages":[]}')
    assert refused.value.param == "model"
    assert not upstream.requests


DEEP = b'{"model":"m","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("rules", ["key: 1 usd/h", "key model m: 1 requests/h", "key: 1000 tokens/h"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\x1f\x8b\x08compressed", b'["m"]', '{"model":"m"}'.encode("utf-16"), b'{"model":"m",}', DEEP]
)
async def test_a_body_that_cannot_be_read_is_refused_where_a_limit_depends_on_it(
    stack: AsyncExitStack, upstream: ScriptedUpstream, body: bytes, rules: str
) -> None:
    work = await workplace(stack, upstream.url, rules)
    with pytest.raises(InvalidRequest, match="send one JSON object in UTF-8"):
        await work.call(body)
    assert not upstream.requests


async def test_and_passes_where_none_does(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key: 1000 requests/h")
    await work.call(b"{")
    assert len(upstream.requests) == 1


async def test_each_model_has_its_own_limit(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key model small*: 2 requests/h; key model: 1 requests/h")
    for model, admitted in [("small-1", True), ("small-2", True), ("small-1", False), ("big", True), ("big", False)]:
        if admitted:
            await work.call(said(model))
        else:
            with pytest.raises(RateLimited):
                await work.call(said(model))
    assert len(upstream.requests) == 3


async def test_a_large_body_is_estimated_like_any_other(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key model m: 1 requests/h; key: 100000000 input_tokens/h")
    body = said(padding="x" * (2 << 20))
    upstream.will(answer(b'{"choices":[]}'))
    await work.call(body)
    assert (await work.used())["input-tokens"] == size(body)


async def test_a_body_that_is_not_read_whole_is_refused(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 400

    work = await workplace(stack, upstream.url, "key: 1000000 input_tokens/h")
    for path, fields in ((CHAT, ()), (CHAT, JSON), ("/v1/files", ())):
        request = UpstreamRequest("POST", path, fields, body(), 400)
        sending = work.limited.call(work.exchange, work.providers["openai"], request, UpstreamCall("", "", path, "c"))
        if path == CHAT:
            with pytest.raises(UnsupportedMediaType):
                await sending.__aenter__()
        else:
            async with sending as response:
                await response.read(1000)
    assert (await work.used())["input-tokens"] == 0


async def test_a_request_without_admission_passes(stack: AsyncExitStack, upstream: ScriptedUpstream) -> None:
    work = await workplace(stack, upstream.url, "key: 1 requests/h, 1 tokens/h")
    work.gate.close(work.exchange)
    for _ in range(3):
        await work.call(said())
    assert len(upstream.requests) == 3

"""Log, metrics and Phoenix are views of one record: for a run of mixed requests their counts agree."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from gateway.mock_upstream import mock_app, serving
from tests.integration.phoenix import Phoenix
from tests.process import Process
from tests.running import KEY, OTHER_KEY, environ

REQUESTS = 1000
AT_ONCE = 20
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
CHAT = "/provider/openai/v1/chat/completions"


@pytest.fixture
async def process(tmp_path: Path, phoenix: Phoenix, request: pytest.FixtureRequest) -> AsyncIterator[Process]:
    async with serving(mock_app()) as url:
        names = environ(str(url).rstrip("/"))
        del names["GATEWAY_PORT"]
        names |= {
            "PHOENIX_COLLECTOR_ENDPOINT": phoenix.url,
            "PHOENIX_PROJECT_NAME": request.node.name,
            "GATEWAY_TRACE_CONTENT": "on",
            "GATEWAY_PROJECTS": "demo",
            "GATEWAY_PROJECT_DEMO_ROLE_POINTS": "openai/mock-model",
            "GATEWAY_PROJECT_DEMO_ROLE_WRITER": "anthropic/mock-model",
            "GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_1": "openai/mock-model",
            "GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_2": "anthropic/mock-model",
            "GATEWAY_PROJECT_DEMO_ROLE_JUDGE": "gemini/mock-model",
        }
        async with Process(tmp_path, names) as running:
            yield running


async def unary(session: aiohttp.ClientSession, number: int) -> None:
    async with session.post(CHAT, json={"model": "mock-model", "messages": QUESTION}) as response:
        await response.read()


async def streamed(session: aiohttp.ClientSession, number: int) -> None:
    body = {"model": "mock-model", "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    async with session.post(CHAT, json=body) as response:
        await response.read()


async def refused(session: aiohttp.ClientSession, number: int) -> None:
    async with session.post(CHAT, json={}, headers={"X-API-Key": OTHER_KEY}) as response:
        assert response.status == 403


async def failing(session: aiohttp.ClientSession, number: int) -> None:
    async with session.post(CHAT, json={"model": "mock-model+fail=500", "messages": QUESTION}) as response:
        assert response.status == 500


async def cut(session: aiohttp.ClientSession, number: int) -> None:
    body = {"model": "mock-model+cut-after=2", "messages": QUESTION, "stream": True}
    with pytest.raises(aiohttp.ClientPayloadError):
        async with session.post(CHAT, json=body) as response:
            await response.read()


async def cancelled(session: aiohttp.ClientSession, number: int) -> None:
    body = {"model": "mock-model+stall-after=2", "messages": QUESTION, "stream": True}
    async with aiohttp.ClientSession(session._base_url, headers={"X-API-Key": KEY}) as own:
        async with own.post(CHAT, json=body) as response:
            await response.content.readany()


async def project(session: aiohttp.ClientSession, number: int) -> None:
    path = "/projects/demo/summary?stream_mode=text"
    async with session.post(path, json={"text": "A text of some length."}) as response:
        assert response.status == 200
        await response.read()


MIX = (unary, unary, unary, streamed, streamed, refused, failing, cut, cancelled, project)


def samples(text: str, name: str) -> Counter[tuple[tuple[str, str], ...]]:
    """The series of one metric by their labels."""
    found: Counter[tuple[tuple[str, str], ...]] = Counter()
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}(?:{{(.*)}})? ([0-9.e+]+)", line)
        if match:
            found[tuple(sorted(re.findall(r'(\w+)="([^"]*)"', match[1] or "")))] += int(float(match[2]))
    return found


def by(series: Counter[tuple[tuple[str, str], ...]], label: str) -> Counter[str]:
    told: Counter[str] = Counter()
    for labels, count in series.items():
        told[dict(labels)[label]] += count
    return +told


async def test_a_thousand_mixed_requests_are_counted_alike_everywhere(
    process: Process, phoenix: Phoenix, request: pytest.FixtureRequest
) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def run(number: int) -> None:
        async with gate:
            await MIX[number % len(MIX)](session, number)

    async with aiohttp.ClientSession(process.url, headers={"X-API-Key": KEY}) as session:
        await asyncio.gather(*(run(number) for number in range(REQUESTS)))
        await process.until(lambda: len(process.exchanges) == REQUESTS)
        async with session.get("/metrics") as response:
            exposed = await response.text()

    lines = process.exchanges
    logged = Counter(line["outcome"] for line in lines)
    assert logged == {
        "complete": REQUESTS * 6 // 10,
        "refused": REQUESTS // 10,
        "upstream_error": REQUESTS // 10,
        "upstream_truncated": REQUESTS // 10,
        "client_gone": REQUESTS // 10,
    }
    counted = samples(exposed, "gateway_requests_total")
    here = Counter({labels: n for labels, n in counted.items() if dict(labels)["route"] != "/metrics"})
    assert by(here, "outcome") == logged

    spans = await phoenix.all_spans(request.node.name, traces=REQUESTS)
    traced = Counter(span["attributes"]["metadata.outcome"] for span in roots(spans))
    assert traced == logged

    told = sum(line.get("input_tokens", 0) for line in lines), sum(line.get("output_tokens", 0) for line in lines)
    tokens = samples(exposed, "gen_ai_client_token_usage_sum")
    assert (by(tokens, "gen_ai_token_type")["input"], by(tokens, "gen_ai_token_type")["output"]) == told
    shown = [span["attributes"] for span in spans]
    assert sum(each.get("llm.token_count.prompt", 0) for each in shown) == told[0]
    assert sum(each.get("llm.token_count.completion", 0) for each in shown) == told[1]


def roots(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The server spans; a scrape of the metrics has none, since it needs no key."""
    return [span for span in spans if span["parent_id"] is None]


async def test_real_sdks_are_seen_as_they_were(
    process: Process, phoenix: Phoenix, request: pytest.FixtureRequest
) -> None:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{process.url}/provider/openai/v1") as sdk:
        await sdk.chat.completions.create(
            model="mock-model",
            messages=QUESTION,  # type: ignore[arg-type]
            max_tokens=7,
            extra_headers={"x-gateway-prompt-template": "Why is {what} blue?", "x-session-id": "talk-1"},
        )
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=f"{process.url}/provider/anthropic") as sdk2:
        async with sdk2.messages.stream(model="mock-model", max_tokens=99, messages=QUESTION) as stream:  # type: ignore[arg-type]
            answer = await stream.get_final_text()
    spans = await phoenix.all_spans(request.node.name, traces=2)
    models = {span["attributes"].get("llm.provider"): span for span in spans if span["span_kind"] == "LLM"}
    asked, streamed_span = models["openai"]["attributes"], models["anthropic"]["attributes"]
    assert asked["llm.parameters.max_tokens"] == 7
    assert asked["llm.prompt_template.template"] == "Why is {what} blue?"
    assert asked["session.id"] == "talk-1"
    assert asked["user.id"] == "alice"
    assert asked["llm.input_messages.0.message.content"] == QUESTION[0]["content"]
    assert streamed_span["llm.output_messages.0.message.content"] == answer
    parents = {span["context"]["span_id"] for span in spans if span["parent_id"] is None}
    assert {span["parent_id"] for span in models.values()} <= parents

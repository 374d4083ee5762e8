"""One realistic flow, seen from every side.

A project's endpoint, models of three APIs behind it, a program and a real browser that listen to its streams, one
provider that fails half way. Afterwards the log, the metrics and the spans have to tell the same story.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.mock_upstream import mock_app, serving
from tests.integration.chromium import Chromium
from tests.needing import program
from tests.process import Process
from tests.read_spans import Span, of_request
from tests.running import KEY, environ

SUMMARY, COMPARE = "/projects/demo/summary", "/projects/demo/compare"
TEXT = {"text": "The moon is far. The sea is deep."}
QUESTION = {"question": "Tea or coffee?"}
ROLES = {
    "POINTS": "openai/points-model",
    "WRITER": "anthropic/writer-model",
    "CANDIDATE_1": "openai/first-model",
    "CANDIDATE_2": "gemini/second-model+cut-after=3",
    "JUDGE": "anthropic/judge-model",
}
LISTEN = """
(async () => {
  const bought = await fetch("/tickets", {
    method: "POST",
    headers: { "X-API-Key": %(key)s, "Content-Type": "application/json" },
    body: JSON.stringify({ path: %(path)s, body: %(body)s }),
  });
  const source = new EventSource((await bought.json()).url);
  const heard = [];
  return await new Promise((heardAll) => {
    for (const name of ["step", "delta", "reply", "usage", "done", "error"]) {
      source.addEventListener(name, (event) => {
        heard.push([name, event.data ? JSON.parse(event.data) : null]);
        if (name === "done" || name === "error") { source.close(); heardAll(heard); }
      });
    }
  });
})()
"""


@dataclass
class Collector:
    """Takes spans as Phoenix does."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        for spans in of_request(await request.read()).values():
            self.spans += spans
        return web.Response(content_type="application/x-protobuf")

    async def tree(self, trace_id: str, size: int) -> dict[str, Span]:
        """The spans of a trace by their ids, once there are `size` of them."""
        async with asyncio.timeout(15):
            while sum(span.trace_id == trace_id for span in self.spans) < size:
                await asyncio.sleep(0.02)
        return {span.span_id: span for span in self.spans if span.trace_id == trace_id}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def collector(stack: AsyncExitStack) -> Collector:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    collector.url = str(await stack.enter_async_context(serving(app))).rstrip("/")
    return collector


@pytest.fixture
async def gateway(stack: AsyncExitStack, collector: Collector, tmp_path: Path) -> Process:
    upstream = str(await stack.enter_async_context(serving(mock_app()))).rstrip("/")
    bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": model for role, model in ROLES.items()}
    names = environ(
        upstream,
        GATEWAY_PROJECTS="demo",
        PHOENIX_COLLECTOR_ENDPOINT=collector.url,
        GATEWAY_TRACE_CONTENT="on",
        **bound,
    )
    del names["GATEWAY_PORT"]
    return await stack.enter_async_context(Process(tmp_path, names))


@pytest.fixture
async def client(stack: AsyncExitStack, gateway: Process) -> aiohttp.ClientSession:
    return await stack.enter_async_context(aiohttp.ClientSession(gateway.url, headers={"X-API-Key": KEY}))


async def lines_of(client: aiohttp.ClientSession, path: str, body: object) -> tuple[list[dict[str, Any]], bool]:
    """The frames of an ndjson answer, and whether it ended as it should."""
    received = b""
    async with client.post(f"{path}?stream_mode=ndjson", json=body) as response:
        assert response.status == 200
        try:
            async for piece in response.content.iter_any():
                received += piece
            whole = True
        except aiohttp.ClientPayloadError:
            whole = False
    return [json.loads(line) for line in received.splitlines()], whole


async def heard_by_a_browser(gateway: Process, path: str, body: object) -> list[tuple[str, Any]]:
    said = {"key": json.dumps(KEY), "path": json.dumps(f"{path}?stream_mode=sse"), "body": json.dumps(body)}
    async with Chromium() as browser:
        await browser.goto(f"{gateway.url}/demo")
        return [(name, data) for name, data in await browser.evaluate(LISTEN % said)]


async def counted(client: aiohttp.ClientSession, name: str, *labels: str) -> Counter[tuple[str, ...]]:
    """A metric's samples for the demo, by some of its labels."""
    found: Counter[tuple[str, ...]] = Counter()
    async with client.get("/metrics") as response:
        for line in (await response.text()).splitlines():
            if match := re.fullmatch(rf"{name}{{(.*)}} (\S+)", line):
                told = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
                if told.get("project") == "demo":
                    found[tuple(told[label] for label in labels)] += round(float(match[2]))
    return found


async def test_one_flow_is_told_alike_by_log_metrics_and_spans(
    gateway: Process, client: aiohttp.ClientSession, collector: Collector
) -> None:
    program("chromium")
    frames, whole = await lines_of(client, SUMMARY, TEXT)
    assert whole and frames[-1] == {"type": "done"}
    heard = await heard_by_a_browser(gateway, SUMMARY, TEXT)
    broken, whole = await lines_of(client, COMPARE, QUESTION)
    assert not whole and broken[-1]["error"]["code"] == "upstream_truncated"

    # The program and the browser were told the same.
    assert heard[-1][0] == "done"
    assert reply_of([data for _, data in heard]) == reply_of(frames)
    assert "points-model was told" in reply_of(frames)["summary"]

    # The log has a line for each, with the calls inside.
    await gateway.until(lambda: len(about_demo(gateway)) == 3)
    logged = about_demo(gateway)
    assert [(line["route"], line["method"], line["outcome"]) for line in logged] == [
        (SUMMARY, "POST", "complete"),
        (SUMMARY, "GET", "complete"),
        (COMPARE, "POST", "upstream_truncated"),
    ]
    steps = [[(call["step"], call["provider"], call["outcome"]) for call in line["calls"]] for line in logged]
    assert steps[0] == steps[1] == [("points", "openai", "complete"), ("writer", "anthropic", "complete")]
    assert ("candidate_2", "gemini", "upstream_truncated") in steps[2] and len(steps[2]) == 2
    usage = next(frame for frame in frames if frame["type"] == "usage")
    assert (logged[0]["input_tokens"], logged[0]["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])

    # The metrics count the same exchanges, calls and tokens.
    assert await counted(client, "gateway_requests_total", "route", "outcome") == Counter(
        (line["route"], line["outcome"]) for line in logged
    )
    calls = [call for line in logged for call in line["calls"]]
    assert await counted(client, "gateway_project_call_duration_seconds_count", "step") == Counter(
        (call["step"],) for call in calls
    )
    tokens = await counted(client, "gateway_tokens_total", "provider", "type")
    for provider in ("openai", "anthropic"):
        told = [call for call in calls if call["provider"] == provider]
        assert tokens[provider, "input"] == sum(call.get("input_tokens", 0) for call in told)
        assert tokens[provider, "output"] == sum(call.get("output_tokens", 0) for call in told)

    # So do the spans: one for the exchange, one for the workflow below it, one for each call below that.
    for line in logged:
        tree = await collector.tree(line["trace_id"], 2 + len(line["calls"]))
        (server,) = [span for span in tree.values() if span.parent_id not in tree]
        (chain,) = [span for span in tree.values() if span.parent_id == server.span_id]
        models = [span for span in tree.values() if span.parent_id == chain.span_id]
        assert (server.kind, chain.attributes["openinference.span.kind"]) == ("SERVER", "CHAIN")
        assert len(tree) == 2 + len(models) and len(models) == len(line["calls"])
        for call in line["calls"]:
            (span,) = [span for span in models if span.attributes["llm.model_name"] == call["model"]]
            assert span.attributes["openinference.span.kind"] == "LLM"
            assert span.attributes.get("llm.token_count.completion") == call.get("output_tokens")
            assert (span.status == "ERROR") == (call["outcome"].startswith("upstream"))
            assert span.attributes["llm.prompt_template.template"]


def reply_of(frames: list[Any]) -> Any:
    return next(frame["reply"] for frame in frames if frame["type"] == "reply")


def about_demo(gateway: Process) -> list[dict[str, Any]]:
    return [line for line in gateway.exchanges if line.get("project") == "demo"]

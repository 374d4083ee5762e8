"""A real Phoenix takes our spans, and shows what they say."""

import asyncio
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from gateway.settings.tracing import Capture, ContentSettings, TracingSettings
from gateway.telemetry.exchange import Exchange, Usage
from gateway.telemetry.span_export import SpanCounts
from gateway.telemetry.tracing import Tracing
from tests import needing
from tests import traced_exchanges as made
from tests.integration.chromium import Chromium
from tests.integration.phoenix import Phoenix

pytestmark = pytest.mark.integration

COSTS = """
query ($name: String!) {
  projects(filter: {col: name, value: $name}) { edges { node {
    id traceCount tokenCountTotal tokenCountPrompt tokenCountCompletion costSummary { total { cost tokens } }
  } } }
}
"""


class Shown:
    """What Phoenix shows of a Phoenix project."""

    def __init__(self, phoenix: Phoenix, project: str, spans: list[dict[str, Any]]) -> None:
        self.phoenix = phoenix
        self.project = project
        self.spans = {span["context"]["span_id"]: span for span in spans}

    def server(self, exchange: Exchange) -> dict[str, Any]:
        return self.spans[exchange.trace.span_id]

    def call(self, exchange: Exchange, number: int = 0) -> dict[str, Any]:
        return self.spans[exchange.calls[number].span_id]


async def show(phoenix: Phoenix, *exchanges: Exchange, projects: dict[str, str] | None = None) -> Shown:
    """Send `exchanges` to a Phoenix project of their own and read them back."""
    project = f"test-{uuid.uuid4().hex[:8]}"
    settings = TracingSettings(
        endpoint=URL(f"{phoenix.url}/v1/traces"),
        project=project,
        projects=projects or {},
        content=ContentSettings(Capture.ON),
        export_timeout=10.0,
        without_key=True,
    )
    expected = sum(1 + len(each.calls) + (each.workflow_span_id is not None) for each in exchanges)
    tracing = Tracing(settings, {"gemini": "google"})
    async with tracing:
        for exchange in exchanges:
            tracing.view(exchange)
        async with asyncio.timeout(20):
            while tracing.counts.sent < expected:
                await asyncio.sleep(0.02)
    assert tracing.counts == SpanCounts(sent=expected)
    elsewhere = {projects[each.project.upper()] for each in exchanges if projects and each.project}
    spans = []
    for name in elsewhere or {project}:
        spans += await phoenix.spans(name, expected)
    return Shown(phoenix, project, spans)


async def test_every_kind_of_exchange_is_a_tree_under_its_request(phoenix: Phoenix) -> None:
    exchanges = [make() for make in made.EVERY_KIND]
    shown = await show(phoenix, *exchanges)
    for exchange in exchanges:
        assert shown.server(exchange)["parent_id"] is None
        above = exchange.workflow_span_id or exchange.trace.span_id
        for call in exchange.calls:
            assert shown.spans[call.span_id]["parent_id"] == above
            assert shown.spans[call.span_id]["context"]["trace_id"] == exchange.trace.trace_id
        if exchange.workflow_span_id:
            assert shown.spans[exchange.workflow_span_id]["parent_id"] == exchange.trace.span_id
            assert shown.spans[exchange.workflow_span_id]["span_kind"] == "CHAIN"


async def test_a_conversation_is_read_as_openinference_means_it(phoenix: Phoenix) -> None:
    exchange = made.with_tools()
    shown = await show(phoenix, exchange)
    call = shown.call(exchange)
    attributes = call["attributes"]
    assert (call["name"], call["span_kind"], call["status_code"]) == ("chat claude-sonnet-4-5", "LLM", "OK")
    assert attributes["llm.model_name"] == "claude-sonnet-4-5"
    assert (attributes["llm.provider"], attributes["llm.system"]) == ("anthropic", "anthropic")
    assert attributes["llm.input_messages.0.message.content"] == made.QUESTION
    assert attributes["llm.input_messages.1.message.tool_calls.0.tool_call.function.name"] == "weather"
    assert json.loads(attributes["llm.tools.0.tool.json_schema"])["name"] == "weather"
    assert attributes["llm.output_messages.0.message.content"] == "One moment."
    assert json.loads(attributes["llm.invocation_parameters"])["temperature"] == 0.5
    assert attributes["llm.parameters.max_tokens"] == 64
    assert attributes["llm.token_count.prompt_details.cache_read"] == 40
    assert attributes["llm.finish_reason"] == "tool_use"
    assert attributes["session.id"] == "conversation-7" and attributes["user.id"] == "team-a"
    assert call["attributes"]["metadata.request_id"] == exchange.id


async def test_a_template_is_shown_with_its_variables(phoenix: Phoenix) -> None:
    exchange = made.unary()
    attributes = (await show(phoenix, exchange)).call(exchange)["attributes"]
    assert attributes["llm.prompt_template.template"] == "What is the weather in {city}?"
    assert attributes["llm.prompt_template.version"] == "3"
    assert attributes["llm.prompt_template.variables.city"] == "Lisbon"


@pytest.mark.parametrize(
    ("make", "server", "call"),
    [
        (made.unary, "UNSET", "OK"),
        (made.relayed_refusal, "UNSET", "ERROR"),
        (made.timed_out, "ERROR", "ERROR"),
        (made.cut, "ERROR", "ERROR"),
        (made.cancelled, "UNSET", "UNSET"),
    ],
)
async def test_the_status_tells_whose_fault_it_was(
    phoenix: Phoenix, make: Callable[[], Exchange], server: str, call: str
) -> None:
    exchange = make()
    shown = await show(phoenix, exchange)
    assert (shown.server(exchange)["status_code"], shown.call(exchange)["status_code"]) == (server, call)
    assert shown.server(exchange)["attributes"]["metadata.outcome"] == exchange.outcome


async def test_the_first_token_and_an_error_are_events(phoenix: Phoenix) -> None:
    exchange = made.cut()
    shown = await show(phoenix, exchange)
    first, error = shown.call(exchange)["events"]
    assert (first["name"], error["name"]) == ("First Token Stream Event", "exception")
    assert error["attributes"]["exception.type"] == "idle_timeout"
    assert shown.call(exchange)["status_message"] == "The provider fell silent in the middle of its response"


async def test_a_gateway_project_s_traces_are_in_its_own_phoenix_project(phoenix: Phoenix) -> None:
    own = f"test-{uuid.uuid4().hex[:8]}"
    exchange = made.project()
    shown = await show(phoenix, exchange, projects={"DEMO": own})
    assert {own} <= set(await phoenix.projects())
    assert len(shown.spans) == 4
    assert shown.project not in await phoenix.projects(), "nothing of the trace is elsewhere"


async def test_token_totals_and_costs_count_each_call_once(phoenix: Phoenix) -> None:
    shown = await show(phoenix, made.unary(), made.project(), made.embeddings())
    node = await _with_costs(shown)
    assert (node["traceCount"], node["tokenCountTotal"]) == (3, 3 * 120)
    assert (node["tokenCountPrompt"], node["tokenCountCompletion"]) == (3 * 100, 3 * 20)
    assert node["costSummary"]["total"]["cost"] > 0


async def test_phoenix_s_own_pages_show_prompt_answer_tokens_and_errors(phoenix: Phoenix) -> None:
    needing.program("chromium")
    good, bad = made.unary(), made.cut()
    good.calls[0].facts.usage = Usage(700, 77, 777)
    shown = await show(phoenix, good, bad)
    async with Chromium() as browser:
        await browser.send(
            "Emulation.setDeviceMetricsOverride", width=1700, height=1100, deviceScaleFactor=1, mobile=False
        )
        identifier = (await _with_costs(shown))["id"]
        await browser.goto(f"{phoenix.url}/projects/{identifier}/traces")
        await _shows(browser, "POST /provider/openai", made.QUESTION[:12], made.ANSWER[:12], "The provider fell")
        await _keep(browser, "phoenix-traces")
        await browser.goto(f"{phoenix.url}/redirects/spans/{good.calls[0].span_id}")
        await _shows(
            browser, "chat gpt-4o", made.QUESTION, made.ANSWER, "You are brief.", "{city}", "max_tokens", "120"
        )
        await _keep(browser, "phoenix-trace")
        assert all(url.startswith((phoenix.url, "data:", "about:", "blob:")) for url in browser.requested)


async def _with_costs(shown: Shown) -> dict[str, Any]:
    """The Phoenix project, once the costs are worked out, which happens every few seconds."""
    async with asyncio.timeout(30):
        while True:
            answer = await shown.phoenix.graphql(COSTS, name=shown.project)
            (node,) = (each["node"] for each in answer["projects"]["edges"])
            if node["costSummary"]["total"]["tokens"]:
                return dict(node)
            await asyncio.sleep(0.2)


async def _shows(browser: Chromium, *texts: str) -> None:
    for text in texts:
        await browser.until(f"document.body.innerText.includes({json.dumps(text)})")


async def _keep(browser: Chromium, name: str) -> None:
    if folder := os.environ.get("GATEWAY_TEST_SCREENSHOTS"):
        await browser.screenshot(Path(folder) / f"{name}.png")

"""A provider's refusal is a warning that says what the provider calls it, and never what it says about it."""

import json

import pytest

from gateway.settings.tracing import ContentSettings
from gateway.telemetry.access_log import is_loud, json_line, text_line
from gateway.telemetry.content import ContentRules
from gateway.telemetry.span_tree import SpanTree
from tests.read_spans import of_scope
from tests.running import Running, Start
from tests.scripted import ScriptedUpstream, answer

OPENAI = {"error": {"message": "canary", "type": "invalid_request_error", "param": "canary", "code": "model_not_found"}}
ANTHROPIC = {"type": "error", "error": {"type": "not_found_error", "message": "canary"}}
GEMINI = {"error": {"code": 400, "message": "canary", "status": "INVALID_ARGUMENT"}}
REASON = {"error": {**GEMINI["error"], "details": [{"reason": "API_KEY_INVALID", "metadata": {"canary": "canary"}}]}}
PROBLEM = {"type": "https://example.com/problems/out-of-credit", "title": "canary", "detail": "canary", "code": "E7"}
TEXTS = {"error": {"type": "canary canary", "code": "canary?", "message": "canary"}}
LONG = {"error": {"type": "canary" * 20, "code": {"canary": 1}}}


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (OPENAI, "invalid_request_error", "model_not_found"),
        (ANTHROPIC, "not_found_error", None),
        (GEMINI, "INVALID_ARGUMENT", "400"),
        ([REASON], "INVALID_ARGUMENT", "API_KEY_INVALID"),
        (PROBLEM, "out-of-credit", "E7"),
        (TEXTS, None, None),
        (LONG, None, None),
        ({"error": "canary"}, None, None),
        ("canary", None, None),
    ],
)
async def test_a_providers_refusal_is_told_by_its_own_words(
    gateway: Running, upstream: ScriptedUpstream, body: object, kind: str | None, code: str | None
) -> None:
    upstream.will(answer(json.dumps(body).encode(), "400 Bad Request"))
    async with gateway.session.post("/provider/openai/v1/chat/completions", json={"model": "m"}) as response:
        assert (response.status, await response.json()) == (400, body)
    exchange = await gateway.exchange()
    line = json.loads(json_line(exchange))
    assert (line["level"], line["outcome"], line["upstream_status"]) == ("warning", "complete", 400)
    assert (line.get("upstream_error_type"), line.get("upstream_error_code")) == (kind, code)
    assert is_loud(exchange)
    assert b"canary" not in json_line(exchange) + text_line(exchange)
    if kind:
        assert f" upstream_error_type={kind} " in text_line(exchange).decode()


async def test_an_answer_that_is_no_refusal_is_told_as_before(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(json.dumps(OPENAI).encode()))
    async with gateway.session.post("/provider/openai/v1/chat/completions", json={"model": "m"}) as response:
        assert response.status == 200
    line = json.loads(json_line(await gateway.exchange()))
    assert line["level"] == "info" and "upstream_error_type" not in line


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (OPENAI, "canary"),
        (ANTHROPIC, "canary"),
        ([REASON], "canary"),
        (PROBLEM, "canary"),
        ({"error": "plain words"}, "plain words"),
        ({"error": {"message": "x" * 5000}}, "x" * 500),
        ({"error": {"message": "two\r\nlines \u202e"}}, "two\r\nlines \u202e"),
        ({"error": {"message": {"no": "text"}}}, None),
        ("canary", None),
    ],
)
async def test_its_message_is_shown_where_a_setting_asks_for_it(
    start: Start, upstream: ScriptedUpstream, body: object, message: str | None
) -> None:
    gateway = await start(GATEWAY_PROVIDER_ERROR_MESSAGES="true")
    upstream.will(answer(json.dumps(body).encode(), "400 Bad Request"))
    async with gateway.session.post("/provider/openai/v1/chat/completions", json={"model": "m"}) as response:
        assert response.status == 400
    exchange = await gateway.exchange()
    assert json.loads(json_line(exchange)).get("upstream_error_message") == message
    assert text_line(exchange).count(b"\n") == 1
    span = of_scope(SpanTree(ContentRules(ContentSettings()), {}).encoded(exchange))[-1]
    assert json.loads(span.attributes["metadata"]).get("upstream_error_message") == message

"""What is read off OpenAI's Responses API."""

import pytest

from gateway.providers.openai import OPENAI
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    RESPONSE,
    RESPONSES_EVENTS,
    RESPONSES_PATH,
    RESPONSES_REQUEST,
    RESPONSES_STREAM,
    compact,
    event_stream,
)

RESPONSE_TOKENS = Usage(30, 20, 50, cache_read_tokens=10, cache_write_tokens=0, reasoning_tokens=15)


def facts(path: str, request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return OPENAI.facts(path, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize("body", [compact(RESPONSE), RESPONSES_STREAM])
def test_the_responses_api_tells_the_same_unary_and_streamed(body: bytes):
    told = facts(RESPONSES_PATH, RESPONSES_REQUEST, body, content=True)
    assert (told.operation, told.response_id, told.response_model) == ("chat", "resp_1", "gpt-5-2026-01-01")
    assert (told.finish_reasons, told.usage) == (["completed"], RESPONSE_TOKENS)
    assert told.parameters == {"reasoning": {"effort": "low"}, "max_output_tokens": 200}
    assert told.content is not None
    assert told.content.input_messages == [
        Message("system", "Be brief."),
        Message("user", "Weather?\n[image]"),
        Message("assistant", tool_calls=[ToolCall("call_0", "weather", '{"city":"Rome"}')]),
        Message("tool", "sunny", tool_call_id="call_0"),
    ]
    assert told.content.output_messages == [
        Message("assistant", "It is sunny.", tool_calls=[ToolCall("call_1", "weather", '{"city":"Oslo"}')])
    ]


def test_a_response_that_never_came_to_its_end_is_pieced_together_from_what_was_said():
    told = facts(RESPONSES_PATH, RESPONSES_REQUEST, event_stream(RESPONSES_EVENTS[:-1], named=True), content=True)
    assert (told.usage, told.finish_reasons, told.response_id) == (None, [], "resp_1")
    assert told.content is not None
    assert told.content.output_messages == [
        Message("assistant", "It is sunny.", tool_calls=[ToolCall("call_1", "weather", '{"city":"Oslo"}')])
    ]


def test_a_last_event_longer_than_the_tail_still_tells_the_tokens():
    long = {**RESPONSE, "instructions": "long " * 20_000}
    events = [{**event, "response": long} if "response" in event else event for event in RESPONSES_EVENTS]
    body = event_stream(events, named=True)
    told = facts(RESPONSES_PATH, RESPONSES_REQUEST, body[:16_000], body[-20_000:], whole=False)
    assert (told.response_id, told.usage) == ("resp_1", RESPONSE_TOKENS)


def test_an_incomplete_response_tells_why():
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    body = event_stream([{"type": "response.incomplete", "sequence_number": 1, "response": cut}], named=True)
    assert facts(RESPONSES_PATH, RESPONSES_REQUEST, body).finish_reasons == ["max_output_tokens"]


def test_a_plain_string_as_input_is_the_users():
    told = facts(RESPONSES_PATH, {"model": "gpt-5", "input": "Hi"}, b"", content=True)
    assert told.content is not None
    assert told.content.input_messages == [Message("user", "Hi")]

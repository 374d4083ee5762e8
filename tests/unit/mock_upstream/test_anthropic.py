"""The Anthropic-shaped routes, as the anthropic SDK sees them."""

from __future__ import annotations

import json
from typing import Any

import anthropic as sdk
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from pydantic import TypeAdapter

from gateway.mock_upstream.answers import reply, words
from tests.unit.mock_upstream.conftest import Mock

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
HELLO: Any = [{"role": "user", "content": "Hello there!"}]
TEXT = reply("claude-mock", "Hello there!")
WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def events_of(stream: Any) -> list[Any]:
    """All events, each held to the SDK's own idea of one."""
    return [EVENT.validate_python(event.to_dict()) async for event in stream]


async def test_a_message(anthropic: AsyncAnthropic) -> None:
    answer = await anthropic.messages.create(model="claude-mock", max_tokens=100, messages=HELLO, system="Be brief.")
    Message.model_validate(answer.to_dict())
    (block,) = answer.content
    assert block.type == "text"
    assert (block.text, answer.stop_reason, answer.model) == (TEXT, "end_turn", "claude-mock")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (4, len(TEXT.split()))


@pytest.mark.parametrize(("version", "status"), [("2023-06-01", 200), ("2026-10-21", 400)])
async def test_the_later_version_refuses_sampling_parameters(mock: Mock, version: str, status: int) -> None:
    body = {"model": "claude-mock", "max_tokens": 9, "messages": HELLO, "temperature": 0.5}
    response = await mock.post("/v1/messages", json=body, headers={"anthropic-version": version})
    assert response.status == status


async def test_a_stream_builds_the_same_message_up(anthropic: AsyncAnthropic) -> None:
    stream = await anthropic.messages.create(model="claude-mock", max_tokens=100, messages=HELLO, stream=True)
    start, opened, *deltas, closed, delta, stop = await events_of(stream)  # the SDK keeps pings to itself
    assert (start.type, start.message.content, start.message.usage.input_tokens) == ("message_start", [], 2)
    assert (opened.type, closed.type, stop.type) == ("content_block_start", "content_block_stop", "message_stop")
    assert [event.delta.text for event in deltas] == words(TEXT)
    assert delta.delta.stop_reason == "end_turn"
    unary = await anthropic.messages.create(model="claude-mock", max_tokens=100, messages=HELLO)
    assert delta.usage.output_tokens == unary.usage.output_tokens


async def test_the_sdk_accumulates_a_stream(anthropic: AsyncAnthropic) -> None:
    async with anthropic.messages.stream(model="claude-mock", max_tokens=100, messages=HELLO) as stream:
        assert [text async for text in stream.text_stream] == words(TEXT)
        final = await stream.get_final_message()
    unary = await anthropic.messages.create(model="claude-mock", max_tokens=100, messages=HELLO)
    assert (final.content[0].to_dict(), final.stop_reason) == (unary.content[0].to_dict(), unary.stop_reason)


async def test_a_stream_on_the_wire_names_its_events_and_pings(mock: Mock) -> None:
    body = {"model": "claude-mock+words=1", "max_tokens": 9, "messages": HELLO, "stream": True}
    events = (await (await mock.post("/v1/messages", json=body)).text()).strip().split("\n\n")
    names = [event.split("\n")[0].removeprefix("event: ") for event in events]
    assert names == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [json.loads(event.split("\ndata: ")[1])["type"] for event in events] == names


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
async def test_a_tool_is_called_when_one_must_be(anthropic: AsyncAnthropic, choice: Any) -> None:
    answer = await anthropic.messages.create(
        model="claude-mock", max_tokens=100, messages=HELLO, tools=[WEATHER], tool_choice=choice
    )
    Message.model_validate(answer.to_dict())
    (block,) = answer.content
    assert block.type == "tool_use"
    assert (block.name, block.input, answer.stop_reason) == ("get_weather", {"city": "city", "days": 1}, "tool_use")


async def test_a_streamed_tool_call_comes_in_fragments(anthropic: AsyncAnthropic) -> None:
    asking: Any = [{"role": "user", "content": [{"type": "text", "text": "get_weather, please"}]}]
    stream = await anthropic.messages.create(
        model="claude-mock", max_tokens=100, messages=asking, tools=[WEATHER], stream=True
    )
    events = await events_of(stream)
    (opened,) = [event.content_block for event in events if event.type == "content_block_start"]
    assert (opened.type, opened.name, opened.input) == ("tool_use", "get_weather", {})
    fragments = [event.delta.partial_json for event in events if event.type == "content_block_delta"]
    assert len(fragments) > 1
    assert json.loads("".join(fragments)) == {"city": "city", "days": 1}
    assert events[-2].delta.stop_reason == "tool_use"


async def test_a_tools_result_is_answered_in_words(anthropic: AsyncAnthropic) -> None:
    messages: Any = [
        {"role": "user", "content": "get_weather, please"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "get_weather: sunny"}]},
    ]
    answer = await anthropic.messages.create(model="m", max_tokens=100, messages=messages, tools=[WEATHER])
    assert "“get_weather: sunny”" in answer.content[0].to_dict()["text"]


async def test_an_agents_notes_beside_the_prompt_call_no_tool(anthropic: AsyncAnthropic) -> None:
    """Claude Code puts notes that name its tools before what the user typed, and in a message behind it."""
    parts = [{"type": "text", "text": "You have get_weather. Use a tool."}, {"type": "text", "text": "hi"}]
    messages: Any = [{"role": "user", "content": parts}, {"role": "system", "content": "Use a tool: get_weather."}]
    answer = await anthropic.messages.create(model="m", max_tokens=100, messages=messages, tools=[WEATHER])
    assert "“hi”" in answer.content[0].to_dict()["text"]


async def test_marked_input_is_counted_as_read_from_the_cache(anthropic: AsyncAnthropic) -> None:
    marked: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    answer = await anthropic.messages.create(model="m", max_tokens=9, messages=HELLO, system=marked)
    assert (answer.usage.cache_read_input_tokens, answer.usage.input_tokens) == (2, 2)


async def test_why_an_answer_ended_is_told(anthropic: AsyncAnthropic) -> None:
    short = await anthropic.messages.create(model="m", max_tokens=2, messages=HELLO)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    stopped = await anthropic.messages.create(model="m", max_tokens=99, messages=HELLO, stop_sequences=["told"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "told")


async def test_json_is_answered_when_asked_for(anthropic: AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    answer = await anthropic.messages.create(
        model="m",
        max_tokens=99,
        messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert json.loads(answer.content[0].to_dict()["text"]) == {"city": "city"}


async def test_tokens_are_counted_as_a_message_counts_them(anthropic: AsyncAnthropic) -> None:
    counted = await anthropic.messages.count_tokens(model="m", messages=HELLO, system="Be brief.")
    assert counted.input_tokens == 4


async def test_models_are_listed_and_any_can_be_had(anthropic: AsyncAnthropic) -> None:
    listed = [ModelInfo.model_validate(model.to_dict()) async for model in anthropic.models.list()]
    assert "claude-mock" in [model.id for model in listed]
    assert (await anthropic.models.retrieve("claude-any")).id == "claude-any"


@pytest.mark.parametrize(
    ("status", "raised", "kind"),
    [
        (400, sdk.BadRequestError, "invalid_request_error"),
        (401, sdk.AuthenticationError, "authentication_error"),
        (403, sdk.PermissionDeniedError, "permission_error"),
        (404, sdk.NotFoundError, "not_found_error"),
        (429, sdk.RateLimitError, "rate_limit_error"),
        (500, sdk.InternalServerError, "api_error"),
        (503, sdk.APIStatusError, "api_error"),
        (529, sdk.APIStatusError, "overloaded_error"),
    ],
)
async def test_an_error_is_raised_as_the_sdk_knows_it(
    anthropic: AsyncAnthropic, status: int, raised: type[sdk.APIStatusError], kind: str
) -> None:
    with pytest.raises(raised) as error:
        await anthropic.messages.create(model=f"m+fail={status}", max_tokens=9, messages=HELLO)
    assert error.value.status_code == status
    body: Any = error.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert error.value.request_id == body["request_id"] == "req_mock_00000001"


async def test_an_error_in_mid_stream_is_raised_by_the_sdk(anthropic: AsyncAnthropic) -> None:
    seen = []
    with pytest.raises(sdk.APIStatusError, match="asked to break off"):
        async with anthropic.messages.stream(model="m+error-after=1", max_tokens=9, messages=HELLO) as stream:
            async for text in stream.text_stream:
                seen.append(text)
    assert seen == ["m "]


async def test_max_tokens_must_be_given(mock: Mock) -> None:
    response = await mock.post("/v1/messages", json={"model": "m", "messages": HELLO})
    assert response.status == 400
    assert (await response.json())["error"]["message"] == "max_tokens: Field required"

"""The Responses API, as the openai SDK sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.mock_upstream.answers import reply, words
from tests.unit.mock_upstream.conftest import Mock

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TEXT = reply("mock-model", "Hello there!")
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


async def events_of(stream: Any) -> list[Any]:
    """All events, each held to the SDK's own idea of one."""
    return [EVENT.validate_python(event.to_dict()) async for event in stream]


async def test_a_response(openai: AsyncOpenAI) -> None:
    answer = await openai.responses.create(model="mock-model", input="Hello there!", instructions="Be brief.")
    Response.model_validate(answer.to_dict())
    assert (answer.status, answer.output_text) == ("completed", TEXT)
    assert answer.usage is not None
    assert answer.usage.input_tokens == 4
    assert answer.usage.output_tokens == len(TEXT.split())


async def test_a_stream_builds_the_same_response_up(openai: AsyncOpenAI) -> None:
    stream = await openai.responses.create(model="mock-model", input="Hello there!", stream=True)
    events = await events_of(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.delta for event in events[4:-4]] == words(TEXT)
    unary = await openai.responses.create(model="mock-model", input="Hello there!")
    assert events[-1].response.output_text == unary.output_text
    assert events[-1].response.usage == unary.usage


async def test_the_sdk_accumulates_a_stream(openai: AsyncOpenAI) -> None:
    async with openai.responses.stream(model="mock-model", input="Hello there!") as stream:
        async for _ in stream:
            pass
        assert (await stream.get_final_response()).output_text == TEXT


async def test_a_tool_is_called_and_its_result_answered(openai: AsyncOpenAI) -> None:
    asking: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Call get_weather!"}]}]
    answer = await openai.responses.create(model="m", input=asking, tools=[WEATHER])
    Response.model_validate(answer.to_dict())
    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "city"})
    told: Any = [
        *asking,
        call.to_dict(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "get_weather: sunny"},
    ]
    answer = await openai.responses.create(model="m", input=told, tools=[WEATHER])
    assert "“get_weather: sunny”" in answer.output_text


async def test_a_streamed_tool_call_comes_in_fragments(openai: AsyncOpenAI) -> None:
    stream = await openai.responses.create(
        model="m", input="Hello", tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"}, stream=True
    )
    events = await events_of(stream)
    fragments = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert len(fragments) > 1
    assert json.loads("".join(fragments)) == {"city": "city"}
    (call,) = events[-1].response.output
    assert call.arguments == "".join(fragments)


async def test_a_response_that_is_too_long_is_incomplete(openai: AsyncOpenAI) -> None:
    answer = await openai.responses.create(model="m", input="Hello", max_output_tokens=2)
    assert (answer.status, answer.output_text) == ("incomplete", "m was ")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    stream = await openai.responses.create(model="m", input="Hello", max_output_tokens=2, stream=True)
    assert (await events_of(stream))[-1].type == "response.incomplete"


async def test_json_is_answered_when_asked_for(openai: AsyncOpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": schema}}
    answer = await openai.responses.create(model="m", input="Hello", text=form)
    assert json.loads(answer.output_text) == {"city": "city"}


async def test_an_error_in_mid_stream_is_an_event_with_the_next_number(openai: AsyncOpenAI) -> None:
    stream = await openai.responses.create(model="m+error-after=2", input="Hello", stream=True)
    events = await events_of(stream)
    assert (events[-1].type, events[-1].sequence_number) == ("error", len(events) - 1)


@pytest.mark.parametrize("given", [17, {}, None, True])
async def test_input_of_the_wrong_kind_is_refused(mock: Mock, given: Any) -> None:
    response = await mock.post("/v1/responses", json={"model": "m", "input": given})
    assert response.status == 400
    assert "'input'" in (await response.json())["error"]["message"]

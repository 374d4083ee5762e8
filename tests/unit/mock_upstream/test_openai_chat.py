"""Chat completions and completions, as the openai SDK sees them."""

from __future__ import annotations

import json
from typing import Any

import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.mock_upstream.answers import reply, words
from tests.unit.mock_upstream.conftest import Mock

HELLO: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there!"}]
TEXT = reply("mock-model", "Hello there!")
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius"]}},
                "required": ["city"],
            },
        },
    }
]


async def chunks_of(stream: Any) -> list[ChatCompletionChunk]:
    """All chunks, each held to the SDK's own idea of one."""
    return [ChatCompletionChunk.model_validate(chunk.to_dict()) async for chunk in stream]


async def test_a_completion(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model="mock-model", messages=HELLO)
    ChatCompletion.model_validate(answer.to_dict())
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", TEXT, "stop")
    assert answer.model == "mock-model"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 4
    assert answer.usage.completion_tokens == len(TEXT.split())
    assert answer.usage.total_tokens == 4 + len(TEXT.split())


async def test_a_stream_brings_the_role_the_words_the_end_and_the_usage(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model="mock-model", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    first, *deltas, end, usage = await chunks_of(stream)
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in deltas] == words(TEXT)
    assert (end.choices[0].finish_reason, end.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    unary = await openai.chat.completions.create(model="mock-model", messages=HELLO)
    assert usage.usage == unary.usage
    assert {chunk.usage for chunk in (first, *deltas, end)} == {None}


async def test_a_stream_tells_no_usage_unasked(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model="mock-model", messages=HELLO, stream=True)
    chunks = await chunks_of(stream)
    assert all(chunk.choices and "usage" not in chunk.to_dict() for chunk in chunks)


async def test_a_stream_on_the_wire_ends_with_its_marker(mock: Mock) -> None:
    body = {"model": "mock-model+words=2", "messages": HELLO, "stream": True}
    response = await mock.post("/v1/chat/completions", json=body)
    assert response.headers["Content-Type"] == "text/event-stream"
    events = (await response.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: ")) for event in events[:-2])


async def test_a_tool_is_called_when_one_must_be(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="mock-model", messages=HELLO, tools=TOOLS, tool_choice="required"
    )
    ChatCompletion.model_validate(answer.to_dict())
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "city", "unit": "celsius"}


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("none", False),
        ("auto", False),
        ({"type": "function", "function": {"name": "get_weather"}}, True),
        ({"type": "function", "function": {"name": "another"}}, False),
    ],
)
async def test_a_tool_choice_is_followed(openai: AsyncOpenAI, choice: Any, calls: bool) -> None:
    answer = await openai.chat.completions.create(model="m", messages=HELLO, tools=TOOLS, tool_choice=choice)
    assert bool(answer.choices[0].message.tool_calls) == calls


async def test_a_streamed_tool_call_comes_in_fragments(openai: AsyncOpenAI) -> None:
    asking: Any = [{"role": "user", "content": "Please call get_weather."}]
    stream = await openai.chat.completions.create(model="m", messages=asking, tools=TOOLS, stream=True)
    chunks = await chunks_of(stream)
    parts = [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]
    assert parts[0].id is not None
    assert [part.id for part in parts[1:]] == [None] * (len(parts) - 1)
    functions = [part.function for part in parts if part.function is not None]
    assert [function.name for function in functions] == ["get_weather"] + [None] * (len(parts) - 1)
    arguments = [function.arguments or "" for function in functions]
    assert len(arguments) > 2
    assert json.loads("".join(arguments)) == {"city": "city", "unit": "celsius"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_a_tools_result_is_answered_in_words(openai: AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "user", "content": "Please call get_weather."},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "get_weather: sunny"},
    ]
    answer = await openai.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    assert "“get_weather: sunny”" in (answer.choices[0].message.content or "")


async def test_several_choices_are_alike_and_all_counted(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model="m+words=5", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 15
    stream = await openai.chat.completions.create(model="m+words=5", messages=HELLO, n=3, stream=True)
    chunks = await chunks_of(stream)
    for index in range(3):
        of_this = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert len([choice for choice in of_this if choice.delta.content]) == 5
        assert of_this[-1].finish_reason == "stop"


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_keeps_to_its_limit(openai: AsyncOpenAI, limit: str) -> None:
    answer = await openai.chat.completions.create(model="m", messages=HELLO, extra_body={limit: 4})
    assert answer.choices[0].finish_reason == "length"
    assert len((answer.choices[0].message.content or "").split()) == 4


async def test_an_answer_ends_before_a_stop_sequence(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model="m", messages=HELLO, stop="told")
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("m was ", "stop")


async def test_json_is_answered_when_asked_for(openai: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    answer = await openai.chat.completions.create(
        model="m",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "") == {"city": "city"}
    answer = await openai.chat.completions.create(model="m", messages=HELLO, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content or "") == {"model": "m", "told": "Hello there!"}


async def test_an_error_in_mid_stream_is_raised_by_the_sdk(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model="m+error-after=2", messages=HELLO, stream=True)
    seen = []
    with pytest.raises(sdk.APIError, match="asked to break off") as raised:
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)
    assert seen == ["", "m ", "was "]
    assert raised.value.type == "server_error"


async def test_the_older_completions(openai: AsyncOpenAI) -> None:
    answer = await openai.completions.create(model="m", prompt="Hello there!")
    Completion.model_validate(answer.to_dict())
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == (reply("m", "Hello there!"), "stop")
    stream = await openai.completions.create(
        model="m", prompt="Hello there!", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == answer.choices[0].text
    assert chunks[-1].choices == []
    assert chunks[-1].usage == answer.usage


async def test_an_error_in_mid_stream_of_the_older_completions(openai: AsyncOpenAI) -> None:
    stream = await openai.completions.create(model="m+error-after=0", prompt="Hello", stream=True)
    with pytest.raises(sdk.APIError, match="asked to break off"):
        async for _ in stream:
            pass

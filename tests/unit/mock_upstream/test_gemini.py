"""The Gemini-shaped routes, as the google-genai SDK sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from google.genai.client import AsyncClient
from google.genai.errors import APIError, ClientError, ServerError

from gateway.mock_upstream.answers import reply, words
from gateway.mock_upstream.embeddings import vector
from tests.unit.mock_upstream.conftest import Mock

# The SDK's own doing, on its first request.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = reply("mock-model", "Hello there!")
HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello there!"}]}]}
WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={
                    "city": types.Schema(type=types.Type.STRING),
                    "days": types.Schema(type=types.Type.INTEGER),
                },
            ),
        )
    ]
)


async def test_an_answer(gemini: AsyncClient) -> None:
    config = types.GenerateContentConfig(system_instruction="Be brief.")
    answer = await gemini.models.generate_content(model="mock-model", contents="Hello there!", config=config)
    assert answer.text == TEXT
    assert answer.model_version == "mock-model"
    (candidate,) = answer.candidates or []
    assert candidate.finish_reason is types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (4, len(TEXT.split()))
    assert usage.total_token_count == 4 + len(TEXT.split())


async def test_a_stream_brings_the_words_and_at_last_the_reason_and_the_usage(gemini: AsyncClient) -> None:
    stream = await gemini.models.generate_content_stream(model="mock-model", contents="Hello there!")
    *deltas, last = [chunk async for chunk in stream]
    assert [chunk.text for chunk in deltas] == words(TEXT)
    assert {(chunk.candidates or [])[0].finish_reason for chunk in deltas} == {None}
    assert (last.candidates or [])[0].finish_reason is types.FinishReason.STOP
    unary = await gemini.models.generate_content(model="mock-model", contents="Hello there!")
    assert last.usage_metadata == unary.usage_metadata


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_a_stream_without_events_is_one_json_array(mock: Mock, version: str) -> None:
    response = await mock.post(f"/{version}/models/mock-model:streamGenerateContent", json=HELLO)
    assert response.headers["Content-Type"] == "application/json"
    elements = await response.json()
    assert "".join(element["candidates"][0]["content"]["parts"][0]["text"] for element in elements) == TEXT
    assert elements[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_an_error_in_mid_stream_leaves_a_json_array(mock: Mock) -> None:
    response = await mock.post("/v1beta/models/m+error-after=2:streamGenerateContent", json=HELLO)
    elements = await response.json()
    assert len(elements) == 3
    assert elements[-1]["error"]["status"] == "INTERNAL"


async def test_an_error_in_mid_stream_is_raised_by_the_sdk(gemini: AsyncClient) -> None:
    stream = await gemini.models.generate_content_stream(model="m+error-after=1", contents="Hello")
    seen = []
    with pytest.raises(ServerError, match="asked to break off"):
        async for chunk in stream:
            seen.append(chunk.text)
    assert seen == ["m "]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_function_is_called_when_one_must_be(gemini: AsyncClient, streamed: bool) -> None:
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
    config = types.GenerateContentConfig(tools=[WEATHER], tool_config=types.ToolConfig(function_calling_config=calling))
    if streamed:
        stream = await gemini.models.generate_content_stream(model="m", contents="Hello", config=config)
        answer, *_ = [chunk async for chunk in stream]
    else:
        answer = await gemini.models.generate_content(model="m", contents="Hello", config=config)
    (call,) = answer.function_calls or []
    assert (call.name, call.args) == ("get_weather", {"city": "city", "days": 1})


async def test_the_sdk_calls_a_python_function_and_gets_its_result_answered(gemini: AsyncClient) -> None:
    def get_weather(city: str) -> str:
        """What the weather is like."""
        return f"sunny in {city}"

    chat = gemini.chats.create(model="m", config=types.GenerateContentConfig(tools=[get_weather]))
    answer = await chat.send_message("Please call get_weather.")
    assert "sunny in city" in (answer.text or "")


async def test_only_allowed_functions_are_called(mock: Mock) -> None:
    functions = [{"name": "first"}, {"name": "second", "parameters_json_schema": {"properties": {"a": {}}}}]
    calling = {"mode": "ANY", "allowedFunctionNames": ["second"]}
    body = HELLO | {
        "tools": [{"functionDeclarations": functions}],
        "toolConfig": {"functionCallingConfig": calling},
    }
    answer = await (await mock.post("/v1beta/models/m:generateContent", json=body)).json()
    assert answer["candidates"][0]["content"]["parts"] == [{"functionCall": {"name": "second", "args": {"a": "a"}}}]


async def test_limits_and_json_are_kept_to(gemini: AsyncClient) -> None:
    short = types.GenerateContentConfig(max_output_tokens=2)
    answer = await gemini.models.generate_content(model="m", contents="Hello", config=short)
    assert (answer.candidates or [])[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert answer.text == "m was "
    as_json = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema=types.Schema(type=types.Type.OBJECT, properties={"n": types.Schema(type=types.Type.NUMBER)}),
    )
    answer = await gemini.models.generate_content(model="m", contents="Hello", config=as_json)
    assert json.loads(answer.text or "") == {"n": 1}


async def test_tokens_are_counted_as_an_answer_counts_them(gemini: AsyncClient, mock: Mock) -> None:
    assert (await gemini.models.count_tokens(model="m", contents="one two three")).total_tokens == 3
    wrapped = {"generateContentRequest": {**HELLO, "systemInstruction": {"parts": [{"text": "Be brief."}]}}}
    counted = await (await mock.post("/v1beta/models/m:countTokens", json=wrapped)).json()
    assert counted["totalTokens"] == 4


async def test_contents_are_embedded_one_or_many_at_a_time(gemini: AsyncClient, mock: Mock) -> None:
    config = types.EmbedContentConfig(output_dimensionality=4)
    answer = await gemini.models.embed_content(model="m", contents=["a", "b"], config=config)
    assert [one.values for one in answer.embeddings or []] == [vector("a", 4), vector("b", 4)]
    one = await mock.post("/v1beta/models/m:embedContent", json={"content": {"parts": [{"text": "a"}]}})
    assert (await one.json())["embedding"]["values"] == vector("a", 8)


async def test_models_are_listed_and_any_can_be_had(gemini: AsyncClient) -> None:
    assert "models/mock-model" in [model.name async for model in await gemini.models.list()]
    assert (await gemini.models.get(model="any")).name == "models/any"


@pytest.mark.parametrize(
    ("status", "raised", "name"),
    [
        (400, ClientError, "INVALID_ARGUMENT"),
        (401, ClientError, "UNAUTHENTICATED"),
        (403, ClientError, "PERMISSION_DENIED"),
        (404, ClientError, "NOT_FOUND"),
        (429, ClientError, "RESOURCE_EXHAUSTED"),
        (500, ServerError, "INTERNAL"),
        (503, ServerError, "UNAVAILABLE"),
        (529, ServerError, "UNAVAILABLE"),
    ],
)
async def test_an_error_is_raised_as_the_sdk_knows_it(
    gemini: AsyncClient, status: int, raised: type[APIError], name: str
) -> None:
    with pytest.raises(raised) as error:
        await gemini.models.generate_content(model=f"m+fail={status}", contents="Hello")
    assert (error.value.code, error.value.status) == (status, name)


@pytest.mark.parametrize("contents", [None, [], "text", 1])
async def test_contents_must_be_given(mock: Mock, contents: Any) -> None:
    response = await mock.post("/v1/models/m:generateContent", json={"contents": contents})
    assert response.status == 400
    assert (await response.json())["error"]["status"] == "INVALID_ARGUMENT"

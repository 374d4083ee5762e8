"""The Interactions API, as the google-genai SDK sees it."""

from __future__ import annotations

import pytest
from google.genai.client import AsyncClient

from gateway.mock_upstream.answers import reply, words
from tests.unit.mock_upstream.conftest import Mock

# The SDK's own doing, on its first request.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

TEXT = reply("mock-model", "Hello there!")
ASKED = {"model": "mock-model", "input": "Hello there!"}
WEATHER = {"type": "function", "name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}}


async def test_an_interaction_its_stream_and_both_again(gemini: AsyncClient) -> None:
    whole = await gemini.interactions.create(**ASKED, system_instruction="Be brief.")
    assert (whole.output_text, whole.status, whole.model) == (TEXT, "completed", "mock-model")
    assert whole.usage is not None
    assert (whole.usage.total_input_tokens, whole.usage.total_output_tokens) == (4, len(TEXT.split()))
    events = [event async for event in await gemini.interactions.create(**ASKED, stream=True)]
    assert [event.delta.text for event in events if event.event_type == "step.delta"] == words(TEXT)
    assert events[-1].event_type == "interaction.completed"
    again = await gemini.interactions.get(whole.id)
    assert (again.output_text, again.usage.total_tokens) == (TEXT, whole.usage.total_tokens)
    streamed = await gemini.interactions.get(events[-1].interaction.id, stream=True)
    assert [event.event_type async for event in streamed] == [event.event_type for event in events]


async def test_tools_are_called_and_their_results_read(gemini: AsyncClient) -> None:
    asked = {"model": "mock-model", "input": "What is the weather?", "tools": [WEATHER]}
    called = await gemini.interactions.create(**asked)
    assert called.status == "requires_action"
    (call,) = called.steps or []
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", {"city": "city"})
    result = {"type": "function_result", "call_id": call.id, "name": "weather", "result": "sunny"}
    said = {"type": "user_input", "content": [{"type": "text", "text": "What is the weather?"}]}
    answered = await gemini.interactions.create(
        model="mock-model", input=[said, call.model_dump(), result], tools=[WEATHER]
    )
    assert answered.output_text == reply("mock-model", "sunny")
    events = [event async for event in await gemini.interactions.create(**asked, stream=True)]
    pieces = [event.delta.arguments for event in events if event.event_type == "step.delta"]
    assert "".join(pieces) == '{"city": "city"}'


async def test_limits_forms_and_what_is_not_kept(gemini: AsyncClient, mock: Mock) -> None:
    short = await gemini.interactions.create(**ASKED, generation_config={"max_output_tokens": 3}, store=False)
    assert short.usage is not None
    assert (short.status, short.usage.total_output_tokens) == ("incomplete", 3)
    assert (await mock.get(f"/v1beta/interactions/{short.id}")).status == 404
    form = {"type": "text", "mime_type": "application/json", "schema": {"properties": {"city": {"type": "string"}}}}
    formed = await gemini.interactions.create(**ASKED, response_format=form)
    assert formed.output_text == '{"city": "city"}'


@pytest.mark.parametrize("body", [{"input": "Hi"}, {"model": "m"}, {"model": "m", "input": 5}])
async def test_what_is_missing_is_said(mock: Mock, body: dict[str, object]) -> None:
    refused = await mock.post("/v1/interactions", json=body)
    assert refused.status == 400
    assert (await refused.json())["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_stream_can_fail(gemini: AsyncClient) -> None:
    stream = await gemini.interactions.create(model="mock-model+error-after=2", input="Hi", stream=True)
    events = [event async for event in stream]
    assert (events[-1].event_type, events[-1].error.code) == ("error", "500")

"""What is read off Google's Interactions API."""

import pytest

from gateway.providers.gemini import GEMINI
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    INTERACTION,
    INTERACTIONS_ERROR,
    INTERACTIONS_EVENTS,
    INTERACTIONS_PATH,
    INTERACTIONS_REQUEST,
    INTERACTIONS_STREAM,
    compact,
    interaction_stream,
)

TOKENS = Usage(22, 335, 357, cache_read_tokens=4, reasoning_tokens=245)


def facts(request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return GEMINI.facts(INTERACTIONS_PATH, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize("body", [compact(INTERACTION), INTERACTIONS_STREAM])
def test_an_interaction_tells_the_same_unary_and_streamed(body: bytes):
    told = facts(INTERACTIONS_REQUEST, body, content=True)
    assert (told.operation, told.request_model) == ("chat", "gemini-3-flash-preview")
    assert (told.response_id, told.response_model) == ("v1_abc", "gemini-3-flash-preview")
    assert (told.finish_reasons, told.usage) == (["requires_action"], TOKENS)
    assert told.parameters["max_output_tokens"] == 200
    assert told.content is not None
    assert told.content.input_messages == [
        Message("system", "Be brief."),
        Message("user", "Weather?\n[image]"),
        Message("model", tool_calls=[ToolCall("call_0", "weather", '{"city":"Rome"}')]),
        Message("tool", "sunny", name="weather", tool_call_id="call_0"),
    ]
    assert told.content.output_messages == [
        Message("model", "It is sunny.", tool_calls=[ToolCall("call_1", "weather", '{"city":"Oslo"}')])
    ]
    assert len(told.content.tools) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Hi", "Hi"),
        ({"type": "text", "text": "Hi"}, "Hi"),
        ([{"type": "text", "text": "Hi"}, {"type": "image", "data": "aGk="}], "Hi\n[image]"),
    ],
)
def test_what_is_given_without_steps_is_the_users(given: object, said: str):
    told = facts({"model": "m", "input": given}, b"", content=True)
    assert told.content is not None
    assert told.content.input_messages == [Message("user", said)]


def test_an_agent_stands_for_a_model_and_no_answer_is_taken_for_anothers():
    for agent in ("deep-research", "antigravity"):
        answer = {"id": "v1_x", "agent": agent, "status": "in_progress"}
        told = facts({"agent": agent, "input": "Hi", "background": True}, compact(answer))
        assert (told.request_model, told.response_model, told.finish_reasons, told.usage) == (agent, agent, [], None)


def test_a_stream_that_fails_says_so():
    told = facts(INTERACTIONS_REQUEST, interaction_stream([*INTERACTIONS_EVENTS[:3], INTERACTIONS_ERROR]))
    assert (told.response_id, told.finish_reasons, told.usage) == ("v1_abc", ["failed"], None)


@pytest.mark.parametrize("marker", [b"", b"event: done\ndata: [DONE]\n\n"])
def test_a_last_event_longer_than_the_tail_still_tells_the_tokens(marker: bytes):
    steps = [{"type": "model_output", "content": [{"type": "text", "text": "x" * 100_000}]}]
    completed = INTERACTIONS_EVENTS[-1]
    last = {**completed, "interaction": {"steps": steps, **completed["interaction"]}}
    body = interaction_stream([*INTERACTIONS_EVENTS[:-1], last]) + marker
    told = facts(INTERACTIONS_REQUEST, body[:1500], body[-20_000:], whole=False)
    assert (told.response_model, told.usage) == ("gemini-3-flash-preview", TOKENS)


def test_one_that_is_read_again_is_not_counted_again():
    told = GEMINI.facts("/v1beta/interactions/v1_abc", b"", INTERACTIONS_STREAM, b"", content=False)
    assert told == Facts()


def test_a_stream_mode_sets_the_body():
    body = b'{"model":"m","input":"Hi"}'
    streamed = GEMINI.reshape("/v1/interactions?x=1", body, stream=True)
    assert (streamed.target, streamed.body) == ("/v1/interactions?x=1", b'{"stream":true,"model":"m","input":"Hi"}')
    assert GEMINI.streams("/v1/interactions", "", streamed.body)
    assert GEMINI.text(compact(INTERACTION)) == "It is sunny."

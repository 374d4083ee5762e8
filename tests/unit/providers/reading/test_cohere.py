"""What is read off Cohere's own chat and embeddings."""

from typing import Any

import pytest

from gateway.providers.openai import OPENAI
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    COHERE_ANSWER,
    COHERE_PATH,
    COHERE_REQUEST,
    COHERE_STREAM,
    compact,
    event_stream,
)

BILLED = Usage(33, 22, 55)


def facts(path: str, request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return OPENAI.facts(path, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize("body", [compact(COHERE_ANSWER), COHERE_STREAM])
def test_a_chat_tells_the_same_unary_and_streamed(body: bytes):
    told = facts(COHERE_PATH, COHERE_REQUEST, body, content=True)
    assert (told.operation, told.request_model, told.response_id) == ("chat", "command-r7b-12-2024", "1046-28b4")
    assert (told.finish_reasons, told.usage) == (["TOOL_CALL"], BILLED)
    assert told.content is not None
    assert told.content.input_messages == [
        Message("system", "Be brief."),
        Message("user", "Weather?\n[image]"),
        Message("assistant", tool_calls=[ToolCall("c_0", "weather", '{"city":"Rome"}')]),
        Message("tool", "sunny", tool_call_id="c_0"),
    ]
    calls = [ToolCall("c_1", "weather", '{"city":"Oslo"}')]
    assert told.content.output_messages == [Message("assistant", "Let me see.", tool_calls=calls)]
    assert len(told.content.tools) == 1


def test_the_two_ends_of_a_long_stream_are_enough():
    delta = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "x" * 60}}}}
    at = COHERE_STREAM.index(b"event: content-end")
    body = COHERE_STREAM[:at] + event_stream([delta] * 1000, named=True) + COHERE_STREAM[at:]
    told = facts(COHERE_PATH, COHERE_REQUEST, body[:700], body[-3000:], whole=False)
    assert (told.response_id, told.finish_reasons, told.usage) == ("1046-28b4", ["TOOL_CALL"], BILLED)


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"tokens": {"input_tokens": 9.0, "output_tokens": 2.0}}, Usage(9, 2, 11)),
        ({"billed_units": {"input_tokens": 9}}, Usage(9, None, 9)),
        ({"billed_units": {"search_units": 1}}, None),
        ({}, None),
        (7, None),
    ],
)
def test_tokens_are_those_that_are_billed_or_else_all(usage: Any, read: Usage | None):
    assert facts(COHERE_PATH, COHERE_REQUEST, compact({**COHERE_ANSWER, "usage": usage})).usage == read


def test_the_first_version_tells_its_tokens_apart_from_the_text():
    request = {
        "model": "command-r",
        "preamble": "Be brief.",
        "chat_history": [{"role": "CHATBOT", "message": "Yes?"}],
        "message": "Hi",
    }
    answer = {"text": "Hello", "generation_id": "g_1", "finish_reason": "COMPLETE"}
    meta = {"billed_units": {"input_tokens": 33, "output_tokens": 22}}
    last = {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {**answer, "meta": meta}}
    first = {"event_type": "stream-start", "generation_id": "g_1"}
    words = [{"event_type": "text-generation", "text": word} for word in ("Hel", "lo")]
    for body in (compact({**answer, "meta": meta}), event_stream([first, *words, last])):
        told = facts("/v1/chat", request, body, content=True)
        assert (told.response_id, told.finish_reasons, told.usage) == ("g_1", ["COMPLETE"], BILLED)
        assert told.content is not None
        assert told.content.input_messages == [
            Message("system", "Be brief."),
            Message("assistant", "Yes?"),
            Message("user", "Hi"),
        ]
        assert told.content.output_messages == [Message("assistant", "Hello")]


@pytest.mark.parametrize("reason", ["all that was said", "s" * 65, 7])
def test_a_reason_that_is_no_word_is_left_out(reason: object):
    end = {"type": "message-end", "delta": {"finish_reason": reason}}
    for body in (compact({**COHERE_ANSWER, "finish_reason": reason}), event_stream([end], named=True)):
        assert facts(COHERE_PATH, COHERE_REQUEST, body).finish_reasons == []


@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed"])
def test_embeddings_take_input_alone(path: str):
    answer = {"id": "e_1", "embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 5}}}
    told = facts(path, {"model": "embed-v4.0", "texts": ["one", "two"]}, compact(answer), content=True)
    assert (told.operation, told.request_model, told.usage) == ("embeddings", "embed-v4.0", Usage(5, None, 5))
    assert told.content is not None
    assert told.content.embedding_texts == ["one", "two"]

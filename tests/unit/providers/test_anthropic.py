"""Anthropic's dialect: what is read off its bodies, how its streams end, and what is written in its words."""

import json

import pytest

from gateway import errors
from gateway.errors import GatewayError, InvalidRequest
from gateway.providers.anthropic import ANTHROPIC, AnthropicDialect
from gateway.providers.provider import Prompt
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    MESSAGES_ANSWER,
    MESSAGES_ERROR,
    MESSAGES_EVENTS,
    MESSAGES_PATH,
    MESSAGES_REQUEST,
    MESSAGES_STREAM,
    compact,
    event_stream,
)

TOKENS = Usage(115, 42, 157, cache_read_tokens=100, cache_write_tokens=5, reasoning_tokens=30)


def facts(request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return ANTHROPIC.facts(MESSAGES_PATH, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/messages", "chat"),
        ("/anthropic/v1/messages", "chat"),
        ("/messages", "chat"),
        ("/v1/messages/count_tokens", ""),
        ("/v1/messages/batches", ""),
        ("/v1/models", ""),
        ("/v1/chat/completions", "chat"),
    ],
)
def test_an_operation_is_told_by_how_its_path_ends(path: str, operation: str):
    assert ANTHROPIC.operation(path) == operation


@pytest.mark.parametrize("body", [compact(MESSAGES_ANSWER), MESSAGES_STREAM, MESSAGES_STREAM.replace(b"\n", b"\r\n")])
@pytest.mark.parametrize("content", [False, True])
def test_an_answer_tells_the_same_unary_and_streamed(body: bytes, content: bool):
    told = facts(MESSAGES_REQUEST, body, content=content)
    assert (told.operation, told.request_model) == ("chat", "claude-sonnet-4-6")
    assert (told.response_id, told.response_model) == ("msg_1", "claude-sonnet-4-6")
    assert (told.finish_reasons, told.usage) == (["tool_use"], TOKENS)
    assert told.streamed is (body[:1] != b"{")
    assert told.parameters == {
        "max_tokens": 1000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }


def test_a_later_input_count_replaces_the_first_and_cached_tokens_stay_counted():
    last = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    more = {"input_tokens": 12, "cache_read_input_tokens": 200, "output_tokens": 9}
    body = event_stream([MESSAGES_EVENTS[0], {**last, "usage": more}], named=True)
    told = facts(MESSAGES_REQUEST, body).usage
    assert told is not None
    assert (told.input_tokens, told.output_tokens, told.total_tokens) == (217, 9, 226)
    assert (told.cache_read_tokens, told.cache_write_tokens) == (200, 5)


def test_the_two_ends_of_a_long_stream_are_enough():
    delta = {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x" * 50}}
    middle = event_stream([delta], named=True) * 1000
    cut = MESSAGES_STREAM.index(b"event: content_block_stop")
    body = MESSAGES_STREAM[:cut] + middle + MESSAGES_STREAM[cut:]
    for shift in range(300):
        told = facts(MESSAGES_REQUEST, body[: 700 + shift], body[shift - 3000 :], content=True, whole=False)
        assert (told.response_id, told.usage, told.finish_reasons) == ("msg_1", TOKENS, ["tool_use"])


def test_a_long_answer_in_one_document_tells_its_tokens_from_its_end():
    body = compact({**MESSAGES_ANSWER, "content": [{"type": "text", "text": "x" * 100_000}]})
    told = facts(MESSAGES_REQUEST, body[:1000], body[-1000:], whole=False)
    assert (told.response_id, told.usage, told.finish_reasons) == ("msg_1", TOKENS, ["tool_use"])


def test_a_stream_cut_short_tells_what_it_told_until_then():
    body = event_stream(MESSAGES_EVENTS[:9], named=True)
    told = facts(MESSAGES_REQUEST, body, content=True)
    assert (told.finish_reasons, told.response_id) == ([], "msg_1")
    assert told.usage is not None
    assert told.usage.input_tokens == 115
    assert told.content is not None
    assert told.content.output_messages == [Message("assistant", "A cat.")]


@pytest.mark.parametrize("body", [compact(MESSAGES_ANSWER), MESSAGES_STREAM])
def test_captured_content_shows_text_and_tools_but_neither_thinking_nor_images(body: bytes):
    told = facts(MESSAGES_REQUEST, body, content=True).content
    assert told is not None
    assert told.input_messages == [
        Message("system", "Be brief."),
        Message("user", "[image]\nWhat is it?"),
        Message("assistant", "", tool_calls=[ToolCall("toolu_0", "look", '{"at":"it"}')]),
        Message("tool", "a cat", tool_call_id="toolu_0"),
        Message("user", "And now?"),
    ]
    assert told.output_messages == [
        Message("assistant", "A cat.", tool_calls=[ToolCall("toolu_1", "look", '{"at":"tail"}')])
    ]
    assert [json.loads(tool) for tool in told.tools] == MESSAGES_REQUEST["tools"]
    assert "iVBORw0KGgoiVBORw0KGgo" not in told.input_value


def test_a_stream_is_asked_for_and_a_contradiction_refused():
    assert (
        ANTHROPIC.reshape("/v1/messages?beta=true", b'{"model":"m"}', stream=True).body
        == b'{"stream":true,"model":"m"}'
    )
    with pytest.raises(InvalidRequest) as refused:
        ANTHROPIC.reshape("/v1/messages", b'{"stream":false}', stream=True)
    assert refused.value.param == "stream"
    with pytest.raises(InvalidRequest):
        ANTHROPIC.reshape("/v1/messages/count_tokens", b"{}", stream=True)
    assert ANTHROPIC.reshape("/v1/models", b"", stream=False).body == b""
    assert ANTHROPIC.streams("/v1/messages", "beta=true", b'{"stream": true}')


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (errors.InvalidRequest(), "invalid_request_error"),
        (errors.Unauthenticated(), "authentication_error"),
        (errors.BudgetExhausted(), "billing_error"),
        (errors.Forbidden(), "permission_error"),
        (errors.ProviderNotConfigured(), "not_found_error"),
        (errors.MethodNotAllowed(), "invalid_request_error"),
        (errors.PayloadTooLarge(), "request_too_large"),
        (errors.RateLimited(), "rate_limit_error"),
        (errors.InternalFault(), "api_error"),
        (errors.UpstreamUnreachable(), "api_error"),
        (errors.Draining(), "api_error"),
        (errors.UpstreamTimeout(), "timeout_error"),
        (errors.LoopDetected(), "api_error"),
    ],
)
def test_our_errors_have_the_types_of_the_api(error: GatewayError, type_: str):
    body = json.loads(ANTHROPIC.error(error, "req_1"))
    assert body == {"type": "error", "error": {"type": type_, "message": error.message}, "request_id": "req_1"}
    assert ANTHROPIC.stream_error(error, "req_1", MESSAGES_PATH) == (
        b"event: error\ndata: " + ANTHROPIC.error(error, "req_1") + b"\n\n"
    )


@pytest.mark.parametrize(
    ("version", "sent"), [("2023-06-01", {"temperature": 0.5, "top_p": 0.9, "top_k": 3}), ("2026-10-21", {})]
)
def test_a_chat_request_has_only_the_parameters_that_its_version_takes(version: str, sent: dict[str, float]):
    given = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "max_tokens": 5, "stop": "x"}
    request = AnthropicDialect(version).chat("c", Prompt([("user", "Go")]), given, stream=False)
    assert isinstance(request.body, bytes)
    body = json.loads(request.body)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert (body["max_tokens"], body["stop_sequences"]) == (5, ["x"])


def test_a_chat_request_has_its_system_prompt_apart_and_always_a_limit():
    prompt = Prompt(
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("system", "Now!"), ("user", "Bye")]
    )
    request = ANTHROPIC.chat("claude", prompt, {"stop": "x", "temperature": 0.5}, stream=True)
    assert (request.method, request.target) == ("POST", "/v1/messages")
    assert json.loads(request.body) == {  # type: ignore[arg-type]
        "model": "claude",
        "max_tokens": 4096,
        "system": "Be brief.\n\nNow!",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ],
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "stream": True,
    }
    alone = json.loads(ANTHROPIC.chat("c", Prompt([("system", "Go")]), {"max_tokens": 5}, stream=False).body)  # type: ignore[arg-type]
    assert alone == {"model": "c", "max_tokens": 5, "messages": [{"role": "user", "content": "Go"}]}


def test_the_text_of_an_answer_and_of_its_events_is_the_same():
    assert ANTHROPIC.text(compact(MESSAGES_ANSWER)) == "A cat."
    assert "".join(ANTHROPIC.delta(compact(event)) for event in MESSAGES_EVENTS) == "A cat."
    for body in (b"", b"[]", compact(MESSAGES_ERROR)):
        with pytest.raises(ValueError, match="no message"):
            ANTHROPIC.text(body)


def test_an_event_that_is_the_providers_error_is_known():
    assert ANTHROPIC.stream_failed(compact(MESSAGES_ERROR))
    assert not any(ANTHROPIC.stream_failed(compact(event)) for event in MESSAGES_EVENTS)
    assert ANTHROPIC.end_of_stream() == event_stream([{"type": "message_stop"}], named=True)


def test_there_are_no_embeddings():
    with pytest.raises(InvalidRequest, match="embeddings"):
        ANTHROPIC.embed("claude", ["x"])
    with pytest.raises(ValueError, match="embeddings"):
        ANTHROPIC.vectors(b"{}")

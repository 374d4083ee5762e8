"""Google's dialect: what is read off its bodies, how its streams end, and what is written in its words."""

import json

import pytest
from google.genai import types

from gateway import errors
from gateway.errors import GatewayError, InvalidRequest
from gateway.providers.gemini import GEMINI
from gateway.providers.provider import Prompt
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    CHAT_ANSWER,
    CHAT_REQUEST,
    GEMINI_ANSWER,
    GEMINI_ARRAY,
    GEMINI_EMBED_ANSWER,
    GEMINI_EMBED_PATH,
    GEMINI_EMBED_REQUEST,
    GEMINI_EVENTS,
    GEMINI_PATH,
    GEMINI_REQUEST,
    GEMINI_STREAM,
    GEMINI_STREAM_PATH,
    GEMINI_USAGE,
    compact,
    event_stream,
    gemini_event,
)

TOKENS = Usage(22, 18, 40, cache_read_tokens=6, reasoning_tokens=11)
ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


def facts(path: str, request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return GEMINI.facts(path, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1beta/models/gemini-2:generateContent", "generate_content"),
        ("/v1beta/models/gemini-2:streamGenerateContent", "generate_content"),
        ("/v1beta/tunedModels/mine%3AgenerateContent", "generate_content"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-2:streamGenerateContent", "generate_content"),
        ("/v1beta/models/gemini-embedding-001:embedContent", "embeddings"),
        (GEMINI_EMBED_PATH, "embeddings"),
        ("/v1beta/models/gemini-2:countTokens", ""),
        ("/v1beta/models", ""),
        ("/v1beta/openai/chat/completions", "chat"),
    ],
)
def test_an_operation_is_told_by_the_method_in_its_path(path: str, operation: str):
    assert GEMINI.operation(path) == operation


@pytest.mark.parametrize("body", [compact(GEMINI_ANSWER), GEMINI_STREAM, GEMINI_ARRAY])
@pytest.mark.parametrize("content", [False, True])
def test_an_answer_tells_the_same_in_all_three_forms(body: bytes, content: bool):
    told = facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body, content=content)
    assert (told.operation, told.request_model) == ("generate_content", "gemini-2.5-flash")
    assert (told.response_id, told.response_model) == ("resp-g1", "gemini-2.5-flash-001")
    assert (told.finish_reasons, told.usage) == (["STOP"], TOKENS)
    assert told.streamed is (body[:1] != b"{")
    assert told.parameters == {"temperature": 0.5, "maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": 10}}


@pytest.mark.parametrize("body", [compact(GEMINI_ANSWER), GEMINI_STREAM, GEMINI_ARRAY])
def test_captured_content_shows_text_and_tools_but_neither_thoughts_nor_data(body: bytes):
    told = facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body, content=True).content
    assert told is not None
    assert told.input_messages == [
        Message("system", "Be brief."),
        Message("user", "What is it?\n[image]"),
        Message("model", "", tool_calls=[ToolCall("f0", "look", '{"at":"it"}')]),
        Message("tool", '{"result":"a cat"}', name="look", tool_call_id="f0"),
    ]
    assert told.output_messages == [Message("model", "A cat.", tool_calls=[ToolCall("", "look", '{"at":"tail"}')])]
    assert [json.loads(tool) for tool in told.tools] == GEMINI_REQUEST["tools"]
    assert "iVBORw0KGgoiVBORw0KGgo" not in told.input_value


@pytest.mark.parametrize("body", [GEMINI_STREAM, GEMINI_ARRAY])
def test_a_stream_cut_in_two_at_any_byte_tells_the_same(body: bytes):
    whole = facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body, content=True)
    for cut in range(1, len(body)):
        assert facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body[:cut], body[cut:], content=True) == whole, cut


@pytest.mark.parametrize("form", ["events", "array", "one document"])
def test_the_two_ends_of_a_long_answer_are_enough(form: str):
    filling = [gemini_event([{"text": "x" * 100}])] * 500
    long = [GEMINI_EVENTS[0], *filling, *GEMINI_EVENTS[1:]]
    document = {
        **GEMINI_ANSWER,
        "candidates": [{"content": {"parts": [{"text": "x" * 50_000}]}, "finishReason": "STOP"}],
    }
    body = {"events": event_stream(long), "array": compact(long), "one document": compact(document)}[form]
    told = facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body[:2000], body[-2000:], content=True, whole=False)
    assert (told.response_model, told.usage, told.finish_reasons) == ("gemini-2.5-flash-001", TOKENS, ["STOP"])


def test_a_last_event_longer_than_the_tail_still_tells_the_tokens():
    image = [{"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}}]
    body = event_stream([*GEMINI_EVENTS[:3], gemini_event(image, finish="STOP", usage=GEMINI_USAGE)])
    told = facts(GEMINI_STREAM_PATH, GEMINI_REQUEST, body[:1500], body[-10_000:], whole=False)
    assert (told.usage, told.finish_reasons) == (TOKENS, ["STOP"])


def test_a_blocked_prompt_tells_why():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}}
    told = facts(GEMINI_PATH, GEMINI_REQUEST, compact(blocked))
    assert (told.finish_reasons, told.usage) == (["SAFETY"], Usage(input_tokens=5))
    assert facts(GEMINI_PATH, GEMINI_REQUEST, event_stream([blocked])).finish_reasons == ["SAFETY"]


def test_embeddings_tell_their_model_and_their_texts():
    told = facts(GEMINI_EMBED_PATH, GEMINI_EMBED_REQUEST, compact(GEMINI_EMBED_ANSWER), content=True)
    assert (told.operation, told.request_model, told.usage) == ("embeddings", "gemini-embedding-001", None)
    assert told.content is not None
    assert told.content.embedding_texts == ["one", "two"]
    one = facts("/v1beta/models/e:embedContent", {"content": {"parts": [{"text": "a"}]}}, b"{}", content=True)
    assert one.content is not None
    assert one.content.embedding_texts == ["a"]


def test_the_openai_compatible_paths_are_read_as_what_they_are():
    told = facts("/v1beta/openai/chat/completions", CHAT_REQUEST, compact(CHAT_ANSWER))
    assert (told.operation, told.request_model, told.response_id) == ("chat", "gpt-4o", "chatcmpl-1")
    assert GEMINI.streams("/v1beta/openai/chat/completions", "", b'{"stream":true}')


@pytest.mark.parametrize(
    ("target", "stream", "reshaped"),
    [
        ("/v1beta/models/g:generateContent", True, "/v1beta/models/g:streamGenerateContent?alt=sse"),
        ("/v1beta/models/g:generateContent?", True, "/v1beta/models/g:streamGenerateContent?alt=sse"),
        ("/m/g%3AgenerateContent?a=%2f&&b", True, "/m/g%3AstreamGenerateContent?a=%2f&&b&alt=sse"),
        ("/m/g:streamGenerateContent?alt=sse&x=1", True, "/m/g:streamGenerateContent?alt=sse&x=1"),
        ("/m/g:streamGenerateContent", True, "/m/g:streamGenerateContent?alt=sse"),
        ("/m/g:generateContent?alt=json&x=1", True, "/m/g:streamGenerateContent?x=1&alt=sse"),
        ("/m/g:streamGenerateContent?alt=sse", False, "/m/g:generateContent"),
        ("/m/g:streamGenerateContent?x=1&al%74=sse&y", False, "/m/g:generateContent?x=1&y"),
        ("/m/g:generateContent?x=1", False, "/m/g:generateContent?x=1"),
        ("/m/g:generateContent?", False, "/m/g:generateContent?"),
        ("/m/g:countTokens?x=1", False, "/m/g:countTokens?x=1"),
    ],
)
def test_the_path_says_whether_the_answer_streams_and_the_body_is_never_touched(
    target: str, stream: bool, reshaped: str
):
    shape = GEMINI.reshape(target, b"anything", stream=stream)
    assert (shape.target, shape.body) == (reshaped, b"anything")


def test_a_path_without_a_stream_is_refused_one():
    with pytest.raises(InvalidRequest):
        GEMINI.reshape("/v1beta/models/g:countTokens", b"{}", stream=True)
    assert GEMINI.streams(GEMINI_STREAM_PATH, "alt=sse", b"")
    assert not GEMINI.streams(GEMINI_PATH, "", b'{"stream":true}')


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (errors.InvalidRequest("No."), 400, "INVALID_ARGUMENT"),
        (errors.Unauthenticated(), 401, "UNAUTHENTICATED"),
        (errors.Forbidden(), 403, "PERMISSION_DENIED"),
        (errors.NotFound(), 404, "NOT_FOUND"),
        (errors.PayloadTooLarge(), 413, "INVALID_ARGUMENT"),
        (errors.RateLimited(), 429, "RESOURCE_EXHAUSTED"),
        (errors.InternalFault(), 500, "INTERNAL"),
        (errors.UpstreamTruncated(), 502, "UNAVAILABLE"),
        (errors.Draining(), 503, "UNAVAILABLE"),
        (errors.IdleTimeout(), 504, "DEADLINE_EXCEEDED"),
    ],
)
def test_our_errors_have_googles_codes(error: GatewayError, code: int, status: str):
    assert json.loads(GEMINI.error(error, "r")) == {"error": {"code": code, "message": error.message, "status": status}}
    event = GEMINI.stream_error(error, "r", GEMINI_STREAM_PATH)
    # The SDK recognises an error in a stream by exactly these first bytes.
    assert event.startswith(b'data: {"error":')
    assert event.endswith(b"}\n\n")


def test_a_chat_request_has_googles_shape():
    prompt = Prompt([("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")])
    given = {"max_tokens": 5, "top_p": 0.5, "stop": "x", "temperature": 0}
    request = GEMINI.chat("gemini-2.5-flash", prompt, given, stream=True)
    assert request.target == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    body = json.loads(request.body)  # type: ignore[arg-type]
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"text": "Bye"}]},
        ],
        "generationConfig": {"maxOutputTokens": 5, "topP": 0.5, "stopSequences": ["x"], "temperature": 0},
    }
    for content in (*body["contents"], body["systemInstruction"]):
        types.Content.model_validate(content)
    types.GenerationConfig.model_validate(body["generationConfig"])


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2", "/v1beta/models/gemini-2:generateContent"),
        ("models/gemini-2", "/v1beta/models/gemini-2:generateContent"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine:generateContent"),
        ("../../etc/x?key", "/v1beta/..%2F..%2Fetc/x%3Fkey:generateContent"),
    ],
)
def test_a_model_is_a_name_and_never_a_path(model: str, path: str):
    request = GEMINI.chat(model, Prompt([("system", "Go")]), {}, stream=False)
    assert request.target == path
    assert json.loads(request.body) == {"contents": [{"role": "user", "parts": [{"text": "Go"}]}]}  # type: ignore[arg-type]


def test_the_text_of_an_answer_and_of_its_events_is_the_same():
    assert GEMINI.text(compact(GEMINI_ANSWER)) == "A cat."
    assert "".join(GEMINI.delta(compact(event)) for event in GEMINI_EVENTS) == "A cat."
    for body in (b"", b"[]", compact(ERROR), b'{"promptFeedback":{}}'):
        with pytest.raises(ValueError, match="no candidates"):
            GEMINI.text(body)
    assert GEMINI.stream_failed(compact(ERROR))
    assert not any(GEMINI.stream_failed(compact(event)) for event in GEMINI_EVENTS)
    assert GEMINI.end_of_stream() == b""


def test_embeddings_are_asked_for_and_read_in_their_order():
    request = GEMINI.embed("gemini-embedding-001", ["one", "two"])
    assert request.target == GEMINI_EMBED_PATH
    assert json.loads(request.body) == GEMINI_EMBED_REQUEST  # type: ignore[arg-type]
    assert GEMINI.vectors(compact(GEMINI_EMBED_ANSWER)) == [[0.5, 1.0], [0.25, -1.0]]
    assert GEMINI.vectors(b'{"embedding":{"values":[1]}}') == [[1.0]]
    for body in (
        b"",
        b"{}",
        b'{"embeddings":[{}]}',
        b'{"embeddings":[{"values":[null]}]}',
        b'{"embedding":{"values":["x"]}}',
    ):
        with pytest.raises(ValueError):
            GEMINI.vectors(body)

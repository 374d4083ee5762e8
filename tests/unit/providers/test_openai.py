"""OpenAI's dialect: what is read off its bodies, how its streams end, and what is written in its words."""

import base64
import json
import struct

import pytest

from gateway.errors import BudgetExhausted, InvalidRequest, RateLimited, Unauthenticated, UpstreamTruncated
from gateway.providers.openai import OPENAI, OpenAIDialect
from gateway.providers.provider import Prompt
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    CHAT_ANSWER,
    CHAT_ERROR,
    CHAT_EVENTS,
    CHAT_PATH,
    CHAT_REQUEST,
    CHAT_STREAM,
    COMPLETION_ANSWER,
    COMPLETION_EVENTS,
    COMPLETION_PATH,
    COMPLETION_REQUEST,
    DONE,
    EMBEDDING_ANSWER,
    EMBEDDING_PATH,
    EMBEDDING_REQUEST,
    RESPONSE,
    RESPONSES_EVENTS,
    RESPONSES_PATH,
    RESPONSES_REQUEST,
    RESPONSES_STREAM,
    chat_choice,
    chat_chunk,
    compact,
    event_stream,
)

CHAT_TOKENS = Usage(20, 12, 32, cache_read_tokens=8, cache_write_tokens=2, reasoning_tokens=5)
RESPONSE_TOKENS = Usage(30, 20, 50, cache_read_tokens=10, cache_write_tokens=0, reasoning_tokens=15)


def facts(path: str, request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return OPENAI.facts(path, compact(request), head, tail, **{"content": False, **asked})


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1/chat/completions", "chat"),
        ("/openai/v1/chat/completions", "chat"),
        ("/openai/deployments/my-gpt/chat/completions", "chat"),
        ("/chat/completions", "chat"),
        ("/v1/responses", "chat"),
        ("/v1/messages", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/models", ""),
        ("/v1/responses/resp_1", ""),
        ("/v1/responses/input_tokens", ""),
        ("/v1/messages/count_tokens", ""),
        ("/v1/threads/thread_1/messages", ""),
        ("/v1/audio/transcriptions", ""),
        ("/v1/files", ""),
        ("/", ""),
    ],
)
def test_an_operation_is_told_by_how_its_path_ends(path: str, operation: str):
    assert OPENAI.operation(path) == operation


def test_a_chat_answer_tells_model_tokens_and_reasons():
    told = facts(CHAT_PATH, CHAT_REQUEST, compact(CHAT_ANSWER))
    assert told == Facts(
        operation="chat",
        request_model="gpt-4o",
        response_model="gpt-4o-2024-08-06",
        response_id="chatcmpl-1",
        streamed=False,
        finish_reasons=["stop", "tool_calls"],
        usage=CHAT_TOKENS,
        parameters={
            "temperature": 0.2,
            "max_tokens": 100,
            "stop": ["END"],
            "response_format": {"type": "json_object"},
        },
    )


def test_a_chat_answer_pretty_printed_tells_the_same():
    pretty = json.dumps(CHAT_ANSWER, indent=2).encode()
    assert facts(CHAT_PATH, CHAT_REQUEST, pretty) == facts(CHAT_PATH, CHAT_REQUEST, compact(CHAT_ANSWER))


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("content", [False, True])
def test_a_chat_stream_tells_the_same_as_its_answer(line_end: bytes, content: bool):
    told = facts(CHAT_PATH, {**CHAT_REQUEST, "stream": True}, CHAT_STREAM.replace(b"\n", line_end), content=content)
    assert (told.streamed, told.response_id, told.response_model) == (True, "chatcmpl-1", "gpt-4o-2024-08-06")
    assert told.finish_reasons == ["stop", "tool_calls"]
    assert told.usage == CHAT_TOKENS


def test_a_stream_cut_in_two_at_any_byte_tells_the_same_with_its_content():
    whole = facts(CHAT_PATH, CHAT_REQUEST, CHAT_STREAM, content=True)
    for cut in range(1, len(CHAT_STREAM)):
        assert facts(CHAT_PATH, CHAT_REQUEST, CHAT_STREAM[:cut], CHAT_STREAM[cut:], content=True) == whole, cut


def test_the_same_bytes_given_as_head_and_tail_are_one_body():
    whole = facts(CHAT_PATH, CHAT_REQUEST, CHAT_STREAM, content=True)
    assert facts(CHAT_PATH, CHAT_REQUEST, CHAT_STREAM, CHAT_STREAM, content=True) == whole


def test_the_two_ends_of_a_long_stream_are_enough_without_its_content():
    filling = event_stream([chat_chunk([chat_choice({"content": "x" * 100})])]) * 300
    first, rest = CHAT_STREAM.split(b"\n\n", 1)
    body = first + b"\n\n" + filling + rest
    for cut in range(400):
        told = facts(CHAT_PATH, CHAT_REQUEST, body[: 500 + cut], body[cut - 2000 :], content=True, whole=False)
        assert (told.response_id, told.usage) == ("chatcmpl-1", CHAT_TOKENS)
        assert told.finish_reasons == ["stop", "tool_calls"]
        assert told.content is not None
        assert told.content.output_messages == []
        assert "[...]" in told.content.output_value


def test_a_long_answer_in_one_document_tells_its_tokens_from_its_end():
    long = json.loads(json.dumps(CHAT_ANSWER))
    long["choices"][0]["message"]["content"] = 'say "usage": {"prompt_tokens": 1} ' * 1000
    body = json.dumps(long).encode()
    told = facts(CHAT_PATH, CHAT_REQUEST, body[:1000], body[-1000:], whole=False)
    assert (told.response_id, told.response_model) == ("chatcmpl-1", "gpt-4o-2024-08-06")
    assert told.usage == CHAT_TOKENS
    assert told.finish_reasons == ["tool_calls"]


def test_unknown_usage_is_none_and_never_nought():
    without = event_stream(CHAT_EVENTS[:-1], end=DONE)
    assert facts(CHAT_PATH, CHAT_REQUEST, without).usage is None
    assert facts(CHAT_PATH, CHAT_REQUEST, compact({**CHAT_ANSWER, "usage": {}})).usage is None
    assert facts(CHAT_PATH, CHAT_REQUEST, compact({**CHAT_ANSWER, "usage": None})).usage is None
    some = facts(CHAT_PATH, CHAT_REQUEST, compact({**CHAT_ANSWER, "usage": {"prompt_tokens": 3}})).usage
    assert some == Usage(input_tokens=3)


def test_dialect_cousins_tell_their_usage_in_their_own_places():
    groq = event_stream([{**chat_chunk([chat_choice({}, finish="stop")]), "x_groq": {"usage": {"prompt_tokens": 5}}}])
    assert facts(CHAT_PATH, CHAT_REQUEST, groq + DONE).usage == Usage(input_tokens=5)
    deepseek = compact({**CHAT_ANSWER, "usage": {"prompt_tokens": 5, "prompt_cache_hit_tokens": 4}})
    assert facts(CHAT_PATH, CHAT_REQUEST, deepseek).usage == Usage(input_tokens=5, cache_read_tokens=4)


def test_azures_first_event_without_a_model_hides_none():
    azure = event_stream([{"id": "", "model": "", "choices": [], "prompt_filter_results": []}])
    assert facts(CHAT_PATH, CHAT_REQUEST, azure + CHAT_STREAM).response_model == "gpt-4o-2024-08-06"


def test_captured_chat_content_names_images_and_shows_no_data():
    told = facts(CHAT_PATH, CHAT_REQUEST, compact(CHAT_ANSWER), content=True).content
    assert told is not None
    assert told.input_messages == [
        Message("system", "Be brief."),
        Message("user", "What is this?\n[image]", name="ann"),
        Message("assistant", "", tool_calls=[ToolCall("call_0", "look", '{"at":"it"}')]),
        Message("tool", "a cat", tool_call_id="call_0"),
    ]
    assert told.output_messages == [
        Message("assistant", "A cat."),
        Message("assistant", "", tool_calls=[ToolCall("call_1", "look", '{"at":"tail"}')]),
    ]
    assert [json.loads(tool) for tool in told.tools] == CHAT_REQUEST["tools"]
    assert "iVBORw0KGgoiVBORw0KGgo" not in told.input_value
    assert "What is this?" in told.input_value
    assert json.loads(told.output_value) == CHAT_ANSWER


def test_a_captured_stream_is_pieced_together():
    told = facts(CHAT_PATH, CHAT_REQUEST, CHAT_STREAM, content=True).content
    assert told is not None
    assert told.output_messages == [
        Message("assistant", "A cät."),
        Message(
            "assistant",
            "",
            tool_calls=[ToolCall("call_1", "look", '{"at":"tail"}'), ToolCall("call_2", "look", '{"at":"ear"}')],
        ),
    ]
    assert told.output_value == "A cät."


def test_tool_calls_without_an_index_are_told_apart_by_their_ids():
    def piece(arguments: str, **more: str) -> dict[str, object]:
        return {"tool_calls": [{**more, "function": {"name": "f", "arguments": arguments}}]}

    pieces = [piece("1", id="a"), piece("2"), piece("3", id="b")]
    body = event_stream([chat_chunk([chat_choice(delta)]) for delta in pieces], end=DONE)
    told = facts(CHAT_PATH, CHAT_REQUEST, body, content=True).content
    assert told is not None
    assert told.output_messages[0].tool_calls == [ToolCall("a", "f", "12"), ToolCall("b", "f", "3")]


def test_a_refusal_is_what_was_answered():
    body = event_stream([chat_chunk([chat_choice({"refusal": "I "})]), chat_chunk([chat_choice({"refusal": "won't"})])])
    told = facts(CHAT_PATH, CHAT_REQUEST, body + DONE, content=True).content
    assert told is not None
    assert told.output_messages == [Message("assistant", "I won't")]


def test_legacy_completions_are_read_unary_and_streamed():
    answer = facts(COMPLETION_PATH, COMPLETION_REQUEST, compact(COMPLETION_ANSWER), content=True)
    stream = facts(COMPLETION_PATH, COMPLETION_REQUEST, event_stream(COMPLETION_EVENTS, end=DONE), content=True)
    assert (answer.operation, answer.usage) == ("text_completion", Usage(1, 3, 4))
    for told in (answer, stream):
        assert told.finish_reasons == ["length"]
        assert told.content is not None
        assert told.content.input_messages == [Message("user", "Once"), Message("user", "Twice")]
        assert told.content.output_messages == [Message("assistant", " upon a time")]


def test_embeddings_tell_their_texts_and_their_tokens_however_long_the_vectors_are():
    told = facts(EMBEDDING_PATH, EMBEDDING_REQUEST, compact(EMBEDDING_ANSWER), content=True)
    assert (told.operation, told.usage) == ("embeddings", Usage(input_tokens=2, total_tokens=2))
    assert told.parameters == {"dimensions": 2}
    assert told.content is not None
    assert told.content.embedding_texts == ["one", "two"]
    body = compact({**EMBEDDING_ANSWER, "data": [{"embedding": [0.1] * 10_000}]})
    long = facts(EMBEDDING_PATH, EMBEDDING_REQUEST, body[:500], body[-500:], whole=False)
    assert (long.response_model, long.usage) == ("text-embedding-3-small", told.usage)


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
    assert OPENAI.ended(RESPONSES_PATH, body[-20_000:])


def test_an_incomplete_response_tells_why():
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    body = event_stream([{"type": "response.incomplete", "sequence_number": 1, "response": cut}], named=True)
    assert facts(RESPONSES_PATH, RESPONSES_REQUEST, body).finish_reasons == ["max_output_tokens"]
    assert OPENAI.ended(RESPONSES_PATH, body)


def test_a_plain_string_as_input_is_the_users():
    told = facts(RESPONSES_PATH, {"model": "gpt-5", "input": "Hi"}, b"", content=True)
    assert told.content is not None
    assert told.content.input_messages == [Message("user", "Hi")]


def test_other_apis_at_the_same_provider_are_read_by_their_paths():
    told = OPENAI.facts("/v1/messages", b'{"model":"m"}', b'{"id":"msg_1","model":"m","usage":{}}', b"", content=False)
    assert (told.operation, told.response_id) == ("chat", "msg_1")
    assert OPENAI.facts("/v1/models", b"", b'{"data":[]}', b"", content=True) == Facts()


# --- how a stream ends


@pytest.mark.parametrize(
    "tail",
    [
        CHAT_STREAM,
        CHAT_STREAM.replace(b"\n", b"\r\n"),
        b"data: [DONE]",
        b"data:[DONE]\r\n",
        CHAT_STREAM + b": bye\n\n",
        event_stream([CHAT_EVENTS[0], CHAT_ERROR]),
        event_stream([{"error": "as a string"}]),
    ],
)
@pytest.mark.parametrize("path", [CHAT_PATH, COMPLETION_PATH])
def test_a_chat_stream_ends_with_its_marker_or_an_error(path: str, tail: bytes):
    assert OPENAI.ended(path, tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        CHAT_STREAM.removesuffix(DONE),
        CHAT_STREAM.removesuffix(b"NE]\n\n"),
        event_stream([chat_chunk([chat_choice({"content": "data: [DONE]\n\ndata: [DONE]"})])]),
        event_stream([{**CHAT_EVENTS[0], "error": None}]),
        event_stream([CHAT_ERROR])[:-1],
        b"x" * 70_000 + b'"}}]}\n\n',
    ],
)
def test_a_chat_stream_without_its_marker_did_not_end(tail: bytes):
    assert not OPENAI.ended(CHAT_PATH, tail)


@pytest.mark.parametrize("kind", ["response.completed", "response.failed", "response.incomplete", "error"])
def test_a_response_stream_ends_with_one_of_four_events(kind: str):
    assert OPENAI.ended(RESPONSES_PATH, event_stream([{"type": kind, "message": "x"}], named=True))
    assert not OPENAI.ended(RESPONSES_PATH, event_stream([{"type": kind}], named=True)[:-1])


def test_a_response_stream_cut_before_its_last_event_did_not_end():
    for cut in range(len(RESPONSES_STREAM) - 1):
        assert not OPENAI.ended(RESPONSES_PATH, RESPONSES_STREAM[:cut]), cut
    assert OPENAI.ended(RESPONSES_PATH, RESPONSES_STREAM)


def test_what_is_no_known_stream_always_ended():
    assert OPENAI.ended("/v1/audio/speech", b"")
    assert OPENAI.ended(EMBEDDING_PATH, b"")


# --- stream modes


@pytest.mark.parametrize(
    ("body", "streams"),
    [
        (b'{"stream":true}', True),
        (b'{"model":"m", "\\u0073tream" : true}', True),
        (b'{"stream":false}', False),
        (b'{"stream":1}', False),
        (b'{"messages":[{"stream":true}]}', False),
        (b"", False),
        (b"stream", False),
    ],
)
def test_whether_the_client_asked_for_a_stream(body: bytes, streams: bool):
    assert OPENAI.streams(CHAT_PATH, "", body) is streams


def test_a_stream_is_asked_for_with_one_member_and_every_other_byte_as_it_was():
    body = b' {\n  "model": "m",  "a":1, "a":2, "n":1.0e0 }\n'
    shape = OPENAI.reshape("/v1/chat/completions?x=%2f", body, stream=True)
    assert shape.target == "/v1/chat/completions?x=%2f"
    assert shape.body == b' {"stream":true,\n  "model": "m",  "a":1, "a":2, "n":1.0e0 }\n'
    assert OPENAI.reshape(CHAT_PATH, body, stream=False).body == body


@pytest.mark.parametrize("path", [EMBEDDING_PATH, "/v1/models", "/v1/audio/speech", "/v1/messages"])
def test_a_path_without_a_stream_is_refused_one_and_left_alone_otherwise(path: str):
    with pytest.raises(InvalidRequest):
        OPENAI.reshape(path, b"{}", stream=True)
    assert OPENAI.reshape(path, b"not json", stream=False).body == b"not json"


# --- our own words


def test_our_errors_have_all_four_members():
    error = InvalidRequest("No such thing.", param="model")
    assert json.loads(OPENAI.error(error, "req_1")) == {
        "error": {
            "message": "No such thing.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "invalid_request",
        }
    }
    assert json.loads(OPENAI.error(Unauthenticated(), "r"))["error"]["code"] == "invalid_api_key"
    assert json.loads(OPENAI.error(BudgetExhausted(), "r"))["error"]["type"] == "insufficient_quota"
    assert json.loads(OPENAI.error(RateLimited(), "r"))["error"]["param"] is None


def test_an_error_in_a_stream_is_an_event_of_its_api():
    error = UpstreamTruncated()
    assert OPENAI.stream_error(error, "r", CHAT_PATH) == b"data: " + OPENAI.error(error, "r") + b"\n\n"
    assert b'"type":"server_error"' in OPENAI.stream_error(error, "r", CHAT_PATH)
    name, data = OPENAI.stream_error(error, "r", RESPONSES_PATH).strip().split(b"\n")
    assert name == b"event: error"
    flat = json.loads(data.removeprefix(b"data: "))
    assert flat == {
        "type": "error",
        "code": "upstream_truncated",
        "message": error.message,
        "param": None,
        "sequence_number": 0,
    }
    assert OPENAI.stream_error(error, "r", "/v1/messages").startswith(b"event: error\n")


# --- for workflows


PROMPT = Prompt([("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")])


def test_a_chat_request():
    request = OPENAI.chat("gpt-4o", PROMPT, {"max_tokens": 5, "temperature": 0, "stop": ["x"]}, stream=False)
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert isinstance(request.body, bytes)
    assert json.loads(request.body) == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ],
        "max_tokens": 5,
        "temperature": 0,
        "stop": ["x"],
    }


def test_a_streamed_chat_request_asks_for_its_usage_where_that_is_understood():
    asked = json.loads(OPENAI.chat("m", PROMPT, {}, stream=True).body)  # type: ignore[arg-type]
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})
    elsewhere = OpenAIDialect(root="/openai/v1", stream_usage=False).chat("m", PROMPT, {}, stream=True)
    assert elsewhere.target == "/openai/v1/chat/completions"
    assert "stream_options" not in json.loads(elsewhere.body)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "gpt-5-mini"])
def test_reasoning_models_are_given_their_own_word_for_the_limit(model: str):
    asked = json.loads(OPENAI.chat(model, PROMPT, {"max_tokens": 5}, stream=False).body)  # type: ignore[arg-type]
    assert asked["max_completion_tokens"] == 5
    assert "max_tokens" not in asked


def test_the_text_of_an_answer_of_any_of_the_apis():
    assert OPENAI.text(compact(CHAT_ANSWER)) == "A cat."
    assert OPENAI.text(compact(COMPLETION_ANSWER)) == " upon a time"
    assert OPENAI.text(compact(RESPONSE)) == "It is sunny."
    assert OPENAI.text(b'{"choices":[{"message":{"content":null,"tool_calls":[]}}]}') == ""
    long = {"choices": [{"message": {"content": "x" * 200_000}}]}
    assert OPENAI.text(compact(long)) == "x" * 200_000


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", compact(CHAT_ERROR), b'{"choices":[]}'])
def test_what_is_no_answer_has_no_text(body: bytes):
    with pytest.raises(ValueError, match="no chat completion"):
        OPENAI.text(body)


def test_embeddings_are_asked_for_and_read_in_their_order():
    request = OPENAI.embed("text-embedding-3-small", ["one", "two"])
    assert request.target == "/v1/embeddings"
    assert json.loads(request.body) == {"model": "text-embedding-3-small", "input": ["one", "two"]}  # type: ignore[arg-type]
    assert OPENAI.vectors(compact(EMBEDDING_ANSWER)) == [[0.5, 1.0], [0.25, -1.0]]
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    assert OPENAI.vectors(compact({"data": [{"index": 0, "embedding": packed}]})) == [[0.5, -2.0]]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"data":[]}', b'{"data":[{}]}', b'{"data":[{"embedding":"@"}]}', b'{"data":[{"embedding":["x"]}]}',
     b'{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":"x"}]}', b'{"data":[{"embedding":"YQ=="}]}'],
)  # fmt: skip
def test_what_is_no_embedding_has_no_vectors(body: bytes):
    with pytest.raises(ValueError):
        OPENAI.vectors(body)


def test_the_deltas_of_a_stream_are_the_text_of_its_first_choice():
    deltas = "".join(OPENAI.delta(compact(event)) for event in CHAT_EVENTS)
    assert deltas == "A cät."
    assert "".join(OPENAI.delta(compact(event)) for event in RESPONSES_EVENTS) == "It is sunny."
    assert "".join(OPENAI.delta(compact(event)) for event in COMPLETION_EVENTS) == " upon a time"
    chunks = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}]
    assert OPENAI.delta(compact(chat_chunk([chat_choice({"content": chunks})]))) == "a"


@pytest.mark.parametrize(
    "data", [b"[DONE]", b"", b"{", b"null", b"[1]", b'{"choices":{}}', b'{"choices":[{"delta":1}]}']
)
def test_an_event_without_text_has_no_delta(data: bytes):
    assert OPENAI.delta(data) == ""


def test_an_event_that_is_the_providers_error_is_known():
    assert OPENAI.stream_failed(compact(CHAT_ERROR))
    assert OPENAI.stream_failed(b'{"type":"error","message":"x"}')
    assert OPENAI.stream_failed(b'{"type":"response.failed","response":{}}')
    for event in (*CHAT_EVENTS, *RESPONSES_EVENTS):
        assert not OPENAI.stream_failed(compact(event))
    assert not OPENAI.stream_failed(b'{"error":null}')
    assert not OPENAI.stream_failed(b"[DONE]")
    assert OPENAI.end_of_stream() == DONE

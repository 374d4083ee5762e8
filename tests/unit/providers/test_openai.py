"""OpenAI's dialect: how its streams end, what modes do to its bodies, and what is written in its words."""

import base64
import json
import struct

import pytest

from gateway.errors import BudgetExhausted, InvalidRequest, RateLimited, Unauthenticated, UpstreamTruncated
from gateway.providers.openai import OPENAI, OpenAIDialect
from gateway.providers.provider import Prompt
from gateway.telemetry.exchange import Facts
from tests.unit.providers.samples import (
    CHAT_ANSWER,
    CHAT_ERROR,
    CHAT_EVENTS,
    CHAT_PATH,
    COMPLETION_ANSWER,
    COMPLETION_EVENTS,
    DONE,
    EMBEDDING_ANSWER,
    EMBEDDING_PATH,
    RESPONSE,
    RESPONSES_EVENTS,
    RESPONSES_PATH,
    chat_choice,
    chat_chunk,
    compact,
)


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


def test_other_apis_at_the_same_provider_are_read_by_their_paths():
    told = OPENAI.facts("/v1/messages", b'{"model":"m"}', b'{"id":"msg_1","model":"m","usage":{}}', b"", content=False)
    assert (told.operation, told.response_id) == ("chat", "msg_1")
    assert OPENAI.facts("/v1/models", b"", b'{"data":[]}', b"", content=True) == Facts()


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

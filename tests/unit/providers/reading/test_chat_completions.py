"""What is read off OpenAI's chat completions, legacy completions and embeddings."""

import json

import pytest

from gateway.providers.openai import OPENAI
from gateway.providers.reading import api, chat_completions
from gateway.providers.reading.api import Bodies
from gateway.telemetry.exchange import Facts, Message, ToolCall, Usage
from tests.unit.providers.samples import (
    CHAT_ANSWER,
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
    chat_choice,
    chat_chunk,
    compact,
    event_stream,
)

CHAT_TOKENS = Usage(20, 12, 32, cache_read_tokens=8, cache_write_tokens=2, reasoning_tokens=5)


def facts(path: str, request: object, head: bytes, tail: bytes = b"", **asked: bool) -> Facts:
    return OPENAI.facts(path, compact(request), head, tail, **{"content": False, **asked})


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
            "response_format": {"type": "json_object"},
        },
    )


@pytest.mark.parametrize("reason", ["all that was said", "s" * 65, "\u00fcber", "a\nb", 7, {"a": "b"}])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_reason_that_is_no_word_is_left_out(reason: object, streamed: bool):
    answer = {**CHAT_ANSWER, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    body = event_stream([answer], end=DONE) if streamed else compact(answer)
    assert facts(CHAT_PATH, CHAT_REQUEST, body).finish_reasons == []


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


ANSWERS = [
    b'{"id":"c","model":"m","choices":[{"finish_reason":"stop"},{"finish_reason":null},{}],"usage":{"prompt_tokens":3}}',
    b'{"id":"","model":"m","choices":[],"usage":{}}',
    b'{"id":"c","model":"","choices":[{"finish_reason":""}],"usage":{}}',
    b'{"id":"c","model":"' + b"m" * 300 + b'","choices":[],"usage":{"prompt_tokens":3}}',
    b'{"id":"' + b"c" * 300 + b'","model":"m","choices":[],"usage":{"prompt_tokens":3}}',
    b'{"id":"c","model":"m","choices":[{"finish_reason":"' + b"s" * 300 + b'"}],"usage":{"prompt_tokens":3}}',
    b'{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":5,"audio_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":6}}}',
    b'{"id":"c","model":"m","choices":[],"usage":{"prompt_cache_hit_tokens":7,"prompt_tokens_details":{}}}',
    b'{"id":"c","model":"m","choices":[],"usage":{"prompt_cache_hit_tokens":7,'
    b'"prompt_tokens_details":{"cached_tokens":null}}}',
    b'{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":2.0,"total_tokens":"3"}}',
    b'{"id":"c","model":"m","choices":[],"usage":null}',
    b'{"id":"c","model":"m","choices":[],"x_groq":{"usage":{"prompt_tokens":1}}}',
    b'{"id":1,"model":["m"],"choices":{},"usage":{"prompt_tokens":1}}',
    b'{"id":"' + b"c" * 300 + b'","model":"m","choices":[],"usage":{"prompt_tokens":9223372036854775808}}',
    b'{"id":"c","model":"\xff","choices":[],"usage":{"prompt_tokens":1}}',
    b'{"id":"c","model":"m","choices":[{"finish_reason":"st',
    b"[]",
    b"{",
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_a_glance_tells_what_reading_with_care_tells(answer: bytes) -> None:
    request = b'{"model":"m","stream":true,"temperature":1}'
    bodies = Bodies(request, answer, b"", True)
    quickly = api.read(chat_completions, "chat", "/x", bodies, content=False, glance=chat_completions.glance)
    assert quickly == api.read(chat_completions, "chat", "/x", bodies, content=False)

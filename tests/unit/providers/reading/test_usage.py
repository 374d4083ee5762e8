"""Usage as each API reports it, and what no API can mean by it."""

import json
from typing import Any

import pytest

from gateway.providers.declarations import CUSTOMS
from gateway.providers.provider import Dialect
from gateway.providers.reading.usage import MAX_UNSEEN
from gateway.telemetry.exchange import Facts, Usage

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GENERATE = "/v1beta/models/m:generateContent"
EMBEDDINGS = "/v1/embeddings"
EMBED = "/v1beta/models/m:embedContent"

# An answer of each API, the member that holds its usage, and its names of input, output and total.
APIS: dict[str, tuple[dict[str, Any], str, tuple[str, str, str | None]]] = {
    CHAT: (
        {"id": "c", "model": "m", "choices": [{"finish_reason": "stop"}]},
        "usage",
        ("prompt_tokens", "completion_tokens", "total_tokens"),
    ),
    COMPLETIONS: (
        {"id": "c", "model": "m", "choices": [{"finish_reason": "stop"}]},
        "usage",
        ("prompt_tokens", "completion_tokens", "total_tokens"),
    ),
    RESPONSES: (
        {"id": "r", "model": "m", "status": "completed"},
        "usage",
        ("input_tokens", "output_tokens", "total_tokens"),
    ),
    MESSAGES: ({"id": "m", "model": "m", "content": []}, "usage", ("input_tokens", "output_tokens", None)),
    GENERATE: (
        {"responseId": "g", "modelVersion": "m", "candidates": []},
        "usageMetadata",
        ("promptTokenCount", "candidatesTokenCount", "totalTokenCount"),
    ),
}
NO_NUMBERS = [-1, "7", "", 1.5, True, [], {}, 1 << 70, -(1 << 70)]


def dialect(path: str) -> Dialect:
    name = "anthropic" if path == MESSAGES else "gemini" if path.startswith("/v1beta") else "openai"
    return CUSTOMS[name].dialect


def facts(path: str, answer: Any) -> Facts:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return dialect(path).facts(path, b'{"model":"m"}', body, b"", False)


def of(path: str, **usage: Any) -> Facts:
    answer, member, _ = APIS[path]
    return facts(path, {**answer, member: usage})


@pytest.mark.parametrize("path", APIS)
def test_plausible_usage_is_believed(path: str) -> None:
    inward, outward, total = APIS[path][2]
    told = of(path, **{inward: 30, outward: 7}, **({total: 37} if total else {}))
    assert told.usage is not None
    assert (told.usage.input_tokens, told.usage.output_tokens, told.usage_error) == (30, 7, "")
    assert told.usage.total_tokens == 37


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_usage_that_is_no_number_of_tokens_is_refused_as_a_whole(path: str, value: Any) -> None:
    inward, outward, total = APIS[path][2]
    for name in filter(None, (inward, outward, total)):
        told = of(path, **{inward: 30, outward: 7, name: value})
        assert (told.usage, told.usage_error) == (None, "implausible"), name


@pytest.mark.parametrize("path", APIS)
def test_nan_is_no_number_of_tokens(path: str) -> None:
    answer, member, (inward, outward, _) = APIS[path]
    body = json.dumps({**answer, member: {inward: float("nan"), outward: 7}}).encode()
    assert b"NaN" in body
    told = facts(path, body)
    assert (told.usage, told.usage_error) == (None, "implausible")


@pytest.mark.parametrize("path", APIS)
def test_more_tokens_than_any_context_or_answer_has_are_refused(path: str) -> None:
    inward, outward, _ = APIS[path][2]
    for name in (inward, outward):
        assert of(path, **{inward: 30, outward: 7, name: MAX_UNSEEN}).usage is not None
        told = of(path, **{inward: 30, outward: 7, name: MAX_UNSEEN + 1000})
        assert (told.usage, told.usage_error) == (None, "implausible")


@pytest.mark.parametrize("path", [path for path in APIS if APIS[path][2][2]])
def test_a_total_below_its_parts_is_refused(path: str) -> None:
    inward, outward, total = APIS[path][2]
    assert total is not None
    told = of(path, **{inward: 30, outward: 7, total: 36})
    assert (told.usage, told.usage_error) == (None, "implausible")
    assert of(path, **{inward: 30, outward: 7, total: 50}).usage_error == ""  # reasoning may be counted apart


@pytest.mark.parametrize("path", [path for path in APIS if APIS[path][2][2]])
def test_a_total_may_stand_alone(path: str) -> None:
    total = APIS[path][2][2]
    assert total is not None
    assert of(path, **{total: 37}).usage == Usage(total_tokens=37)
    assert of(path, **{total: 37}).usage_error == ""


@pytest.mark.parametrize("path", APIS)
def test_what_is_missing_or_null_is_not_known(path: str) -> None:
    inward, outward, _ = APIS[path][2]
    for usage in ({}, {inward: None, outward: None}):
        told = of(path, **usage)
        assert (told.usage, told.usage_error) == (None, "")


def test_the_tokens_of_an_embedding_are_input() -> None:
    told = facts(EMBEDDINGS, {"data": [], "model": "m", "usage": {"total_tokens": 8}}).usage
    assert told is not None
    assert (told.input_tokens, told.output_tokens) == (8, None)


@pytest.mark.parametrize("cached", [-1, "5"])
def test_cached_tokens_count_as_input_at_anthropic(cached: Any) -> None:
    told = of(MESSAGES, input_tokens=30, output_tokens=7, cache_read_input_tokens=cached)
    assert (told.usage, told.usage_error) == (None, "implausible")


def stream(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events)


def test_moonshot_tells_usage_in_a_choice() -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37}
    body = stream(
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]},
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]},
        b"[DONE]",
    )
    assert facts(CHAT, body).usage == Usage(30, 7, 37)


def test_a_stream_may_tell_a_total_alone() -> None:
    body = stream(
        {"id": "c", "model": "m", "choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]},
        {"id": "c", "model": "m", "choices": [], "usage": {"total_tokens": 37}},
        b"[DONE]",
    )
    assert facts(CHAT, body).usage == Usage(total_tokens=37)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_the_same_holds_for_streams(value: Any) -> None:
    bodies = {
        CHAT: stream({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": value}}, b"[DONE]"),
        RESPONSES: stream(
            {"type": "response.completed", "response": {"usage": {"input_tokens": value, "output_tokens": 7}}}
        ),
        MESSAGES: stream(
            {"type": "message_start", "message": {"usage": {"input_tokens": 30, "output_tokens": 1}}},
            {"type": "message_delta", "delta": {}, "usage": {"output_tokens": value}},
            {"type": "message_stop"},
        ),
        GENERATE.replace("generate", "streamGenerate"): stream(
            {"candidates": [], "usageMetadata": {"promptTokenCount": 30, "thoughtsTokenCount": value}}
        ),
    }
    for path, body in bodies.items():
        told = facts(path, body)
        assert (told.usage, told.usage_error) == (None, "implausible"), path

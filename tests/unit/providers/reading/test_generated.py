"""How much a model wrote into a stream, where nobody counted it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.providers import apis
from gateway.providers.apis import Api
from gateway.providers.reading.generated import streamed_tokens, text_bytes
from gateway.upstream.tap import HEAD, TAIL

TEXT = "abcd" * 10


def sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (e if isinstance(e, bytes) else json.dumps(e).encode()) for e in events)


def tokens(api: Api, body: bytes) -> float:
    return streamed_tokens(api.generated, body[:HEAD], body[HEAD:][-TAIL:], len(body))


def chat(text: str) -> Any:
    return {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}


EVENTS: dict[str, tuple[Api, Any]] = {
    "chat": (apis.CHAT_COMPLETIONS, chat(TEXT)),
    "reasoning": (apis.CHAT_COMPLETIONS, {"choices": [{"delta": {"reasoning_content": TEXT}}]}),
    "a tool's arguments": (
        apis.CHAT_COMPLETIONS,
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_1", "function": {"arguments": TEXT}}]}}]},
    ),
    "completions": (apis.COMPLETIONS, {"choices": [{"text": TEXT}]}),
    "responses": (apis.RESPONSES, {"type": "response.output_text.delta", "item_id": "i" * 40, "delta": TEXT}),
    "a summary": (apis.RESPONSES, {"type": "response.reasoning_summary_text.delta", "delta": TEXT}),
    "messages": (apis.MESSAGES, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": TEXT}}),
    "thinking": (apis.MESSAGES, {"type": "content_block_delta", "delta": {"thinking": TEXT}}),
    "generate": (apis.GENERATE_CONTENT, {"candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}}]}),
    "an image": (
        apis.GENERATE_CONTENT,
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "A" * 9000}}, {"text": TEXT}]}}]},
    ),
}


@pytest.mark.parametrize("which", EVENTS)
def test_every_4_bytes_that_a_model_wrote_are_a_token(which: str) -> None:
    api, event = EVENTS[which]
    assert tokens(api, sse(*[event] * 5)) == 50


@pytest.mark.parametrize(
    ("api", "event"),
    [
        (apis.CHAT_COMPLETIONS, {"choices": [], "usage": None}),
        (apis.CHAT_COMPLETIONS, b"[DONE]"),
        (apis.RESPONSES, {"type": "response.created", "response": {"instructions": TEXT}}),
        (apis.RESPONSES, {"type": "response.output_text.done", "text": TEXT}),
        (apis.MESSAGES, {"type": "message_start", "message": {"id": TEXT}}),
        (apis.GENERATE_CONTENT, {"candidates": [{"finishReason": "STOP"}], "modelVersion": TEXT}),
    ],
)
def test_what_the_model_did_not_write_counts_nothing(api: Api, event: Any) -> None:
    assert tokens(api, sse(*[event] * 5)) == 0


def test_an_event_with_text_is_a_token_at_least() -> None:
    assert tokens(apis.CHAT_COMPLETIONS, sse(*[chat("a")] * 20)) == 20


def test_of_a_long_stream_the_middle_counts_like_its_ends() -> None:
    body = sse(*[chat(TEXT)] * 5000)
    assert len(body) > HEAD + TAIL
    assert tokens(apis.CHAT_COMPLETIONS, body) == pytest.approx(50_000, rel=0.02)


def test_an_array_is_read_though_it_breaks_off() -> None:
    event = json.dumps(EVENTS["generate"][1]).encode()
    for body in (
        b"[" + event + b",\n" + event + b"]",
        b"[" + event + b",\n" + event,
        b"[" + event + b",\n" + event + b",",
    ):
        assert tokens(apis.GENERATE_CONTENT, body) == 20


def test_what_cannot_be_read_counts_by_its_bytes() -> None:
    assert tokens(apis.CHAT_COMPLETIONS, sse(b"x" * 400)) == 100
    assert streamed_tokens(None, sse(b"x" * 154), b"", 160) == 10
    assert tokens(apis.GENERATE_CONTENT, b"[{" + b" " * 158) == 10
    assert tokens(apis.CHAT_COMPLETIONS, b"data: " + b"x" * 154) == 10  # no end of an event


def test_comments_count_nothing() -> None:
    assert tokens(apis.CHAT_COMPLETIONS, b": wait\n\n" * 50) == 0


@pytest.mark.parametrize(("value", "size"), [(None, 0), (7, 0), ("é", 2), (["a", {"b": "cd", "id": "efg"}], 3)])
def test_text_is_found_wherever_it_stands(value: Any, size: int) -> None:
    assert text_bytes(value) == size


@pytest.mark.parametrize("make", [dict, lambda: {"choices": 1}, lambda: {"choices": [{"delta": 7}]}])
def test_odd_events_raise_nothing(make: Callable[[], Any]) -> None:
    for api, _ in EVENTS.values():
        assert tokens(api, sse(make())) == 0

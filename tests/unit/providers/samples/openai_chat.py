"""Chat completions, legacy completions and embeddings."""

from typing import Any

from tests.unit.providers.samples.wire import DONE, Json, event_stream

CHAT_PATH = "/v1/chat/completions"

CHAT_REQUEST: Json = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 100}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "a cat"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
    "temperature": 0.2,
    "max_tokens": 100,
    "stop": ["END"],
    "response_format": {"type": "json_object"},
    "metadata": {"ticket": "secret-ticket"},
    "user": "ann@example.com",
}

CHAT_USAGE: Json = {
    "prompt_tokens": 20,
    "completion_tokens": 12,
    "total_tokens": 32,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0},
}

CHAT_ANSWER: Json = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A cat.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"tail"}'}}
                ],
            },
            "finish_reason": "tool_calls",
        },
    ],
    "usage": CHAT_USAGE,
}


def chat_chunk(choices: list[Json], **more: Any) -> Json:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
        "usage": None,
        **more,
    }


def chat_choice(delta: Json, *, index: int = 0, finish: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _fragment(index: int, arguments: str, **more: Any) -> Json:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "function": function, **more}]}


CHAT_EVENTS: list[Json] = [
    chat_chunk([chat_choice({"role": "assistant", "content": ""})]),
    chat_chunk([chat_choice({"content": "A "})]),
    chat_chunk([chat_choice({"role": "assistant", "content": None}, index=1)]),
    chat_chunk([chat_choice({"content": "c\u00e4t"})]),
    chat_chunk([chat_choice(_fragment(0, "", id="call_1", type="function", name="look"), index=1)]),
    chat_chunk([chat_choice({"content": "."})]),
    chat_chunk([chat_choice(_fragment(0, '{"at":'), index=1)]),
    chat_chunk([chat_choice(_fragment(1, '{"at":"ear"}', id="call_2", type="function", name="look"), index=1)]),
    chat_chunk([chat_choice(_fragment(0, '"tail"}'), index=1)]),
    chat_chunk([chat_choice({}, finish="stop")]),
    chat_chunk([chat_choice({}, index=1, finish="tool_calls")]),
    chat_chunk([], usage=CHAT_USAGE),
]
CHAT_STREAM = event_stream(CHAT_EVENTS, end=DONE)
CHAT_ERROR = {"error": {"message": "The server had an error", "type": "server_error", "param": None, "code": None}}

COMPLETION_PATH = "/v1/completions"
COMPLETION_REQUEST: Json = {"model": "gpt-3.5-turbo-instruct", "prompt": ["Once", "Twice"], "max_tokens": 5}
COMPLETION_ANSWER: Json = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1_790_000_000,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"text": " upon a time", "index": 0, "logprobs": None, "finish_reason": "length"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
}
COMPLETION_EVENTS: list[Json] = [
    {
        **COMPLETION_ANSWER,
        "usage": None,
        "choices": [{"text": said, "index": 0, "logprobs": None, "finish_reason": end}],
    }
    for said, end in ((" upon", None), (" a time", "length"))
]

EMBEDDING_PATH = "/v1/embeddings"
EMBEDDING_REQUEST: Json = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 2}
EMBEDDING_ANSWER: Json = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.25, -1.0]},
        {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]},
    ],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}

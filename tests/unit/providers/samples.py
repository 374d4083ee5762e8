"""Bodies as the providers send them, held against the types of their own SDKs in `test_samples.py`."""

import json
from typing import Any

Json = dict[str, Any]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event_stream(events: list[Json], *, named: bool = False, end: bytes = b"") -> bytes:
    """`events` as a stream; `named` by their type, as Anthropic and the Responses API have it."""
    return (
        b"".join(
            (b"event: %s\n" % event["type"].encode() if named else b"") + b"data: " + compact(event) + b"\n\n"
            for event in events
        )
        + end
    )


DONE = b"data: [DONE]\n\n"

# --- chat completions

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

# --- completions and embeddings

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

# --- responses

RESPONSES_PATH = "/v1/responses"
RESPONSES_REQUEST: Json = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}, {"type": "input_image"}]},
        {"type": "reasoning", "id": "rs_0", "summary": []},
        {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "call_0", "output": "sunny"},
    ],
    "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
    "reasoning": {"effort": "low"},
    "max_output_tokens": 200,
    "previous_response_id": "resp_0",
}
RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_790_000_000,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "metadata": {},
    "model": "gpt-5-2026-01-01",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Thinking hard."}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "It is sunny.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": '{"city":"Oslo"}',
            "status": "completed",
        },
    ],
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "usage": {
        "input_tokens": 30,
        "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
        "total_tokens": 50,
    },
}
_BEGUN = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
RESPONSES_EVENTS: list[Json] = [
    {"type": "response.created", "sequence_number": 0, "response": _BEGUN},
    {"type": "response.in_progress", "sequence_number": 1, "response": _BEGUN},
    {
        "type": "response.output_text.delta",
        "sequence_number": 2,
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "It is ",
        "logprobs": [],
    },
    {
        "type": "response.output_text.delta",
        "sequence_number": 3,
        "item_id": "msg_1",
        "output_index": 1,
        "content_index": 0,
        "delta": "sunny.",
        "logprobs": [],
    },
    {
        "type": "response.output_item.added",
        "sequence_number": 4,
        "output_index": 2,
        "item": {**RESPONSE["output"][2], "arguments": "", "status": "in_progress"},
    },
    {
        "type": "response.function_call_arguments.delta",
        "sequence_number": 5,
        "item_id": "fc_1",
        "output_index": 2,
        "delta": '{"city":',
    },
    {
        "type": "response.function_call_arguments.delta",
        "sequence_number": 6,
        "item_id": "fc_1",
        "output_index": 2,
        "delta": '"Oslo"}',
    },
    {"type": "response.completed", "sequence_number": 7, "response": RESPONSE},
]
RESPONSES_STREAM = event_stream(RESPONSES_EVENTS, named=True)

# --- messages

MESSAGES_PATH = "/v1/messages"
MESSAGES_REQUEST: Json = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 50}},
                {"type": "text", "text": "What is it?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm, let me look.", "signature": "c2ln"},
                {"type": "tool_use", "id": "toolu_0", "name": "look", "input": {"at": "it"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_0", "content": [{"type": "text", "text": "a cat"}]},
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "metadata": {"user_id": "ann"},
    "stop_sequences": ["END"],
}
MESSAGES_ANSWER: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "A cat."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "tail"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 100,
        "output_tokens": 42,
        "output_tokens_details": {"thinking_tokens": 30},
        "service_tier": "standard",
    },
}
MESSAGES_EVENTS: list[Json] = [
    {
        "type": "message_start",
        "message": {
            **MESSAGES_ANSWER,
            "content": [],
            "stop_reason": None,
            "usage": {**MESSAGES_ANSWER["usage"], "output_tokens": 1, "output_tokens_details": None},
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "A "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "cat."}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"at":'}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '"tail"}'}},
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 42, "output_tokens_details": {"thinking_tokens": 30}},
    },
    {"type": "message_stop"},
]
MESSAGES_STREAM = event_stream(MESSAGES_EVENTS, named=True)
MESSAGES_ERROR: Json = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

# --- generateContent

GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
GEMINI_STREAM_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GEMINI_REQUEST: Json = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo" * 50}}],
        },
        {"role": "model", "parts": [{"functionCall": {"id": "f0", "name": "look", "args": {"at": "it"}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "f0", "name": "look", "response": {"result": "a cat"}}}],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT"}}]}],
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": 10}},
}
GEMINI_USAGE: Json = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 7,
    "totalTokenCount": 40,
    "cachedContentTokenCount": 6,
    "thoughtsTokenCount": 11,
    "toolUsePromptTokenCount": 2,
}
GEMINI_ANSWER: Json = {
    "candidates": [
        {
            "index": 0,
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Let me think.", "thought": True},
                    {"text": "A "},
                    {"text": "cat."},
                    {"functionCall": {"name": "look", "args": {"at": "tail"}}},
                ],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": GEMINI_USAGE,
    "modelVersion": "gemini-2.5-flash-001",
    "responseId": "resp-g1",
}


def gemini_event(parts: list[Json], *, finish: str | None = None, usage: Json | None = None) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finish:
        candidate["finishReason"] = finish
    usage = usage or {"promptTokenCount": 20, "totalTokenCount": 20}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "resp-g1",
    }


GEMINI_EVENTS: list[Json] = [
    gemini_event([{"text": "Let me think.", "thought": True}]),
    gemini_event([{"text": "A "}]),
    gemini_event([{"text": "cat."}]),
    gemini_event([{"functionCall": {"name": "look", "args": {"at": "tail"}}}], finish="STOP", usage=GEMINI_USAGE),
]
GEMINI_STREAM = event_stream(GEMINI_EVENTS).replace(b"\n", b"\r\n")
GEMINI_ARRAY = b"[" + b"\n,\r\n".join(json.dumps(event, indent=2).encode() for event in GEMINI_EVENTS) + b"\n]\n"

GEMINI_EMBED_PATH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
GEMINI_EMBED_REQUEST: Json = {
    "requests": [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "one"}]}},
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "two"}]}},
    ]
}
GEMINI_EMBED_ANSWER: Json = {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, -1]}]}

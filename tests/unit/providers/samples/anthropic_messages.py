"""The Messages API."""

from tests.unit.providers.samples.wire import Json, event_stream

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

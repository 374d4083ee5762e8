"""A call of Cohere's own chat, version 2: what was asked, the answer, and the same as a stream."""

from tests.unit.providers.samples.wire import Json, event_stream

COHERE_PATH = "/v2/chat"
COHERE_REQUEST: Json = {
    "model": "command-r7b-12-2024",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {}}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c_0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c_0", "content": "sunny"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    "max_tokens": 200,
}
_CALL = {"id": "c_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
_USAGE = {
    "billed_units": {"input_tokens": 33, "output_tokens": 22},
    "tokens": {"input_tokens": 1452, "output_tokens": 33},
    "cached_tokens": 144,
}
COHERE_ANSWER: Json = {
    "id": "1046-28b4",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "content": [{"type": "text", "text": "Let me see."}],
        "tool_calls": [_CALL],
        "tool_plan": "I will look it up.",
    },
    "usage": _USAGE,
}
_BEGUN = {"id": "c_1", "type": "function", "function": {"name": "weather", "arguments": ""}}


def _delta(**message: object) -> Json:
    return {"delta": {"message": message}}


COHERE_EVENTS: list[Json] = [
    {"id": "1046-28b4", "type": "message-start", **_delta(role="assistant", content=[], tool_plan="", tool_calls=[])},
    {"type": "content-start", "index": 0, **_delta(content={"type": "text", "text": ""})},
    {"type": "content-delta", "index": 0, **_delta(content={"text": "Let me "})},
    {"type": "content-delta", "index": 0, **_delta(content={"text": "see."})},
    {"type": "content-end", "index": 0},
    {"type": "tool-call-start", "index": 0, **_delta(tool_calls=_BEGUN)},
    {"type": "tool-call-delta", "index": 0, **_delta(tool_calls={"function": {"arguments": '{"city":'}})},
    {"type": "tool-call-delta", "index": 0, **_delta(tool_calls={"function": {"arguments": '"Oslo"}'}})},
    {"type": "tool-call-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": _USAGE}},
]
COHERE_STREAM = event_stream(COHERE_EVENTS, named=True)

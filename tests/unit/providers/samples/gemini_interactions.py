"""Google's Interactions API: a request, an answer, and the events of a stream that says the same."""

from tests.unit.providers.samples.wire import DONE, Json, compact

INTERACTIONS_PATH = "/v1beta/interactions"
INTERACTIONS_REQUEST: Json = {
    "model": "gemini-3-flash-preview",
    "system_instruction": "Be brief.",
    "input": [
        {"type": "user_input", "content": [{"type": "text", "text": "Weather?"}, {"type": "image", "data": "aGk="}]},
        {"type": "thought", "signature": "c2ln", "summary": [{"type": "text", "text": "Hm."}]},
        {"type": "function_call", "id": "call_0", "name": "weather", "arguments": {"city": "Rome"}},
        {"type": "function_result", "call_id": "call_0", "name": "weather", "result": "sunny"},
    ],
    "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
    "generation_config": {"temperature": 0.5, "max_output_tokens": 200, "thinking_level": "low"},
    "store": False,
}
INTERACTIONS_USAGE: Json = {
    "total_tokens": 357,
    "total_input_tokens": 11,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 11}],
    "total_cached_tokens": 4,
    "total_output_tokens": 90,
    "total_tool_use_tokens": 11,
    "total_thought_tokens": 245,
}
_INTERACTION: Json = {"id": "v1_abc", "object": "interaction", "model": "gemini-3-flash-preview"}
_CALL: Json = {"type": "function_call", "id": "call_1", "name": "weather", "arguments": {"city": "Oslo"}}
INTERACTION: Json = {
    **_INTERACTION,
    "status": "requires_action",
    "usage": INTERACTIONS_USAGE,
    "steps": [
        {"type": "thought", "signature": "c2ln", "summary": [{"type": "text", "text": "Hm."}]},
        {"type": "model_output", "content": [{"type": "text", "text": "It is sunny."}]},
        _CALL,
    ],
}
INTERACTIONS_EVENTS: list[Json] = [
    {"interaction": {**_INTERACTION, "status": "in_progress"}, "event_type": "interaction.created"},
    {"interaction_id": "v1_abc", "status": "in_progress", "event_type": "interaction.status_update"},
    {"index": 0, "step": {"type": "thought"}, "event_type": "step.start"},
    {
        "index": 0,
        "delta": {"type": "thought_summary", "content": {"type": "text", "text": "Hm."}},
        "event_type": "step.delta",
    },
    {"index": 0, "event_type": "step.stop"},
    {"index": 1, "step": {"type": "model_output"}, "event_type": "step.start"},
    {"index": 1, "delta": {"type": "text", "text": "It is "}, "event_type": "step.delta"},
    {"index": 1, "delta": {"type": "text", "text": "sunny."}, "event_type": "step.delta"},
    {"index": 1, "event_type": "step.stop"},
    {"index": 2, "step": {**_CALL, "arguments": {}}, "event_type": "step.start"},
    {"index": 2, "delta": {"type": "arguments_delta", "arguments": '{"city":'}, "event_type": "step.delta"},
    {"index": 2, "delta": {"type": "arguments_delta", "arguments": '"Oslo"}'}, "event_type": "step.delta"},
    {"index": 2, "event_type": "step.stop"},
    {
        "interaction": {**_INTERACTION, "status": "requires_action", "usage": INTERACTIONS_USAGE},
        "event_type": "interaction.completed",
    },
]
INTERACTIONS_ERROR: Json = {"error": {"code": "overloaded", "message": "x"}, "event_type": "error"}


def interaction_stream(events: list[Json]) -> bytes:
    """`events` as a stream that does not say that it is done."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["event_type"].encode(), compact(event)) for event in events)


INTERACTIONS_STREAM = interaction_stream(INTERACTIONS_EVENTS) + b"event: done\n" + DONE

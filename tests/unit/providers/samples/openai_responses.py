"""The Responses API."""

from tests.unit.providers.samples.wire import Json, event_stream

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

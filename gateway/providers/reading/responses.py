"""OpenAI's Responses API: a response of output items; a stream tells it whole in its last event."""

from collections.abc import Sequence
from typing import Final

from gateway.providers.reading import chat_completions
from gateway.providers.reading.content import (
    MOST_MESSAGES,
    Fragments,
    all_text,
    schemas,
    spoken,
    tool_call,
    tool_result,
)
from gateway.providers.reading.lenient import Members, count, mapping, member, named, objects, text, word
from gateway.providers.reading.stream_end import MARKER
from gateway.providers.reading.usage import tokens
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage

CLOSING: Final = ("model", "usage", "incomplete_details")
ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


def asked(facts: Facts, path: str, request: Members) -> None:
    chat_completions.asked(facts, path, request)


def document(facts: Facts, answer: Members) -> None:
    facts.response_id = facts.response_id or named(member(answer, "id"))
    facts.response_model = facts.response_model or named(member(answer, "model"))
    facts.usage = _usage(member(answer, "usage"))
    reason = word(mapping(member(answer, "incomplete_details")).get("reason")) or word(member(answer, "status"))
    facts.finish_reasons = [reason] if reason else []


def opening(facts: Facts, event: Members) -> bool:
    response = mapping(event.get("response"))
    facts.response_id = facts.response_id or named(response.get("id"))
    facts.response_model = facts.response_model or named(response.get("model"))
    return facts.response_id is not None and facts.response_model is not None


def closing(facts: Facts, event: Members) -> bool:
    if event.get("type") not in ENDS:
        return False
    document(facts, mapping(event.get("response")))
    return True


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    kind = text(event.get("type"))
    if kind in ENDS or chat_completions.is_failure(event):
        return MARKER
    return ((0, False),) if kind.startswith("response.") else ()


def _usage(usage: object) -> Usage | None:
    found = mapping(usage)
    read, written = mapping(found.get("input_tokens_details")), mapping(found.get("output_tokens_details"))
    told = Usage(
        input_tokens=tokens(found.get("input_tokens")),
        output_tokens=tokens(found.get("output_tokens")),
        total_tokens=tokens(found.get("total_tokens")),
        cache_read_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
    )
    return told if told != Usage() else None


def said(content: Content, request: Members) -> None:
    if instructions := text(member(request, "instructions")):
        content.input_messages.append(Message("system", spoken(instructions)))
    given = member(request, "input")
    if isinstance(given, str):
        content.input_messages.append(Message("user", spoken(given)))
    for item in objects(given)[:MOST_MESSAGES]:
        if message := _input(item):
            content.input_messages.append(message)
    content.tools = schemas(member(request, "tools"))


def _input(item: Members) -> Message | None:
    if "role" in item:
        return Message(named(item["role"]) or "", spoken(item.get("content")))
    if call := _call(item):
        return Message("assistant", tool_calls=[call])
    if text(item.get("type")).endswith("_call_output"):
        return tool_result("tool", item.get("output"), id=item.get("call_id"))
    return None


def _call(item: Members) -> ToolCall | None:
    if item.get("type") == "function_call":
        return tool_call(item.get("call_id"), item.get("name"), item.get("arguments"))
    if item.get("type") == "custom_tool_call":
        return tool_call(item.get("call_id"), item.get("name"), item.get("input"))
    return None


def answered(answer: Members) -> list[Message]:
    items = objects(member(answer, "output"))
    said = "\n".join(filter(None, (output_text(item) for item in items)))
    calls = [call for item in items if (call := _call(item))]
    return [Message("assistant", spoken(said), tool_calls=calls)] if said or calls else []


def output_text(item: Members) -> str:
    """The text in one output item."""
    return all_text(item.get("content")) if item.get("type") == "message" else ""


def told(events: Sequence[Members]) -> list[Message]:
    for event in reversed(events):
        if event.get("type") in ENDS and (whole := answered(mapping(event.get("response")))):
            return whole
    return _pieced_together(events)


def _pieced_together(events: Sequence[Members]) -> list[Message]:
    pieces = Fragments()
    calls: dict[int, ToolCall] = {}
    for event in events:
        index, kind = count(event.get("output_index")) or 0, event.get("type")
        if kind == "response.output_item.added" and (call := _call(mapping(event.get("item")))):
            calls[index] = call
        elif kind in _CALL_DELTAS:
            pieces.add(index, text(event.get("delta")))
        else:
            pieces.add("said", delta_text(event))
    for index, call in calls.items():
        call.arguments = pieces.joined(index) or call.arguments
    said = pieces.joined("said")
    return [Message("assistant", said, tool_calls=list(calls.values()))] if said or calls else []


_CALL_DELTAS: Final = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    return event.get("delta") if text(event.get("type")).endswith(".delta") else None


def delta_text(event: Members) -> str:
    """The text in one event."""
    return text(event.get("delta")) if event.get("type") in _TEXT_DELTAS else ""


_TEXT_DELTAS: Final = ("response.output_text.delta", "response.refusal.delta")

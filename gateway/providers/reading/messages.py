"""Anthropic's Messages API: content blocks; a stream tells its input tokens first and its output tokens last."""

from collections.abc import Sequence
from typing import Final

from gateway.providers.reading.content import (
    MOST_MESSAGES,
    Fragments,
    as_json,
    schemas,
    spoken,
    tool_call,
    tool_result,
)
from gateway.providers.reading.lenient import (
    Members,
    count,
    mapping,
    member,
    named,
    objects,
    text,
    word,
)
from gateway.providers.reading.stream_end import MARKER
from gateway.providers.reading.usage import tokens
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage

CLOSING: Final = ("stop_reason", "usage")


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = named(member(request, "model"))
    facts.streamed = member(request, "stream") is True


def document(facts: Facts, answer: Members) -> None:
    _begun(facts, answer)
    if reason := word(member(answer, "stop_reason")):
        facts.finish_reasons = [reason]


def opening(facts: Facts, event: Members) -> bool:
    if event.get("type") != "message_start":
        return False
    _begun(facts, mapping(event.get("message")))
    return True


def _begun(facts: Facts, message: Members) -> None:
    facts.response_id = named(member(message, "id"))
    facts.response_model = named(member(message, "model"))
    facts.usage = _with(facts.usage, mapping(member(message, "usage")))


def closing(facts: Facts, event: Members) -> bool:
    if event.get("type") != "message_delta":
        return False
    facts.usage = _with(facts.usage, mapping(event.get("usage")))
    if reason := word(mapping(event.get("delta")).get("stop_reason")):
        facts.finish_reasons = [reason]
    return True


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    kind = text(event.get("type"))
    if kind in ("message_stop", "error"):
        return MARKER
    if kind == "message_delta" and mapping(event.get("delta")).get("stop_reason"):
        return ((0, True),)
    return ((0, False),) if kind.startswith(("message_", "content_block_")) else ()


def _with(known: Usage | None, usage: Members) -> Usage | None:
    """`known`, brought up to date: counts are cumulative. What is told as input leaves cached tokens out; we do not."""
    told = Usage() if known is None else known
    read, written = tokens(usage.get("cache_read_input_tokens")), tokens(usage.get("cache_creation_input_tokens"))
    uncached = tokens(usage.get("input_tokens"))
    if uncached is None and told.input_tokens is not None:
        uncached = told.input_tokens - (told.cache_read_tokens or 0) - (told.cache_write_tokens or 0)
    told.cache_read_tokens = told.cache_read_tokens if read is None else read
    told.cache_write_tokens = told.cache_write_tokens if written is None else written
    if uncached is not None:
        told.input_tokens = uncached + (told.cache_read_tokens or 0) + (told.cache_write_tokens or 0)
    output = tokens(usage.get("output_tokens"))
    told.output_tokens = told.output_tokens if output is None else output
    thinking = count(mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    told.reasoning_tokens = told.reasoning_tokens if thinking is None else thinking
    if told.input_tokens is not None and told.output_tokens is not None:
        told.total_tokens = told.input_tokens + told.output_tokens
    return told if told != Usage() else None


def said(content: Content, request: Members) -> None:
    if system := spoken(member(request, "system")):
        content.input_messages.append(Message("system", system))
    for item in objects(member(request, "messages"))[:MOST_MESSAGES]:
        content.input_messages += _input(item)
    content.tools = schemas(member(request, "tools"))


def _input(item: Members) -> list[Message]:
    """One message; what tools answered stands in a user's message there, and is a message of its own here."""
    role, given = named(item.get("role")) or "", item.get("content")
    blocks = objects(given)
    messages = [
        tool_result("tool", block.get("content"), id=block.get("tool_use_id"))
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    said, calls = spoken(given), _calls(blocks)
    if said or calls or not messages:
        messages.append(Message(role, said, tool_calls=calls))
    return messages


def _calls(blocks: Sequence[Members]) -> list[ToolCall]:
    return [
        tool_call(block.get("id"), block.get("name"), block.get("input"))
        for block in blocks
        if block.get("type") in _CALLS
    ]


_CALLS: Final = ("tool_use", "server_tool_use", "mcp_tool_use")


def answered(answer: Members) -> list[Message]:
    blocks = objects(member(answer, "content"))
    if not blocks:
        return []
    return [Message(named(member(answer, "role")) or "assistant", spoken(blocks), tool_calls=_calls(blocks))]


def told(events: Sequence[Members]) -> list[Message]:
    blocks: dict[int, Members] = {}
    pieces = Fragments()
    for event in events:
        index = count(event.get("index")) or 0
        if event.get("type") == "content_block_start":
            blocks[index] = mapping(event.get("content_block"))
        elif event.get("type") == "content_block_delta":
            delta = mapping(event.get("delta"))
            blocks.setdefault(index, {"type": "text"})
            pieces.add(index, delta_text(event) or text(delta.get("partial_json")))
    said = [text(block.get("text")) + pieces.joined(index) for index, block in blocks.items() if _is_text(block)]
    calls = [
        tool_call(block.get("id"), block.get("name"), pieces.joined(index) or as_json(block.get("input")))
        for index, block in blocks.items()
        if block.get("type") in _CALLS
    ]
    return [Message("assistant", spoken(said), tool_calls=calls)] if blocks else []


def _is_text(block: Members) -> bool:
    return block.get("type") == "text"


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    return event.get("delta") if event.get("type") == "content_block_delta" else None


def delta_text(event: Members) -> str:
    """The text in one event; thinking is no text."""
    delta = mapping(event.get("delta"))
    return text(delta.get("text")) if delta.get("type") == "text_delta" else ""

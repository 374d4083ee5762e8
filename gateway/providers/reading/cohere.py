"""Cohere's own chat, versions 1 and 2, and its embeddings. An answer names no model.

Of two counts of tokens, those that are billed are read; cached ones are a part of the others.
"""

from collections.abc import Sequence
from typing import Any, Final

from gateway.providers.reading.content import MOST_MESSAGES, Fragments, schemas, spoken, texts, tool_call
from gateway.providers.reading.lenient import Members, count, mapping, member, named, objects, text, word
from gateway.providers.reading.stream_end import by_member
from gateway.providers.reading.usage import tokens, total_of
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage

CLOSING: Final = ("usage", "meta", "finish_reason")

_progress_v2: Final = by_member("type", "message-end", "message-", "content-", "tool-", "citation-")
_progress_v1: Final = by_member("event_type", "stream-end")


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = named(member(request, "model"))
    facts.streamed = member(request, "stream") is True


def document(facts: Facts, answer: Members) -> None:
    facts.response_id = named(member(answer, "id")) or named(member(answer, "generation_id"))
    facts.usage = _usage(member(answer, "usage")) or _usage(member(answer, "meta"))
    if reason := word(member(answer, "finish_reason")):
        facts.finish_reasons = [reason]


def opening(facts: Facts, event: Members) -> bool:
    facts.response_id = facts.response_id or named(event.get("id")) or named(event.get("generation_id"))
    return facts.response_id is not None


def closing(facts: Facts, event: Members) -> bool:
    last = mapping(event.get("delta")) if event.get("type") == "message-end" else mapping(event.get("response"))
    facts.usage = _usage(last.get("usage")) or _usage(last.get("meta"))
    reason = word(last.get("finish_reason")) or word(event.get("finish_reason"))
    if reason:
        facts.finish_reasons = [reason]
    return facts.usage is not None or reason is not None


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    return _progress_v1(event) if "event_type" in event else _progress_v2(event)


def _usage(value: Any) -> Usage | None:
    """The tokens in a member `usage` or `meta`."""
    usage = mapping(value)
    counts = mapping(usage.get("billed_units")) or mapping(usage.get("tokens"))
    inward, outward = tokens(counts.get("input_tokens")), tokens(counts.get("output_tokens"))
    if inward is None and outward is None:
        return None
    return Usage(inward, outward, total_of(inward, outward))


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    if event.get("event_type") == "text-generation":
        return event.get("text")
    return event.get("delta") if text(event.get("type")).endswith(("-delta", "tool-call-start")) else None


def said(content: Content, request: Members) -> None:
    content.embedding_texts = texts(member(request, "texts"))
    history = objects(member(request, "messages")) or objects(member(request, "chat_history"))
    content.input_messages = [_message(item) for item in history[:MOST_MESSAGES]]
    if preamble := text(member(request, "preamble")):
        content.input_messages.insert(0, Message("system", spoken(preamble)))
    if last := spoken(member(request, "message")):
        content.input_messages.append(Message("user", last))
    content.tools = schemas(member(request, "tools"))


def answered(answer: Members) -> list[Message]:
    if isinstance(message := member(answer, "message"), dict):
        return [_message(message)]
    said = spoken(member(answer, "text"))
    return [Message("assistant", said)] if said else []


def told(events: Sequence[Members]) -> list[Message]:
    message, calls = Message("assistant"), dict[int, ToolCall]()
    said, arguments = Fragments(), Fragments()
    for event in events:
        delta = mapping(mapping(event.get("delta")).get("message"))
        if event.get("event_type") == "text-generation":
            said.add(0, text(event.get("text")))
        elif event.get("type") == "content-delta":
            said.add(0, text(mapping(delta.get("content")).get("text")))
        elif call := mapping(delta.get("tool_calls")):
            at, function = count(event.get("index")) or 0, mapping(call.get("function"))
            if event.get("type") == "tool-call-start":
                calls[at] = tool_call(call.get("id"), function.get("name"), "")
            arguments.add(at, text(function.get("arguments")))
    message.content = said.joined(0)
    for at, known in calls.items():
        known.arguments = arguments.joined(at)
        message.tool_calls.append(known)
    return [message] if message.content or message.tool_calls else []


def _message(item: Members) -> Message:
    calls = [
        tool_call(call.get("id"), function.get("name"), function.get("arguments"))
        for call in objects(item.get("tool_calls"))
        if (function := mapping(call.get("function")))
    ]
    role, content = (named(item.get("role")) or "").lower(), item.get("content") or item.get("message")
    return Message(
        role=_ROLES.get(role, role),
        content=spoken(content),
        tool_call_id=named(item.get("tool_call_id")),
        tool_calls=calls,
    )


_ROLES: Final = {"chatbot": "assistant"}

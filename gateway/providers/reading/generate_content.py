"""Google's generateContent: candidates of parts; each event of a stream is a whole response, cumulative in usage."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from gateway.providers.reading.content import (
    MOST_MESSAGES,
    Fragments,
    as_json,
    clipped,
    schemas,
    spoken,
    tool_call,
    tool_result,
)
from gateway.providers.reading.lenient import Members, count, mapping, member, named, objects, text, word
from gateway.providers.reading.stream_end import MARKER
from gateway.providers.reading.usage import tokens, total_of
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage
from gateway.wire import target

CLOSING: Final = ("responseId", "modelVersion", "usageMetadata", "finishReason")


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = model_in(path)
    facts.streamed = target.lenient(path).lower().endswith(":streamgeneratecontent")
    # What counts is inside; the members beside it are settings too.
    facts.parameters = {**mapping(facts.parameters.get("generationConfig")), **facts.parameters}
    facts.parameters.pop("generationConfig", None)


def model_in(path: str) -> str | None:
    """The model that a path names: `.../models/{model}:method`."""
    model, _, _ = unquote(path.rstrip("/").rpartition("/")[2]).rpartition(":")
    return named(model)


def document(facts: Facts, answer: Members) -> None:
    opening(facts, answer)
    facts.usage = _usage(member(answer, "usageMetadata"))
    # Of an answer that is cut, the candidates are gone; what the last one told may have been found.
    candidates = objects(member(answer, "candidates")) or [{"finishReason": member(answer, "finishReason")}]
    facts.finish_reasons = [reason for item in candidates if (reason := word(item.get("finishReason")))]
    if blocked := word(mapping(member(answer, "promptFeedback")).get("blockReason")):
        facts.finish_reasons.append(blocked)


def opening(facts: Facts, event: Members) -> bool:
    facts.response_id = facts.response_id or named(member(event, "responseId"))
    facts.response_model = facts.response_model or named(member(event, "modelVersion"))
    return facts.response_id is not None and facts.response_model is not None


def closing(facts: Facts, event: Members) -> bool:
    if facts.usage is None:
        facts.usage = _usage(event.get("usageMetadata"))
    if not facts.finish_reasons:
        found = Facts()
        document(found, event)
        facts.finish_reasons = found.finish_reasons
    return facts.usage is not None and bool(facts.finish_reasons)


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    if event.get("error") or mapping(event.get("promptFeedback")).get("blockReason"):
        return MARKER
    candidates: Sequence[Members] = objects(event.get("candidates")) or (event,)
    return [
        (count(item.get("index")) or 0, bool(item.get("finishReason")))
        for item in candidates
        if item.get("finishReason") or item.get("content")
    ]


def _usage(usage: object) -> Usage | None:
    """Thoughts are billed as output, and what tools put into the prompt as input; the counts leave them out."""
    found = mapping(usage)
    thoughts = tokens(found.get("thoughtsTokenCount"))
    told = Usage(
        input_tokens=total_of(tokens(found.get("promptTokenCount")), tokens(found.get("toolUsePromptTokenCount"))),
        output_tokens=total_of(tokens(found.get("candidatesTokenCount")), thoughts),
        total_tokens=tokens(found.get("totalTokenCount")),
        cache_read_tokens=count(found.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )
    return told if told != Usage() else None


def said(content: Content, request: Members) -> None:
    for name in ("systemInstruction", "system_instruction"):
        if system := spoken(_said_parts(mapping(member(request, name)))):
            content.input_messages.append(Message("system", system))
    for item in objects(member(request, "contents"))[:MOST_MESSAGES]:
        content.input_messages += _input(item)
    content.tools = schemas(member(request, "tools"))


def _input(item: Members) -> list[Message]:
    parts = objects(item.get("parts"))
    results = [mapping(part.get("functionResponse")) for part in parts if "functionResponse" in part]
    messages = [
        tool_result("tool", as_json(result.get("response")), id=result.get("id"), name=result.get("name"))
        for result in results
    ]
    said, calls = spoken(_said_parts(item)), _calls(parts)
    if said or calls or not messages:
        messages.append(Message(named(item.get("role")) or "user", said, tool_calls=calls))
    return messages


def _said_parts(content: Members) -> list[str]:
    return [_part(part) for part in objects(content.get("parts"))]


def _part(part: Members) -> str:
    """The text of one part: thoughts are no text, and data is only named."""
    if part.get("thought") is True:
        return ""
    if said := text(part.get("text")):
        return said
    data = mapping(part.get("inlineData") or part.get("inline_data") or part.get("fileData") or part.get("file_data"))
    if not data:
        return ""
    kind = text(data.get("mimeType") or data.get("mime_type")).partition("/")[0]
    return f"[{kind}]" if kind in ("image", "audio", "video") else "[file]"


def _calls(parts: Sequence[Members]) -> list[ToolCall]:
    calls = [mapping(part.get("functionCall")) for part in parts if "functionCall" in part]
    return [tool_call(call.get("id"), call.get("name"), call.get("args")) for call in calls]


def answered(answer: Members) -> list[Message]:
    return [_output(mapping(item.get("content"))) for item in objects(member(answer, "candidates"))]


def _output(content: Members) -> Message:
    calls = _calls(objects(content.get("parts")))
    return Message(named(content.get("role")) or "model", clipped("".join(_said_parts(content))), tool_calls=calls)


def told(events: Sequence[Members]) -> list[Message]:
    messages: dict[int, Message] = {}
    pieces = Fragments()
    for event in events:
        for candidate in objects(event.get("candidates")):
            index, content = count(candidate.get("index")) or 0, mapping(candidate.get("content"))
            message = messages.setdefault(index, Message("model"))
            message.role = named(content.get("role")) or message.role
            message.tool_calls += _calls(objects(content.get("parts")))
            pieces.add(index, "".join(_said_parts(content)))
    for index, message in messages.items():
        message.content = pieces.joined(index)
    return [messages[index] for index in sorted(messages)]


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    return [mapping(candidate.get("content")).get("parts") for candidate in objects(event.get("candidates"))]


def delta_text(event: Members) -> str:
    """The text of the first candidate in one event or answer."""
    candidates = objects(event.get("candidates"))
    parts = objects(mapping(candidates[0].get("content")).get("parts")) if candidates else []
    return "".join(text(part.get("text")) for part in parts if part.get("thought") is not True)

"""Google's Interactions API: an interaction of steps; a stream tells its model first and its usage in its last event.

Source: https://ai.google.dev/api/interactions-api, and the types of google-genai 3.4.
"""

from collections.abc import Sequence
from typing import Final

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
from gateway.providers.reading.usage import tokens, total_of
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage

CLOSING: Final = ("usage",)
ENDS: Final = ("interaction.completed", "interaction.complete", "error")  # the second one until May 2026
RUNNING: Final = ("in_progress", "queued")


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = named(member(request, "model")) or named(member(request, "agent"))
    facts.streamed = member(request, "stream") is True
    # What counts is inside; the members beside it are settings too.
    facts.parameters = {**mapping(facts.parameters.get("generation_config")), **facts.parameters}
    facts.parameters.pop("generation_config", None)


def document(facts: Facts, answer: Members) -> None:
    _note_interaction(facts, answer)
    facts.usage = _usage(member(answer, "usage"))
    status = word(member(answer, "status"))
    facts.finish_reasons = [status] if status and status not in RUNNING else []


def opening(facts: Facts, event: Members) -> bool:
    _note_interaction(facts, mapping(event.get("interaction")))
    return facts.response_id is not None and facts.response_model is not None


def _note_interaction(facts: Facts, interaction: Members) -> None:
    facts.response_id = facts.response_id or named(member(interaction, "id"))
    model = named(member(interaction, "model")) or named(member(interaction, "agent"))
    facts.response_model = facts.response_model or model


def closing(facts: Facts, event: Members) -> bool:
    kind = event.get("event_type")
    if kind == "error":
        facts.finish_reasons = facts.finish_reasons or ["failed"]
    if kind not in ENDS and kind != "interaction.status_update":
        return False
    known, reasons = facts.usage, facts.finish_reasons
    document(facts, mapping(event.get("interaction")) or event)
    facts.usage, facts.finish_reasons = known or facts.usage, reasons or facts.finish_reasons
    return facts.usage is not None


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    kind = text(event.get("event_type"))
    if kind in ENDS or event.get("error"):
        return MARKER
    if kind == "interaction.status_update":
        return ((0, event.get("status") not in RUNNING),)
    return ((0, False),) if kind.startswith(("interaction.", "step.", "content.")) else ()


def _usage(usage: object) -> Usage | None:
    """Thoughts are billed as output, and what tools put into the prompt as input; the counts leave them out."""
    found = mapping(usage)
    thoughts = tokens(found.get("total_thought_tokens"))
    told = Usage(
        input_tokens=total_of(tokens(found.get("total_input_tokens")), tokens(found.get("total_tool_use_tokens"))),
        output_tokens=total_of(tokens(found.get("total_output_tokens")), thoughts),
        total_tokens=tokens(found.get("total_tokens")),
        cache_read_tokens=tokens(found.get("total_cached_tokens")),
        reasoning_tokens=thoughts,
    )
    return told if told != Usage() else None


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    return event.get("delta") if text(event.get("event_type")).endswith(".delta") else None


def said(content: Content, request: Members) -> None:
    if system := text(member(request, "system_instruction")):
        content.input_messages.append(Message("system", system))
    given = member(request, "input")
    items = objects([given] if isinstance(given, dict) else given)[:MOST_MESSAGES]
    if any(item.get("type") in _STEPS for item in items):
        content.input_messages += [message for item in items if (message := _step(item)) is not None]
    elif text_given := spoken(given if isinstance(given, str) else items):
        content.input_messages.append(Message("user", text_given))
    content.tools = schemas(member(request, "tools"))


_STEPS: Final = ("user_input", "model_output", "thought", "function_call", "function_result")


def _step(step: Members) -> Message | None:
    """One step; thoughts are no text."""
    match step.get("type"):
        case "user_input":
            return Message("user", spoken(step.get("content")))
        case "model_output":
            return Message("model", spoken(step.get("content")))
        case "function_call":
            call = tool_call(step.get("id"), step.get("name"), step.get("arguments"))
            return Message("model", tool_calls=[call])
        case "function_result":
            return tool_result("tool", step.get("result"), id=step.get("call_id"), name=step.get("name"))
    return None


def answered(answer: Members) -> list[Message]:
    steps = [_step(step) for step in objects(member(answer, "steps")) if step.get("type") in _ANSWERED]
    return _merged([step for step in steps if step is not None])


_ANSWERED: Final = ("model_output", "function_call")


def _merged(steps: Sequence[Message]) -> list[Message]:
    """One message of what a model said and called."""
    calls = [call for step in steps for call in step.tool_calls]
    return [Message("model", "".join(step.content for step in steps), tool_calls=calls)] if steps else []


def told(events: Sequence[Members]) -> list[Message]:
    steps: dict[int, Members] = {}
    pieces = Fragments()
    for event in events:
        index = count(event.get("index")) or 0
        if event.get("event_type") == "step.start":
            steps[index] = mapping(event.get("step"))
        elif event.get("event_type") == "step.delta":
            steps.setdefault(index, {"type": "model_output"})
            pieces.add(index, delta_text(event) or text(mapping(event.get("delta")).get("arguments")))
    found = [
        Message("model", tool_calls=[_call(step, pieces.joined(index))])
        if step.get("type") == "function_call"
        else Message("model", all_text(step.get("content")) + pieces.joined(index))
        for index, step in steps.items()
        if step.get("type") in _ANSWERED
    ]
    return _merged(found)


def _call(step: Members, arguments: str) -> ToolCall:
    return tool_call(step.get("id"), step.get("name"), arguments or step.get("arguments"))


def delta_text(event: Members) -> str:
    """The text in one event; a summary of thoughts is none."""
    delta = mapping(event.get("delta"))
    return text(delta.get("text")) if delta.get("type") == "text" else ""


def answer_text(answer: Members) -> str:
    """The text of a whole interaction."""
    outputs = [step for step in objects(answer.get("steps")) if step.get("type") == "model_output"]
    return "".join(all_text(step.get("content")) for step in outputs)

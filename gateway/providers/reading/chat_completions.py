"""OpenAI's chat completions, and the legacy text completions, which tell all but the text in the same members."""

import re
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import unquote

import msgspec

from gateway.providers.reading.asked import Asked
from gateway.providers.reading.content import MOST_MESSAGES, Fragments, all_text, schemas, spoken, texts, tool_call
from gateway.providers.reading.lenient import (
    LONGEST_NAME,
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
from gateway.providers.reading.usage import MAX_UNSEEN, tokens
from gateway.telemetry.exchange import Content, Facts, Message, ToolCall, Usage

NO_USAGE: Final = Usage()
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_UNSEEN)] | None
_Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
CLOSING: Final = ("model", "usage", "finish_reason")


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Tokens | msgspec.UnsetType = msgspec.UNSET
    cache_write_tokens: Tokens = None


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Tokens = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Tokens = None
    completion_tokens: Tokens = None
    total_tokens: Tokens = None
    prompt_cache_hit_tokens: Tokens = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Choice(msgspec.Struct, gc=False):
    finish_reason: _Name | None = None


class _Answer(msgspec.Struct, gc=False):
    id: _Name
    model: _Name
    usage: _Usage
    choices: list[_Choice]


_answer = msgspec.json.Decoder(_Answer)


def glance(operation: str, asked: Asked, answer: bytes) -> Facts | None:
    """What a unary answer of the usual shape tells, at a fifth of the cost; None if it is of another."""
    try:
        told = _answer.decode(answer)
    except (ValueError, RecursionError):
        return None
    usage, choices = told.usage, told.choices
    total = usage.total_tokens
    if total is not None and total < (usage.prompt_tokens or 0) + (usage.completion_tokens or 0):
        return None
    prompt, completion = usage.prompt_tokens_details or _NO_PROMPT, usage.completion_tokens_details
    cached = prompt.cached_tokens
    noted = Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        total,
        usage.prompt_cache_hit_tokens if cached is msgspec.UNSET else cached,
        prompt.cache_write_tokens,
        None if completion is None else completion.reasoning_tokens,
    )
    reasons = [reason for choice in choices if (reason := word(choice.finish_reason))]
    return Facts(
        operation,
        asked.model,
        told.model or None,
        told.id or None,
        False,
        reasons,
        noted if noted != NO_USAGE else None,
        asked.parameters,
    )


_NO_PROMPT: Final = _PromptDetails()


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = deployment_in(path) or named(member(request, "model"))
    facts.streamed = member(request, "stream") is True


def deployment_in(path: str) -> str | None:
    """The model that a path names, as Azure's do; whatever the body says then counts for nothing."""
    found = _DEPLOYMENT.search(path)
    return named(unquote(found.group(1))) if found else None


_DEPLOYMENT: Final = re.compile(r"/(?:deployments|engines)/+([^/]+)/", re.IGNORECASE)


def document(facts: Facts, answer: Members) -> None:
    opening(facts, answer)
    facts.usage = usage_of(answer)
    # Of an answer that is cut, the choices are gone; what the last one told may have been found.
    choices = objects(member(answer, "choices")) or [{"finish_reason": member(answer, "finish_reason")}]
    facts.finish_reasons = [reason for choice in choices if (reason := word(choice.get("finish_reason")))]


def opening(facts: Facts, event: Members) -> bool:
    facts.response_id = facts.response_id or named(member(event, "id"))
    # Azure's first event has an empty model.
    facts.response_model = facts.response_model or named(member(event, "model"))
    return facts.response_id is not None and facts.response_model is not None


def closing(facts: Facts, event: Members) -> bool:
    if facts.usage is None:
        facts.usage = usage_of(event)
    reasons = [reason for choice in objects(event.get("choices")) if (reason := word(choice.get("finish_reason")))]
    facts.finish_reasons[:0] = reasons
    # Several choices end one after the other, and usage is told with the last of them or after it.
    return bool(facts.finish_reasons) and not reasons


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    if is_failure(event):
        return MARKER
    if isinstance(event.get("stop"), bool):  # as llama.cpp's own `/completion` tells it, once for each prompt
        return ((count(event.get("index")) or 0, event["stop"]),)
    choices: Sequence[Members] = objects(event.get("choices")) or (event,)
    mentions = [(count(choice.get("index")) or 0, bool(choice.get("finish_reason")), choice) for choice in choices]
    return [(index, finished) for index, finished, choice in mentions if finished or _speaks(choice, event)]


def _speaks(choice: Members, event: Members) -> bool:
    """Whether a choice begins or goes on; after its finish it may stand there once more, empty, beside the usage."""
    delta = mapping(choice.get("delta"))
    if choice.get("text") or choice.get("message") or any(delta[name] for name in delta if name != "role"):
        return True
    return "role" in delta and not event.get("usage")


def is_failure(event: Members) -> bool:
    """Whether an event is the upstream's own error, of any of OpenAI's APIs."""
    return bool(event.get("error")) or event.get("type") in ("error", "response.failed")


def usage_of(answer: Members) -> Usage | None:
    """Tokens as an answer or event tells them: in `usage`, at Groq in `x_groq`, in Moonshot's streams in a choice."""
    usage = member(answer, "usage") or mapping(member(answer, "x_groq")).get("usage")
    if not usage:
        usage = next((choice["usage"] for choice in objects(member(answer, "choices")) if choice.get("usage")), None)
    if not isinstance(usage, dict):
        return None
    prompt, completion = mapping(usage.get("prompt_tokens_details")), mapping(usage.get("completion_tokens_details"))
    told = Usage(
        input_tokens=tokens(usage.get("prompt_tokens")),
        output_tokens=tokens(usage.get("completion_tokens")),
        total_tokens=tokens(usage.get("total_tokens")),
        cache_read_tokens=count(prompt.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))),
        cache_write_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=count(completion.get("reasoning_tokens")),
    )
    return told if told != NO_USAGE else None


def said(content: Content, request: Members) -> None:
    content.input_messages = [_message(item) for item in objects(member(request, "messages"))[:MOST_MESSAGES]]
    if not content.input_messages:
        content.input_messages = [Message("user", prompt) for prompt in texts(member(request, "prompt"))]
    content.tools = schemas(member(request, "tools") or member(request, "functions"))


def answered(answer: Members) -> list[Message]:
    return [
        _message(choice["message"]) if isinstance(choice.get("message"), dict) else _completion(choice)
        for choice in objects(member(answer, "choices"))
    ]


def told(events: Sequence[Members]) -> list[Message]:
    messages: dict[int, Message] = {}
    calls: dict[tuple[int, int], ToolCall] = {}
    said, arguments = Fragments(), Fragments()
    for event in events:
        for choice in objects(event.get("choices")):
            index = count(choice.get("index")) or 0
            if index not in messages:
                messages[index] = Message("assistant")
            if piece := delta_text(choice):
                said.add(index, piece)
            for fragment in objects(mapping(choice.get("delta")).get("tool_calls")):
                message = messages[index]
                key = (index, _number(fragment, len(message.tool_calls)))
                if key not in calls:
                    calls[key] = ToolCall("", "", "")
                    message.tool_calls.append(calls[key])
                arguments.add(key, _take_over(calls[key], fragment))
    for index, message in messages.items():
        message.content = said.joined(index)
    for key, call in calls.items():
        call.arguments = arguments.joined(key)
    return [messages[index] for index in sorted(messages)]


def _number(fragment: Members, known: int) -> int:
    """Calls come in pieces, told apart by their index; where it is missing, a piece with an id begins a new one."""
    number = count(fragment.get("index"))
    if number is not None:
        return number
    return known if fragment.get("id") or not known else known - 1


def _take_over(call: ToolCall, fragment: Members) -> str:
    """Note what a piece tells of `call`; the arguments in it."""
    function = mapping(fragment.get("function"))
    call.id = call.id or named(fragment.get("id")) or ""
    call.name = call.name or named(function.get("name")) or ""
    return text(function.get("arguments"))


def generated(event: Members) -> object:
    """What a model wrote, in one event."""
    return [choice.get("delta") or choice.get("text") for choice in objects(event.get("choices"))]


def delta_text(choice: Members) -> str:
    """The text in one choice of an event, of either API."""
    if "delta" not in choice:
        return text(choice.get("text"))
    delta = mapping(choice["delta"])
    content = delta.get("content")
    return all_text(content) or text(delta.get("refusal"))


def _message(item: Members) -> Message:
    calls = []
    for call in objects(item.get("tool_calls")):
        function = mapping(call.get("function") or call.get("custom"))
        calls.append(tool_call(call.get("id"), function.get("name"), function.get("arguments", function.get("input"))))
    return Message(
        role=named(item.get("role")) or "",
        content=spoken(item.get("content")) or text(item.get("refusal")),
        name=named(item.get("name")),
        tool_call_id=named(item.get("tool_call_id")),
        tool_calls=calls,
    )


def _completion(choice: Members) -> Message:
    return Message("assistant", spoken(choice.get("text")))

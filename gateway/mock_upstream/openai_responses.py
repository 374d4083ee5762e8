"""OpenAI's Responses API: items instead of choices, and a stream of named, numbered events around one response."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from gateway.mock_upstream.answers import Answer, Call, Finish, Json, Question, Tool, last_text, tokens
from gateway.mock_upstream.body import member, objects, said_last, whole_number
from gateway.mock_upstream.openai_chat import chosen
from gateway.mock_upstream.openai_dialect import type_and_code
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import EVENT_STREAM, Frame, Part, event

_TOOL_RESULT = "function_call_output"
_MODELS_OWN = frozenset({"function_call", "reasoning"})


def ask(body: Json, model: str) -> Question:
    """The question in a `POST /v1/responses`."""
    items = _items(body)
    last = said_last([item for item in items if item.get("type") not in _MODELS_OWN], "assistant")
    tools = [
        Tool(str(tool.get("name")), member(tool, "parameters"))
        for tool in objects(body.get("tools"))
        if tool.get("type") == "function"
    ]
    choice, left = chosen(body.get("tool_choice"), member(body, "tool_choice"), tools)
    return Question(
        model=model,
        text=last_text(last),
        from_tool=last.get("type") == _TOOL_RESULT,
        input_tokens=tokens(body.get("instructions"), *items),
        max_tokens=whole_number(body.get("max_output_tokens")),
        tools=left,
        choice=choice,
        form=_form(member(member(body, "text"), "format")),
    )


@dataclass(frozen=True, slots=True)
class ResponsesReply:
    """A `response`, or the events that build one up."""

    body: Json
    answer: Answer
    seed: str
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = EVENT_STREAM

    def document(self) -> Json:
        items = [self._call(at, call, call.arguments) for at, call in enumerate(self.answer.calls)]
        return self._response(self._ending, items or [self._message(self._ending, [_text(self.answer.text)])])

    def frames(self) -> Iterator[Frame]:
        numbers = count()
        for part, kind, told in self._events():
            yield Frame(event({"type": kind, "sequence_number": next(numbers), **told}, kind), part)

    def failure(self, status: int, message: str, before: int) -> bytes:
        kind, code = type_and_code(status)
        told = {"code": code or kind, "message": message, "param": None, "sequence_number": before}
        return event({"type": "error", **told}, "error")

    def _events(self) -> Iterator[tuple[Part, str, Json]]:
        begun = {"response": self._response("in_progress", [])}
        yield Part.FRAME, "response.created", begun
        yield Part.FRAME, "response.in_progress", begun
        if not self.answer.calls:
            yield from self._message_events()
        for at, call in enumerate(self.answer.calls):
            yield from self._call_events(at, call)
        yield Part.MARKER, f"response.{self._ending}", {"response": self.document()}

    def _message_events(self) -> Iterator[tuple[Part, str, Json]]:
        item_at = {"output_index": 0}
        part_at = {"item_id": f"msg_{self.seed[:24]}", "output_index": 0, "content_index": 0}
        whole = self.answer.text
        yield Part.FRAME, "response.output_item.added", item_at | {"item": self._message("in_progress", [])}
        yield Part.FRAME, "response.content_part.added", part_at | {"part": _text("")}
        for word in self.answer.words:
            yield Part.DELTA, "response.output_text.delta", part_at | {"delta": word, "logprobs": []}
        yield Part.FRAME, "response.output_text.done", part_at | {"text": whole, "logprobs": []}
        yield Part.FRAME, "response.content_part.done", part_at | {"part": _text(whole)}
        yield Part.FRAME, "response.output_item.done", item_at | {"item": self._message(self._ending, [_text(whole)])}

    def _call_events(self, at: int, call: Call) -> Iterator[tuple[Part, str, Json]]:
        begun, done = self._call(at, call, ""), self._call(at, call, call.arguments)
        where = {"item_id": begun["id"], "output_index": at}
        yield Part.FRAME, "response.output_item.added", {"output_index": at, "item": begun | {"status": "in_progress"}}
        for fragment in call.fragments:
            yield Part.DELTA, "response.function_call_arguments.delta", where | {"delta": fragment}
        told = {"name": call.name, "arguments": call.arguments}
        yield Part.FRAME, "response.function_call_arguments.done", where | told
        yield Part.FRAME, "response.output_item.done", {"output_index": at, "item": done}

    @property
    def _ending(self) -> str:
        return "incomplete" if self.answer.finish is Finish.LENGTH else "completed"

    def _response(self, status: str, output: list[Json]) -> Json:
        over = status != "in_progress"
        return {
            "id": f"resp_{self.seed[:24]}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": self.body.get("instructions"),
            "max_output_tokens": self.body.get("max_output_tokens"),
            "metadata": member(self.body, "metadata"),
            "model": self.answer.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self.body.get("previous_response_id"),
            "temperature": self.body.get("temperature", 1.0),
            "tool_choice": self.body.get("tool_choice", "auto"),
            "tools": objects(self.body.get("tools")),
            "top_p": self.body.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": _usage(self.answer) if over else None,
        }

    def _message(self, status: str, content: list[Json]) -> Json:
        return {
            "id": f"msg_{self.seed[:24]}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _call(self, at: int, call: Call, arguments: str) -> Json:
        number = f"{self.seed[:20]}{at:02}"
        return {
            "id": f"fc_{number}",
            "type": "function_call",
            "call_id": f"call_{number}",
            "name": call.name,
            "arguments": arguments,
            "status": "completed",
        }


def _items(body: Json) -> list[Json]:
    """The input as items, whichever way it was given."""
    given = body.get("input", [])
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise Refusal(400, "'input' must be a JSON string or array.")
    return objects(given)


def _usage(answer: Answer) -> Json:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.total_tokens,
    }


def _text(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _form(wanted: Json) -> Json | None:
    """The schema of a JSON answer; None for text."""
    if wanted.get("type") == "json_schema":
        return member(wanted, "schema")
    return {} if wanted.get("type") == "json_object" else None

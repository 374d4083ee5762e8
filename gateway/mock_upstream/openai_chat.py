"""OpenAI's chat completions, and the older completions, which differ only in where a choice has its text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.mock_upstream.answers import (
    Answer,
    Call,
    Choice,
    Finish,
    Json,
    Question,
    Tool,
    cached_tokens,
    last_text,
    tokens,
)
from gateway.mock_upstream.answers import texts as texts_of
from gateway.mock_upstream.body import member, objects, required, said_last, strings, whole_number
from gateway.mock_upstream.openai_dialect import error
from gateway.mock_upstream.sending import EVENT_STREAM, Frame, Part, event

DONE = Frame(b"data: [DONE]\n\n", Part.MARKER)
_FINISH = {Finish.STOP: "stop", Finish.STOP_SEQUENCE: "stop", Finish.LENGTH: "length", Finish.TOOL: "tool_calls"}
_MOST_CHOICES = 16


def ask_chat(body: Json, model: str) -> Question:
    """The question in a `POST /v1/chat/completions`."""
    messages = objects(required(body, "messages", list))
    last = said_last(messages, "assistant")
    functions = [member(tool, "function") for tool in objects(body.get("tools"))]
    tools = [Tool(str(function.get("name")), member(function, "parameters")) for function in functions]
    choice, left = chosen(body.get("tool_choice"), member(member(body, "tool_choice"), "function"), tools)
    return Question(
        model=model,
        text=last_text(last),
        from_tool=last.get("role") == "tool",
        input_tokens=tokens(*messages),
        cached_tokens=sum(cached_tokens(message.get("content")) for message in messages),
        max_tokens=whole_number(body.get("max_completion_tokens") or body.get("max_tokens")),
        stop=strings(body.get("stop")),
        tools=left,
        choice=choice,
        form=_form(member(body, "response_format")),
    )


def ask_completion(body: Json, model: str) -> Question:
    """The question in a `POST /v1/completions`."""
    prompt = body.get("prompt", "")
    return Question(
        model=model,
        text=" ".join(texts_of(prompt)),
        input_tokens=tokens(prompt),
        max_tokens=whole_number(body.get("max_tokens")),
        stop=strings(body.get("stop")),
    )


def chosen(choice: object, named: Json, tools: Sequence[Tool]) -> tuple[Choice, Sequence[Tool]]:
    """What a `tool_choice` leaves of the tools: "none", "auto", "required", or an object that names one."""
    if isinstance(choice, dict):
        return Choice.ANY, [tool for tool in tools if tool.name == named.get("name")]
    return {"none": Choice.NONE, "required": Choice.ANY}.get(str(choice), Choice.AUTO), tools


def usage(answer: Answer, choices: int) -> Json:
    """The usage of so many choices with the same answer."""
    output = answer.output_tokens * choices
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": output,
        "total_tokens": answer.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A `chat.completion`, or its chunks."""

    body: Json
    answer: Answer
    seed: str
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = EVENT_STREAM

    def document(self) -> Json:
        message: Json = {"role": "assistant", "content": self.answer.text, "refusal": None, "annotations": []}
        if self.answer.calls:
            calls = enumerate(self.answer.calls)
            message |= {"content": None, "tool_calls": [self._call(at, call, call.arguments) for at, call in calls]}
        choice = {"message": message, "logprobs": None, "finish_reason": _FINISH[self.answer.finish]}
        choices = [{"index": index, **choice} for index in self._indices]
        return self._envelope("chat.completion", choices) | {"usage": usage(self.answer, len(choices))}

    def frames(self) -> Iterator[Frame]:
        content = None if self.answer.calls else ""
        yield from self._chunks({"role": "assistant", "content": content, "refusal": None})
        for word in self.answer.words:
            yield from self._chunks({"content": word}, Part.DELTA)
        for at, call in enumerate(self.answer.calls):
            yield from self._chunks({"tool_calls": [{"index": at, **self._call(at, call, "")}]})
            for fragment in call.fragments:
                yield from self._chunks(
                    {"tool_calls": [{"index": at, "function": {"arguments": fragment}}]}, Part.DELTA
                )
        yield from self._chunks({}, finish=_FINISH[self.answer.finish])
        if self._tells_usage:
            told = usage(self.answer, len(self._indices))
            yield Frame(event(self._envelope("chat.completion.chunk", []) | {"usage": told}))
        yield DONE

    def failure(self, status: int, message: str, before: int) -> bytes:
        return event(error(status, message))

    @property
    def _indices(self) -> range:
        return range(choices_asked(self.body))

    @property
    def _tells_usage(self) -> bool:
        return tells_usage(self.body)

    def _chunks(self, delta: Json, part: Part = Part.FRAME, finish: str | None = None) -> Iterator[Frame]:
        """A chunk for each choice."""
        for index in self._indices:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            chunk = self._envelope("chat.completion.chunk", [choice])
            yield Frame(event(chunk | {"usage": None} if self._tells_usage else chunk), part)

    def _call(self, at: int, call: Call, arguments: str) -> Json:
        function = {"name": call.name, "arguments": arguments}
        return {"id": f"call_{self.seed[:20]}{at:02}", "type": "function", "function": function}

    def _envelope(self, kind: str, choices: list[Json]) -> Json:
        return {
            "id": f"chatcmpl-{self.seed[:24]}",
            "object": kind,
            "created": self.created,
            "model": self.answer.model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
            "choices": choices,
        }


@dataclass(frozen=True, slots=True)
class CompletionReply:
    """A `text_completion`, or its chunks, which are of the same kind."""

    body: Json
    answer: Answer
    seed: str
    created: int = field(default_factory=lambda: int(time.time()))
    content_type: str = EVENT_STREAM

    def document(self) -> Json:
        finish = _FINISH[self.answer.finish]
        choices = [_text_choice(index, self.answer.text, finish) for index in range(choices_asked(self.body))]
        return self._envelope(choices) | {"usage": usage(self.answer, len(choices))}

    def frames(self) -> Iterator[Frame]:
        choices = range(choices_asked(self.body))
        for word in self.answer.words:
            for index in choices:
                yield Frame(event(self._envelope([_text_choice(index, word, None)])), Part.DELTA)
        for index in choices:
            yield Frame(event(self._envelope([_text_choice(index, "", _FINISH[self.answer.finish])])))
        if tells_usage(self.body):
            yield Frame(event(self._envelope([]) | {"usage": usage(self.answer, len(choices))}))
        yield DONE

    def failure(self, status: int, message: str, before: int) -> bytes:
        return event(error(status, message))

    def _envelope(self, choices: list[Json]) -> Json:
        return {
            "id": f"cmpl-{self.seed[:24]}",
            "object": "text_completion",
            "created": self.created,
            "model": self.answer.model,
            "choices": choices,
        }


def choices_asked(body: Json) -> int:
    return min(whole_number(body.get("n")) or 1, _MOST_CHOICES)


def tells_usage(body: Json) -> bool:
    """Whether a stream ends with a chunk that has no choice and the usage."""
    return member(body, "stream_options").get("include_usage") is True


def _text_choice(index: int, text: str, finish: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _form(response_format: Json) -> Json | None:
    """The schema of a JSON answer; None for text."""
    if response_format.get("type") == "json_schema":
        return member(member(response_format, "json_schema"), "schema")
    return {} if response_format.get("type") == "json_object" else None

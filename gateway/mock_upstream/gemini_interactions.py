"""Google's Interactions API: steps instead of candidates, kept to be read or streamed again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.mock_upstream.answers import Answer, Call, Choice, Finish, Json, Question, Tool, texts, tokens
from gateway.mock_upstream.asking import begin, reply_to
from gateway.mock_upstream.body import member, objects, read_json, strings, whole_number
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import EVENT_STREAM, Frame, Part, event, send

INTERACTIONS = web.AppKey("INTERACTIONS", dict[str, "InteractionReply"])
MAX_KEPT = 500
_CHOICES = {"none": Choice.NONE, "any": Choice.ANY}


def routes() -> list[web.RouteDef]:
    path = "/{version:v1|v1beta}/interactions"
    return [web.post(path, create), web.get(f"{path}/{{id}}", read_again)]


async def create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    model = body.get("model") or body.get("agent")
    if not isinstance(model, str):
        raise Refusal(400, "Either 'model' or 'agent' is required.")

    def shape(body: Json, answer: Answer, seed: str) -> InteractionReply:
        reply, kept = InteractionReply(body, answer, seed), request.app[INTERACTIONS]
        if body.get("store") is not False:
            if len(kept) >= MAX_KEPT:
                kept.clear()
            kept[reply.id] = reply
        return reply

    return await reply_to(request, body, model, ask, shape, streamed=body.get("stream") is True)


async def read_again(request: web.Request) -> web.StreamResponse:
    """A stored interaction, as a document or as the stream it was."""
    behaviour, _ = await begin(request)
    kept = request.app[INTERACTIONS].get(request.match_info["id"])
    if kept is None:
        raise Refusal(404, "There is no such interaction.")
    return await send(request, kept, behaviour, request.query.get("stream") == "true")


def ask(body: Json, model: str) -> Question:
    """The question in a `POST /v1beta/interactions`."""
    steps = _steps(body.get("input"))
    last = next((step for step in reversed(steps) if step.get("type") != "model_output"), {})
    settings = member(body, "generation_config")
    tools = [
        Tool(str(tool.get("name")), member(tool, "parameters"))
        for tool in objects(body.get("tools"))
        if tool.get("type") == "function"
    ]
    return Question(
        model=model,
        text=" ".join(texts(last)),
        from_tool=last.get("type") == "function_result",
        input_tokens=tokens(body.get("system_instruction"), *steps),
        max_tokens=whole_number(settings.get("max_output_tokens")),
        stop=strings(settings.get("stop_sequences")),
        tools=tools,
        choice=_CHOICES.get(str(settings.get("tool_choice")), Choice.AUTO),
        form=_form(body.get("response_format")),
    )


@dataclass(frozen=True, slots=True)
class InteractionReply:
    """An `interaction`, or the events that build one up."""

    body: Json
    answer: Answer
    seed: str
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    content_type: str = EVENT_STREAM

    @property
    def id(self) -> str:
        return f"v1_{self.seed[:24]}"

    def document(self) -> Json:
        output = {"type": "model_output", "content": [{"type": "text", "text": self.answer.text}]}
        calls = [self._call(at, call) | {"arguments": call.parsed} for at, call in enumerate(self.answer.calls)]
        return self._interaction(self._ending) | {"steps": calls or [output]}

    def frames(self) -> Iterator[Frame]:
        for part, kind, told in self._events():
            yield Frame(event({**told, "event_type": kind}, kind), part)
        yield Frame(b"event: done\ndata: [DONE]\n\n", Part.MARKER)

    def failure(self, status: int, message: str, before: int) -> bytes:
        return event({"error": {"code": str(status), "message": message}, "event_type": "error"}, "error")

    def _events(self) -> Iterator[tuple[Part, str, Json]]:
        yield Part.FRAME, "interaction.created", {"interaction": self._interaction("in_progress")}
        yield Part.FRAME, "interaction.status_update", {"interaction_id": self.id, "status": "in_progress"}
        if not self.answer.calls:
            words = [{"type": "text", "text": word} for word in self.answer.words]
            yield from _step(0, {"type": "model_output"}, words)
        for at, call in enumerate(self.answer.calls):
            pieces = [{"type": "arguments_delta", "arguments": fragment} for fragment in call.fragments]
            yield from _step(at, self._call(at, call), pieces)
        yield Part.MARKER, "interaction.completed", {"interaction": self._interaction(self._ending)}

    @property
    def _ending(self) -> str:
        if self.answer.calls:
            return "requires_action"
        return "incomplete" if self.answer.finish is Finish.LENGTH else "completed"

    def _interaction(self, status: str) -> Json:
        over = status != "in_progress"
        named: Json = {name: self.answer.model for name in ("model", "agent") if name in self.body}
        times = {"created": self.created, "updated": self.created}
        usage = {"usage": self._usage()} if over else {}
        return {"id": self.id, "status": status, "object": "interaction", **named, **times, **usage}

    def _call(self, at: int, call: Call) -> Json:
        return {"type": "function_call", "id": f"call_{self.seed[:20]}{at:02}", "name": call.name, "arguments": {}}

    def _usage(self) -> Json:
        return {
            "total_tokens": self.answer.total_tokens,
            "total_input_tokens": self.answer.input_tokens,
            "total_cached_tokens": 0,
            "total_output_tokens": self.answer.output_tokens,
            "total_tool_use_tokens": 0,
            "total_thought_tokens": 0,
        }


def _step(at: int, step: Json, deltas: list[Json]) -> Iterator[tuple[Part, str, Json]]:
    yield Part.FRAME, "step.start", {"index": at, "step": step}
    for delta in deltas:
        yield Part.DELTA, "step.delta", {"index": at, "delta": delta}
    yield Part.FRAME, "step.stop", {"index": at}


def _steps(given: Any) -> list[Json]:
    """The input as steps, whichever way it was given."""
    if isinstance(given, str):
        return [{"type": "user_input", "content": given}]
    if not isinstance(given, list | dict):
        raise Refusal(400, "'input' is required: a string, contents or steps.")
    items = objects([given] if isinstance(given, dict) else given)
    if any("content" in item or "result" in item for item in items):
        return [{**item, "content": item.get("content", item.get("result"))} for item in items]
    return [{"type": "user_input", "content": items}]


def _form(wanted: Any) -> Json | None:
    """The schema of a JSON answer; None for text."""
    for form in objects([wanted] if isinstance(wanted, dict) else wanted):
        if form.get("mime_type") == "application/json":
            return member(form, "schema")
    return None

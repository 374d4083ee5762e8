"""The Anthropic-shaped routes: messages, streamed as named events around content blocks, and counting their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import web

from gateway.mock_upstream.answers import Answer, Choice, Finish, Json, Question, Tool, cached_tokens, last_text, tokens
from gateway.mock_upstream.asking import begin, reply_to
from gateway.mock_upstream.body import member, objects, read_json, required, said_last, strings, whole_number
from gateway.mock_upstream.dialect import Dialect
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import EVENT_STREAM, Frame, Part, event, send_document

MODELS = ("claude-mock", "claude-mock-mini")
_CREATED = "2025-01-01T00:00:00Z"
_WITHOUT_SAMPLING = "2026-10-21"
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_FINISH = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL: "tool_use",
}
_CHOICES = {"none": Choice.NONE, "any": Choice.ANY, "tool": Choice.ANY}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/messages", create),
        web.post("/v1/messages/count_tokens", count_tokens),
    ]


async def create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    if request.headers.get("anthropic-version", "") >= _WITHOUT_SAMPLING:
        for name in _SAMPLING & body.keys():
            raise Refusal(400, f"{name}: Extra inputs are not permitted")
    model = required(body, "model", str)
    return await reply_to(request, body, model, ask, MessageReply, streamed=body.get("stream") is True)


async def count_tokens(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, model = await begin(request, required(body, "model", str))
    return await send_document(request, {"input_tokens": _question(body, model).input_tokens}, behaviour)


def ask(body: Json, model: str) -> Question:
    """The question in a `POST /v1/messages`."""
    if whole_number(body.get("max_tokens")) is None:
        raise Refusal(400, "max_tokens: Field required")
    return _question(body, model)


def error(status: int, message: str, request_id: str) -> Json:
    kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


@dataclass(frozen=True, slots=True)
class MessageReply:
    """A `message`, or the events that build one up."""

    body: Json
    answer: Answer
    seed: str
    content_type: str = EVENT_STREAM

    def document(self) -> Json:
        content = [self._tool_use(at) for at in range(len(self.answer.calls))]
        if not content:
            content = [{"type": "text", "text": self.answer.text}]
        return self._message(content) | {**self._stop(), "usage": self._usage(self.answer.output_tokens)}

    def frames(self) -> Iterator[Frame]:
        # The output is counted at the end; what the start says of it is a beginning, as in the real API.
        begun = self._message([]) | {"usage": self._usage(min(1, self.answer.output_tokens))}
        yield _frame("message_start", {"message": begun})
        yield _frame("ping", {})
        if not self.answer.calls:
            deltas = ({"type": "text_delta", "text": word} for word in self.answer.words)
            yield from _block(0, {"type": "text", "text": ""}, deltas)
        for at, call in enumerate(self.answer.calls):
            deltas = ({"type": "input_json_delta", "partial_json": fragment} for fragment in call.fragments)
            yield from _block(at, self._tool_use(at) | {"input": {}}, deltas)
        yield _frame("message_delta", {"delta": self._stop(), "usage": self._usage(self.answer.output_tokens)})
        yield _frame("message_stop", {}, Part.MARKER)

    def failure(self, status: int, message: str, before: int) -> bytes:
        return event(error(status, message, f"req_{self.seed[:24]}"), "error")

    def _message(self, content: list[Json]) -> Json:
        return {
            "id": f"msg_{self.seed[:24]}",
            "type": "message",
            "role": "assistant",
            "model": self.answer.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _tool_use(self, at: int) -> Json:
        call = self.answer.calls[at]
        return {"type": "tool_use", "id": f"toolu_{self.seed[:20]}{at:02}", "name": call.name, "input": call.parsed}

    def _stop(self) -> Json:
        return {"stop_reason": _FINISH[self.answer.finish], "stop_sequence": self.answer.stop_sequence}

    def _usage(self, output_tokens: int) -> Json:
        """Anthropic counts what came from the cache apart from the other input."""
        return {
            "input_tokens": self.answer.input_tokens - self.answer.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": self.answer.cached_tokens,
            "output_tokens": output_tokens,
        }


def _question(body: Json, model: str) -> Question:
    messages = objects(required(body, "messages", list))
    last = said_last(messages, "assistant")
    choice = member(body, "tool_choice")
    tools = [Tool(str(tool.get("name")), member(tool, "input_schema")) for tool in objects(body.get("tools"))]
    if choice.get("type") == "tool":
        tools = [tool for tool in tools if tool.name == choice.get("name")]
    form = member(member(body, "output_config"), "format")
    return Question(
        model=model,
        text=last_text(last),
        from_tool=any(part.get("type") == "tool_result" for part in objects(last.get("content"))),
        input_tokens=tokens(body.get("system"), *messages),
        cached_tokens=cached_tokens([body.get("system"), *messages]),
        max_tokens=whole_number(body.get("max_tokens")),
        stop=strings(body.get("stop_sequences")),
        tools=tools,
        choice=_CHOICES.get(str(choice.get("type")), Choice.AUTO),
        form=member(form, "schema") if form.get("type") == "json_schema" else None,
    )


def _block(index: int, begun: Json, deltas: Iterator[Json]) -> Iterator[Frame]:
    yield _frame("content_block_start", {"index": index, "content_block": begun})
    for delta in deltas:
        yield _frame("content_block_delta", {"index": index, "delta": delta}, Part.DELTA)
    yield _frame("content_block_stop", {"index": index})


def _frame(kind: str, told: Json, part: Part = Part.FRAME) -> Frame:
    return Frame(event({"type": kind, **told}, kind), part)


def _model(name: str) -> Json:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _CREATED,
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def _models() -> Json:
    data = [_model(name) for name in MODELS]
    return {"data": data, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}


def _head(request_id: str) -> dict[str, str]:
    return {
        "request-id": request_id,
        "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-requests-reset": _CREATED,
        "anthropic-ratelimit-tokens-limit": "400000",
        "anthropic-ratelimit-tokens-remaining": "399000",
        "anthropic-ratelimit-tokens-reset": _CREATED,
    }


# An API key comes in x-api-key, an OAuth token as a bearer; clients use either for keys.
ANTHROPIC = Dialect(
    name="anthropic",
    credentials={"x-api-key": "", "authorization": "Bearer "},
    head=_head,
    error=error,
    model=_model,
    models=_models,
)

"""The Gemini-shaped routes: the model and the verb in the path, a stream of events or a growing JSON array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from gateway.mock_upstream.answers import Answer, Choice, Finish, Json, Question, Tool, last_text, texts, tokens
from gateway.mock_upstream.asking import begin, reply_to
from gateway.mock_upstream.body import objects, read_json, said_last, strings, whole_number
from gateway.mock_upstream.dialect import Dialect
from gateway.mock_upstream.embeddings import dimensions, vector
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import EVENT_STREAM, Frame, Part, event, send_document

MODELS = ("mock-model", "mock-model-mini", "mock-embedding")
_FINISH = {Finish.LENGTH: "MAX_TOKENS"}
_CHOICES = {"NONE": Choice.NONE, "ANY": Choice.ANY}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}


def routes() -> list[web.RouteDef]:
    model = "/{version:v1|v1beta}/models/{model:[^:/]+}"
    return [
        web.post(f"{model}:generateContent", generate),
        web.post(f"{model}:streamGenerateContent", generate_stream),
        web.post(f"{model}:countTokens", count_tokens),
        web.post(f"{model}:embedContent", embed),
        web.post(f"{model}:batchEmbedContents", embed_batch),
    ]


async def generate(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    return await reply_to(request, body, request.match_info["model"], ask, GenerateReply, streamed=False)


async def generate_stream(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    shape = partial(GenerateReply, events=request.query.get("alt") == "sse")
    return await reply_to(request, body, request.match_info["model"], ask, shape, streamed=True)


async def count_tokens(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, model = await begin(request, request.match_info["model"])
    count = ask(_object(body, "generateContentRequest") or body, model).input_tokens
    details = [{"modality": "TEXT", "tokenCount": count}]
    return await send_document(request, {"totalTokens": count, "promptTokensDetails": details}, behaviour)


async def embed(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, _ = await begin(request, request.match_info["model"])
    return await send_document(request, {"embedding": _embedding(body)}, behaviour)


async def embed_batch(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, _ = await begin(request, request.match_info["model"])
    document = {"embeddings": [_embedding(one) for one in objects(body.get("requests"))]}
    return await send_document(request, document, behaviour)


def ask(body: Json, model: str) -> Question:
    """The question in a `generateContent`."""
    contents = _contents(body)
    last = said_last(contents, "model")
    settings = _object(body, "generationConfig")
    calling = _object(_object(body, "toolConfig"), "functionCallingConfig")
    allowed = strings(_value(calling, "allowedFunctionNames"))
    functions = [one for tool in objects(body.get("tools")) for one in objects(_value(tool, "functionDeclarations"))]
    tools = [Tool(str(one.get("name")), _schema(one, "parameters", "parametersJsonSchema")) for one in functions]
    return Question(
        model=model,
        text=last_text(last),
        from_tool=any("functionResponse" in part for part in objects(last.get("parts"))),
        input_tokens=tokens(_value(body, "systemInstruction"), *contents),
        max_tokens=whole_number(_value(settings, "maxOutputTokens")),
        stop=strings(_value(settings, "stopSequences")),
        tools=[tool for tool in tools if not allowed or tool.name in allowed],
        choice=_CHOICES.get(str(calling.get("mode")), Choice.AUTO),
        form=_form(settings),
    )


def error(status: int, message: str) -> Json:
    return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}


@dataclass(frozen=True, slots=True)
class GenerateReply:
    """A `GenerateContentResponse`, or several that make one up, as events or as the elements of an array."""

    body: Json
    answer: Answer
    seed: str
    events: bool = True

    @property
    def content_type(self) -> str:
        return EVENT_STREAM if self.events else "application/json"

    def document(self) -> Json:
        parts = self._calls() or [{"text": self.answer.text}]
        return self._response(parts, finish=_FINISH.get(self.answer.finish, "STOP"))

    def frames(self) -> Iterator[Frame]:
        for at, (part, document) in enumerate(self._responses()):
            yield Frame(self._framed(document, at), part)
        if not self.events:
            yield Frame(b"]")

    def failure(self, status: int, message: str, before: int) -> bytes:
        return self._framed(error(status, message), before) + (b"" if self.events else b"]")

    def _responses(self) -> Iterator[tuple[Part, Json]]:
        for word in self.answer.words:
            yield Part.DELTA, self._response([{"text": word}])
        for call in self._calls():
            yield Part.DELTA, self._response([call])
        yield Part.MARKER, self._response([{"text": ""}], finish=_FINISH.get(self.answer.finish, "STOP"))

    def _framed(self, document: Json, at: int) -> bytes:
        if self.events:
            return event(document)
        return (b",\r\n" if at else b"[") + orjson.dumps(document)

    def _calls(self) -> list[Json]:
        return [{"functionCall": {"name": call.name, "args": call.parsed}} for call in self.answer.calls]

    def _response(self, parts: list[Json], finish: str | None = None) -> Json:
        """The whole answer or a piece of it; the output is counted where it ends."""
        candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
        usage: Json = {"promptTokenCount": self.answer.input_tokens, "totalTokenCount": self.answer.input_tokens}
        if finish is not None:
            candidate["finishReason"] = finish
            usage["candidatesTokenCount"] = self.answer.output_tokens
            usage["totalTokenCount"] = self.answer.total_tokens
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": self.answer.model,
            "responseId": self.seed[:22],
        }


def _contents(body: Json) -> list[Json]:
    contents = body.get("contents")
    if isinstance(contents, dict):
        return [contents]
    if not isinstance(contents, list) or not contents:
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified")
    return objects(contents)


def _value(body: Json, name: str) -> Any:
    """A member under its name in camel case or, as this API takes it too, in snake case."""
    return body.get(name, body.get(re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)))


def _object(body: Json, name: str) -> Json:
    value = _value(body, name)
    return value if isinstance(value, dict) else {}


def _schema(body: Json, *names: str) -> Json:
    """The schema under one of two names: Gemini's own kind, or JSON Schema."""
    return next((schema for name in names if (schema := _object(body, name))), {})


def _form(settings: Json) -> Json | None:
    """The schema of a JSON answer; None for text."""
    if _value(settings, "responseMimeType") != "application/json":
        return None
    return _schema(settings, "responseSchema", "responseJsonSchema")


def _embedding(body: Json) -> Json:
    text = " ".join(texts(body.get("content")))
    return {"values": vector(text, dimensions(_value(body, "outputDimensionality")))}


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "description": "Answers every request alike.",
        "inputTokenLimit": 1_000_000,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    }


GEMINI = Dialect(
    name="gemini",
    credentials={"x-goog-api-key": ""},
    head=lambda request_id: {"server-timing": "gfet4t7; dur=1"},
    error=lambda status, message, _: error(status, message),
    model=_model,
    models=lambda: {"models": [_model(name) for name in MODELS]},
)

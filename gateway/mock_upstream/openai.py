"""The OpenAI-shaped routes: chat, completions, responses, embeddings, models, transcriptions, files."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

from aiohttp import web

from gateway.mock_upstream import openai_responses
from gateway.mock_upstream.answers import Json, texts, tokens
from gateway.mock_upstream.asking import answering, begin
from gateway.mock_upstream.body import read_json, required
from gateway.mock_upstream.embeddings import dimensions, vector
from gateway.mock_upstream.journal import body_chunks
from gateway.mock_upstream.openai_chat import ChatReply, CompletionReply, ask_chat, ask_completion
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import send_document


def routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/chat/completions", answering(ask_chat, ChatReply)),
        web.post("/v1/completions", answering(ask_completion, CompletionReply)),
        web.post("/v1/responses", answering(openai_responses.ask, openai_responses.ResponsesReply)),
        web.post("/v1/embeddings", embeddings),
        web.post("/v1/audio/transcriptions", transcription),
    ]


async def embeddings(request: web.Request) -> web.StreamResponse:
    """A unit vector for each input, the same for the same text."""
    body = await read_json(request)
    behaviour, model = await begin(request, required(body, "model", str))
    inputs = _inputs(body)
    encoded = body.get("encoding_format") == "base64"
    vectors = [vector(text, dimensions(body.get("dimensions"))) for text in inputs]
    count = tokens(inputs)
    document = {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(values) if encoded else values}
            for index, values in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return await send_document(request, document, behaviour)


async def transcription(request: web.Request) -> web.StreamResponse:
    """Counts the upload as it streams in, and says how much it was. Directives come in header fields only."""
    length = 0
    async for chunk in body_chunks(request):
        length += len(chunk)
    behaviour, _ = await begin(request)
    document = {
        "text": f"The upload had {length} bytes.",
        "usage": {"type": "tokens", "input_tokens": 0, "output_tokens": 5, "total_tokens": 5},
    }
    return await send_document(request, document, behaviour)


def _inputs(body: Json) -> list[str]:
    """The texts to embed; lists of token numbers are texts of numbers."""
    given = body.get("input")
    match given:
        case str():
            return [given]
        case [int(), *_]:
            return [" ".join(map(str, given))]
        case [list(), *_]:
            return [" ".join(map(str, numbers)) for numbers in given if isinstance(numbers, list)]
        case [_, *_]:
            return list(texts(given))
    raise Refusal(400, "'input' is required and must be a JSON string or array.")


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()

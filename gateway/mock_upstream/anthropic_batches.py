"""Anthropic's message batches: ended at once, with their results at an absolute URL."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from gateway.mock_upstream.answers import Json, answer
from gateway.mock_upstream.anthropic import MessageReply, ask
from gateway.mock_upstream.asking import BEHAVIOUR, begin
from gateway.mock_upstream.behaviour import from_model
from gateway.mock_upstream.body import member, objects, read_json, required
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import send_bytes, send_document
from gateway.mock_upstream.stored import SHELF, Item, origin

PREFIX = "msgbatch_"
_TIME = "2025-01-01T00:00:00Z"


def routes() -> list[web.RouteDef]:
    batches = "/v1/messages/batches"
    return [
        web.post(batches, create),
        web.get(batches, list_batches),
        web.get(f"{batches}/{{id}}", one_batch),
        web.get(f"{batches}/{{id}}/results", results),
        web.post(f"{batches}/{{id}}/cancel", one_batch),
        web.delete(f"{batches}/{{id}}", delete_batch),
    ]


async def create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, _ = await begin(request)
    requests, shelf = objects(required(body, "requests", list)), request.app[SHELF]
    if not requests:
        raise Refusal(400, "requests: List should have at least 1 item")
    id = f"{PREFIX}{shelf.new_id()}"
    lines = [_result(request, one, f"{id}{number:024}") for number, one in enumerate(requests)]
    item = Item(_document(request, id, len(requests)), bytearray(b"".join(lines)))
    shelf.put(id, item)
    return await send_document(request, item.document, behaviour)


async def list_batches(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    data = request.app[SHELF].documents(PREFIX)
    ids: list[Any] = [batch["id"] for batch in data] or [None]
    document = {"data": data, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}
    return await send_document(request, document, behaviour)


async def one_batch(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    return await send_document(request, request.app[SHELF].get(request.match_info["id"]).document, behaviour)


async def results(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    content = bytes(request.app[SHELF].get(request.match_info["id"]).content)
    return await send_bytes(request, "application/x-jsonl", content, len(content), behaviour)


async def delete_batch(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    request.app[SHELF].delete(id)
    return web.json_response({"id": id, "type": "message_batch_deleted"})


def _result(request: web.Request, one: Json, seed: str) -> bytes:
    params = member(one, "params")
    model, directives = from_model(required(params, "model", str))
    reply = answer(ask(params, model), request.app[BEHAVIOUR].scripted(directives))
    message = MessageReply(params, reply, seed[-24:]).document()
    result = {"type": "succeeded", "message": message}
    return orjson.dumps({"custom_id": one.get("custom_id"), "result": result}) + b"\n"


def _document(request: web.Request, id: str, count: int) -> Json:
    counts = {"processing": 0, "succeeded": count, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": id,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": counts,
        "created_at": _TIME,
        "expires_at": _TIME,
        "ended_at": _TIME,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{origin(request)}/v1/messages/batches/{id}/results",
    }

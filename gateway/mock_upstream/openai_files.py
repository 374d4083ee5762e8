"""OpenAI's files and batches; a batch is completed at once, its answers in a file."""

from __future__ import annotations

import re

import orjson
from aiohttp import BodyPartReader, web

from gateway.mock_upstream.answers import Json, answer
from gateway.mock_upstream.asking import BEHAVIOUR, begin
from gateway.mock_upstream.behaviour import from_model
from gateway.mock_upstream.body import member, read_json, required
from gateway.mock_upstream.openai_chat import ChatReply, ask_chat
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import send_bytes, send_document
from gateway.mock_upstream.stored import SHELF, Item, append

FILE, BATCH = "file-", "batch_"
_CREATED = 1_735_689_600
_ENDPOINT = "/v1/chat/completions"
_PIECE = bytes(range(256)) * 256


def routes() -> list[web.RouteDef]:
    return [
        web.get("/v1/files/{id}/content", file_content),
        web.post("/v1/files", upload),
        web.post("/v1/batches", create_batch),
        web.get("/v1/batches", list_batches),
        web.get("/v1/batches/{id}", one_batch),
    ]


async def upload(request: web.Request) -> web.StreamResponse:
    """A file in a form, with its purpose."""
    item, purpose, name = Item({}), "", ""
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise Refusal(400, "A form with a file is expected.")
        if part.name == "file":
            name = part.filename or "file"
            while chunk := await part.read_chunk():
                append(item, chunk)
        elif part.name == "purpose":
            purpose = await part.text()
    behaviour, _ = await begin(request)
    if not name or not purpose:
        raise Refusal(400, "'file' and 'purpose' are required.")
    return await send_document(request, _store(request, item, purpose, name), behaviour)


async def list_files(request: web.Request) -> web.StreamResponse:
    return await _list(request, FILE)


async def one_file(request: web.Request) -> web.StreamResponse:
    return await _one(request)


async def delete_file(request: web.Request) -> web.StreamResponse:
    id = request.match_info["id"]
    request.app[SHELF].delete(id)
    return web.json_response({"id": id, "object": "file", "deleted": True})


async def file_content(request: web.Request) -> web.StreamResponse:
    """A file's bytes; those of `bytes-1048576`, which nobody uploads, are a megabyte of 0 to 255 over and over."""
    behaviour, id = await begin(request, request.match_info["id"])
    size = re.fullmatch(r"bytes-(\d{1,12})", id)
    if size is not None:
        return await send_bytes(request, "application/octet-stream", _PIECE, int(size[1]), behaviour)
    content = bytes(request.app[SHELF].get(id).content)
    return await send_bytes(request, "application/octet-stream", content, len(content), behaviour)


async def create_batch(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    behaviour, _ = await begin(request)
    if body.get("endpoint") != _ENDPOINT:
        raise Refusal(400, f"The mock has batches of {_ENDPOINT} only.")
    shelf, source = request.app[SHELF], required(body, "input_file_id", str)
    lines = [_output_line(request, line) for line in bytes(shelf.get(source).content).splitlines() if line.strip()]
    answers = _store(request, Item({}, bytearray(b"".join(lines))), "batch_output", "output.jsonl")
    batch = {
        "id": f"{BATCH}{shelf.new_id()}",
        "object": "batch",
        "endpoint": _ENDPOINT,
        "input_file_id": source,
        "completion_window": body.get("completion_window", "24h"),
        "status": "completed",
        "output_file_id": answers["id"],
        "created_at": _CREATED,
        "request_counts": {"total": len(lines), "completed": len(lines), "failed": 0},
    }
    shelf.put(batch["id"], Item(batch))
    return await send_document(request, batch, behaviour)


async def list_batches(request: web.Request) -> web.StreamResponse:
    return await _list(request, BATCH)


async def one_batch(request: web.Request) -> web.StreamResponse:
    return await _one(request)


async def _list(request: web.Request, prefix: str) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    data = request.app[SHELF].documents(prefix)
    return await send_document(request, {"object": "list", "data": data, "has_more": False}, behaviour)


async def _one(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    return await send_document(request, request.app[SHELF].get(request.match_info["id"]).document, behaviour)


def _store(request: web.Request, item: Item, purpose: str, name: str) -> Json:
    shelf = request.app[SHELF]
    item.document = {
        "id": f"{FILE}{shelf.new_id()}",
        "object": "file",
        "bytes": len(item.content),
        "created_at": _CREATED,
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    }
    shelf.put(item.document["id"], item)
    return item.document


def _output_line(request: web.Request, line: bytes) -> bytes:
    """One line of a batch's output, for one of its input."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Refusal(400, "Each line of the input file must be a JSON object.") from None
    body = member(entry, "body") if isinstance(entry, dict) else {}
    model, directives = from_model(required(body, "model", str))
    reply = answer(ask_chat(body, model), request.app[BEHAVIOUR].scripted(directives))
    document = ChatReply(body, reply, f"{len(line):032x}").document()
    response = {"status_code": 200, "request_id": "req_mock_batch", "body": document}
    return orjson.dumps({"id": "batch_req_1", "custom_id": entry.get("custom_id"), "response": response}) + b"\n"

"""Gemini's files: uploaded in a session of their own, at the absolute URL that its start is answered with."""

from __future__ import annotations

import base64
import hashlib

from aiohttp import web

from gateway.mock_upstream.asking import begin
from gateway.mock_upstream.body import member, read_json
from gateway.mock_upstream.journal import body_chunks
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import send_bytes, send_document
from gateway.mock_upstream.stored import SHELF, Item, append, origin, text

_TIME = "2025-01-01T00:00:00Z"
_GRANULARITY = 262_144


def routes() -> list[web.RouteDef]:
    return [web.post("/upload/{version:v1|v1beta}/files", upload)]


async def upload(request: web.Request) -> web.StreamResponse:
    """Begins an upload, or takes a part of one; the last part makes it a file."""
    if "upload_id" in request.query:
        return await _part(request, request.query["upload_id"])
    if request.headers.get("X-Goog-Upload-Command") != "start":
        raise Refusal(400, "Uploads at the mock are resumable: X-Goog-Upload-Command: start")
    file = member(await read_json(request), "file")
    await begin(request)
    shelf = request.app[SHELF]
    id = shelf.new_id()
    shelf.put(
        f"upload-{id}",
        Item(
            {
                "name": text(file.get("name"), f"files/mock-{id}"),
                "displayName": text(file.get("displayName"), ""),
                "mimeType": request.headers.get("X-Goog-Upload-Header-Content-Type", "application/octet-stream"),
            }
        ),
    )
    url = f"{origin(request)}{request.path}?upload_id=upload-{id}&upload_protocol=resumable"
    fields = {
        "X-Goog-Upload-URL": url,
        "X-Goog-Upload-Control-URL": url,
        "X-Goog-Upload-Chunk-Granularity": str(_GRANULARITY),
        "X-Goog-Upload-Status": "active",
    }
    return web.Response(headers=fields)


async def _part(request: web.Request, id: str) -> web.StreamResponse:
    shelf = request.app[SHELF]
    item, commands = shelf.get(id), request.headers.get("X-Goog-Upload-Command", "")
    if request.headers.get("X-Goog-Upload-Offset") != str(len(item.content)):
        raise Refusal(400, f"{len(item.content)} bytes were received until now.")
    async for chunk in body_chunks(request):
        append(item, chunk)
    if "finalize" not in commands:
        return web.Response(headers={"X-Goog-Upload-Status": "active"})
    shelf.delete(id)
    name = item.document["name"]
    item.document |= {
        "sizeBytes": str(len(item.content)),
        "sha256Hash": base64.b64encode(hashlib.sha256(item.content).hexdigest().encode()).decode(),
        "uri": f"{origin(request)}/v1beta/{name}",
        "createTime": _TIME,
        "updateTime": _TIME,
        "state": "ACTIVE",
        "source": "UPLOADED",
    }
    shelf.put(name, item)
    return web.json_response({"file": item.document}, headers={"X-Goog-Upload-Status": "final"})


async def list_files(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    return await send_document(request, {"files": request.app[SHELF].documents("files/")}, behaviour)


async def one_file(request: web.Request) -> web.StreamResponse:
    """The file's document, or with `:download` behind its name its content."""
    behaviour, id = await begin(request, request.match_info["id"])
    name, download, _ = id.partition(":download")
    item = request.app[SHELF].get(f"files/{name}")
    if download:
        return await send_bytes(request, item.document["mimeType"], bytes(item.content), len(item.content), behaviour)
    return await send_document(request, item.document, behaviour)


async def delete_file(request: web.Request) -> web.StreamResponse:
    request.app[SHELF].delete(f"files/{request.match_info['id']}")
    return web.json_response({})

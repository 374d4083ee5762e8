"""The mock put together: three APIs in one application, told apart by path and, where they share one, by a field."""

from __future__ import annotations

import re

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.mock_upstream import (
    anthropic,
    anthropic_batches,
    gemini,
    gemini_files,
    gemini_interactions,
    inspection,
    openai,
    openai_files,
)
from gateway.mock_upstream.anthropic import ANTHROPIC
from gateway.mock_upstream.asking import ATTEMPTS, BEHAVIOUR, begin
from gateway.mock_upstream.behaviour import Attempts, Behaviour
from gateway.mock_upstream.dialect import Dialect, objection
from gateway.mock_upstream.gemini import GEMINI
from gateway.mock_upstream.journal import ARRIVAL, JOURNAL, Journal, keep_journal
from gateway.mock_upstream.openai_dialect import OPENAI
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import send_document
from gateway.mock_upstream.stored import SHELF, Shelf

_OPEN_PATHS = ("/health", "/mock/")
_GEMINI_VERB = re.compile(r"/v1/(?:models/[^/]+:\w+$|interactions(?:/|$))")
_TELLTALES = {"anthropic-version": ANTHROPIC, "x-goog-api-client": GEMINI, "x-goog-api-key": GEMINI}


def mock_app(behaviour: Behaviour | None = None, required_key: str | None = None) -> web.Application:
    """The application. `behaviour` holds where a request does not say otherwise (by default: no pauses, no faults).

    With a `required_key`, a request to one of the APIs is a 401 unless that key, and no other, arrives in the field
    where the API takes its key. Serve it with handler cancellation (as `serving` does), or a stall outlives its client.
    """
    app = web.Application(middlewares=[keep_journal, speak_dialect, check_key(required_key)])
    app[BEHAVIOUR] = behaviour or Behaviour()
    app[ATTEMPTS] = Attempts()
    app[JOURNAL] = Journal()
    app[SHELF] = Shelf()
    app[gemini_interactions.INTERACTIONS] = {}
    app.on_response_prepare.append(_write_head)
    app.add_routes([*openai.routes(), *anthropic.routes(), *gemini.routes(), *gemini_interactions.routes()])
    app.add_routes(inspection.routes())
    app.add_routes([*openai_files.routes(), *anthropic_batches.routes(), *gemini_files.routes()])
    app.router.add_get("/{version:v1|v1beta}/files", either(gemini_files.list_files, openai_files.list_files))
    app.router.add_get("/{version:v1|v1beta}/files/{id}", either(gemini_files.one_file, openai_files.one_file))
    app.router.add_delete("/{version:v1|v1beta}/files/{id}", either(gemini_files.delete_file, openai_files.delete_file))
    app.router.add_get("/{version:v1|v1beta}/models", list_models)
    app.router.add_get("/{version:v1|v1beta}/models/{id:[^:]+}", one_model)
    return app


@web.middleware
async def speak_dialect(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals, unknown paths included, into errors of the API that was called."""
    try:
        return await handler(request)
    except Refusal as refusal:
        return _refused(request, refusal)
    except web.HTTPException as error:
        return _refused(request, Refusal(error.status, f"{error.reason}: {request.method} {request.path}"))


def check_key(required_key: str | None) -> Middleware:
    """Refuse API requests without the key, if there is one to check."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if required_key is not None and not request.path.startswith(_OPEN_PATHS):
            wrong = objection(_dialect(request), request.headers, required_key)
            if wrong is not None:
                raise Refusal(401, wrong)
        return await handler(request)

    return check


async def list_models(request: web.Request) -> web.StreamResponse:
    behaviour, _ = await begin(request)
    return await send_document(request, _dialect(request).models(), behaviour)


async def one_model(request: web.Request) -> web.StreamResponse:
    behaviour, name = await begin(request, request.match_info["id"])
    return await send_document(request, _dialect(request).model(name), behaviour)


def either(of_gemini: Handler, of_openai: Handler) -> Handler:
    """A handler for a path that two APIs have."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await (of_gemini if _dialect(request) is GEMINI else of_openai)(request)

    return handle


def _dialect(request: web.Request) -> Dialect:
    """The API that was called. `/v1/models` and `/v1/files` are those of several: a field of one SDK tells which."""
    if request.path.startswith(("/v1beta/", "/upload/")) or _GEMINI_VERB.match(request.path):
        return GEMINI
    if request.path.startswith("/v1/messages"):
        return ANTHROPIC
    if request.path.startswith(("/v1/models", "/v1/files")):
        return next((dialect for name, dialect in _TELLTALES.items() if name in request.headers), OPENAI)
    return OPENAI


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:g}"}
    document = _dialect(request).error(refusal.status, refusal.message, _request_id(request))
    return web.json_response(document, status=refusal.status, headers=headers)


async def _write_head(request: web.Request, response: web.StreamResponse) -> None:
    # A signal, because a middleware is too late for the head of a stream.
    response.headers.update(_dialect(request).head(_request_id(request)))


def _request_id(request: web.Request) -> str:
    arrival = request.get(ARRIVAL)
    return f"req_mock_{arrival.number if arrival else 0:08}"

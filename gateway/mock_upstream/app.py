"""The mock put together: three APIs in one application, told apart by path and, where they share one, by a field."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.mock_upstream import anthropic, gemini, inspection, openai
from gateway.mock_upstream.anthropic import ANTHROPIC
from gateway.mock_upstream.asking import ATTEMPTS, BEHAVIOUR
from gateway.mock_upstream.behaviour import Attempts, Behaviour
from gateway.mock_upstream.dialect import Dialect, objection
from gateway.mock_upstream.gemini import GEMINI
from gateway.mock_upstream.journal import ARRIVAL, JOURNAL, Journal, keep_journal
from gateway.mock_upstream.openai_dialect import OPENAI
from gateway.mock_upstream.refusal import Refusal

_OPEN_PATHS = ("/health", "/mock/")


def mock_app(behaviour: Behaviour | None = None, required_key: str | None = None) -> web.Application:
    """The application. `behaviour` holds where a request does not say otherwise (by default: no pauses, no faults).

    With a `required_key`, a request to one of the APIs is a 401 unless that key, and no other, arrives in the field
    where the API takes its key. Serve it with handler cancellation (as `serving` does), or a stall outlives its client.
    """
    app = web.Application(middlewares=[keep_journal, speak_dialect, check_key(required_key)])
    app[BEHAVIOUR] = behaviour or Behaviour()
    app[ATTEMPTS] = Attempts()
    app[JOURNAL] = Journal()
    app.on_response_prepare.append(_write_head)
    app.add_routes([*openai.routes(), *anthropic.routes(), *gemini.routes(), *inspection.routes()])
    app.router.add_get("/v1/models", list_models)
    app.router.add_get("/v1/models/{id:.+}", one_model)
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
    except web.RequestPayloadError:
        return _refused(request, Refusal(400, "The body could not be read."))


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
    """One path, two APIs: the client's version field tells which."""
    if _dialect(request) is ANTHROPIC:
        return await anthropic.list_models(request)
    return await openai.list_models(request)


async def one_model(request: web.Request) -> web.StreamResponse:
    if _dialect(request) is ANTHROPIC:
        return await anthropic.one_model(request)
    return await openai.one_model(request)


def _dialect(request: web.Request) -> Dialect:
    if request.path.startswith("/v1beta/"):
        return GEMINI
    if "anthropic-version" in request.headers or request.path.startswith("/v1/messages"):
        return ANTHROPIC
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

"""How a request is taken in, whatever its API: its directives followed, its question answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.mock_upstream.answers import Answer, Json, Question, answer
from gateway.mock_upstream.behaviour import Attempts, Behaviour, from_headers, from_model
from gateway.mock_upstream.body import read_json, required
from gateway.mock_upstream.journal import ARRIVAL
from gateway.mock_upstream.refusal import Refusal
from gateway.mock_upstream.sending import Reply, send

BEHAVIOUR = web.AppKey("BEHAVIOUR", Behaviour)
ATTEMPTS = web.AppKey("ATTEMPTS", Attempts)

_RETRY_SOON = frozenset({429, 503, 529})

Ask = Callable[[Json, str], Question]
"""Reads a question out of a body, for the model of the given name."""
Shape = Callable[[Json, Answer, str], Reply]
"""Gives an answer its API's shape, for the body that asked and with a seed to make ids from."""


def answering(ask: Ask, shape: Shape) -> Handler:
    """A handler for bodies that name their model and say `"stream": true` if they want a stream."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await read_json(request)
        model = required(body, "model", str)
        return await reply_to(request, body, model, ask, shape, streamed=body.get("stream") is True)

    return handle


async def reply_to(
    request: web.Request, body: Json, model: str, ask: Ask, shape: Shape, streamed: bool
) -> web.StreamResponse:
    """Answer what `body` asks `model`."""
    behaviour, model = await begin(request, model)
    said = answer(ask(body, model), behaviour)
    return await send(request, shape(body, said, request[ARRIVAL].body_sha256), behaviour, streamed)


async def begin(request: web.Request, model: str = "") -> tuple[Behaviour, str]:
    """Wait and fail as the request scripts it; else, its behaviour and the model's own name."""
    model, directives = from_model(model)
    behaviour = request.app[BEHAVIOUR].scripted([*from_headers(request.headers), *directives])
    if behaviour.delay:
        await asyncio.sleep(behaviour.delay)
    if behaviour.fail and _still_fails(request.app[ATTEMPTS], behaviour):
        soon = 1.0 if behaviour.fail in _RETRY_SOON else None
        wait = soon if behaviour.retry_after is None else behaviour.retry_after
        raise Refusal(behaviour.fail, f"The mock was asked to fail with {behaviour.fail}.", wait)
    return behaviour, model


def _still_fails(attempts: Attempts, behaviour: Behaviour) -> bool:
    return not behaviour.times or attempts.count(behaviour.key) <= behaviour.times

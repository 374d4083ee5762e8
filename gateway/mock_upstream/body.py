"""Reading request bodies: JSON from strangers, of which nothing is certain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.mock_upstream.answers import Json
from gateway.mock_upstream.journal import body_chunks
from gateway.mock_upstream.refusal import Refusal

_LARGEST_JSON = 64 * 1024 * 1024
_KINDS: Mapping[type, str] = {str: "string", list: "array"}


async def read_json(request: web.Request) -> Json:
    """The body, which must be a JSON object."""
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > _LARGEST_JSON:
            raise Refusal(413, f"The body is larger than {_LARGEST_JSON} bytes.")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "The body is not valid JSON.") from None
    if not isinstance(parsed, dict):
        raise Refusal(400, "The body must be a JSON object.")
    return parsed


def required(body: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """The member of that name, which must be there and of that kind."""
    value = body.get(name)
    if not isinstance(value, kind):
        raise Refusal(400, f"{name!r} is required and must be a JSON {_KINDS[kind]}.")
    return value


def objects(values: Any) -> list[Json]:
    """The JSON objects in a list, if it is one."""
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def member(body: Mapping[str, Any], name: str) -> Json:
    """The JSON object under a name; an empty one if there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def strings(value: Any) -> list[str]:
    """One string or a list of them, as APIs take stop sequences."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def said_last(messages: list[Json], answerer: str) -> Json:
    """The last message that is not the model's own, nor an instruction if there is another; empty if there is none."""
    said = [message for message in messages if message.get("role") != answerer]
    return next((message for message in reversed(said) if message.get("role") not in _INSTRUCTIONS), [{}, *said][-1])


_INSTRUCTIONS = frozenset({"system", "developer"})  # an agent may add one behind what the user said

"""A request's body, held to its contract: what does not fit is told with the field and the reason."""

import asyncio
import re
from typing import Any

import msgspec
from aiohttp import web

from gateway.downstream.body import read_body, stored_body
from gateway.downstream.head import is_json
from gateway.errors import InvalidRequest, UnsupportedMediaType

DECODED_ON_THE_LOOP = 1 << 20  # bytes

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `(?P<place>.+)`)?$", re.DOTALL)
_FLOAT_FOR_INT = re.compile(r"Expected `[^`]*\bint\b[^`]*`, got `float`")
_FIELD = re.compile(r"field `(?P<field>.*)`$", re.DOTALL)


def check_media_type(request: web.Request) -> None:
    """Raise UnsupportedMediaType for a body that is not plain JSON in UTF-8."""
    if stored_body(request) is not None:
        return
    if not is_json(request):
        told = request.headers.get("Content-Type") or "no Content-Type"
        raise UnsupportedMediaType(f"Send the body as application/json; {told!r} is not taken.", param="Content-Type")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType("Send the body in UTF-8.", param="Content-Type")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without a content coding.", param="Content-Encoding")


async def read_checked(request: web.Request, decoder: "msgspec.json.Decoder[Any]", limit: int) -> tuple[bytes, Any]:
    """The body, and what it says. Raises InvalidRequest, UnsupportedMediaType or PayloadTooLarge."""
    check_media_type(request)
    body = await read_body(request, limit)
    if len(body) <= DECODED_ON_THE_LOOP:
        return body, checked(decoder, body)
    return body, await asyncio.to_thread(checked, decoder, body)


def checked(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    """What `body` says. Raises InvalidRequest, naming the field and what is wrong with it."""
    try:
        return _decoded(decoder, body)
    except msgspec.ValidationError as error:
        raise _objection(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest("The body is not valid JSON." if body else "A JSON body is needed.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error


def _decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if not _FLOAT_FOR_INT.match(str(error)):
            raise
    # 1.0 is an integer to JSON Schema, and so to our document. msgspec thinks otherwise.
    return msgspec.convert(_whole(msgspec.json.decode(body)), decoder.type)


def _whole(value: Any) -> Any:
    """`value` with every number that has no fraction as an int."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {name: _whole(item) for name, item in value.items()}
    return value


def _objection(told: str) -> InvalidRequest:
    """msgspec's words, as `$.texts[3]: expected ...`, with the field apart."""
    place = _PLACE.match(told)
    what, where = (place["what"], place["place"] or "$") if place else (told, "$")
    field = _FIELD.search(what)
    path = where.removeprefix("$").removeprefix(".")
    param = ".".join(part for part in (path, field["field"] if field else "") if part)
    if field or not path:
        return InvalidRequest(f"{what}.", param=param or None)
    return InvalidRequest(f"`{path}`: {what[0].lower()}{what[1:]}.", param=param)

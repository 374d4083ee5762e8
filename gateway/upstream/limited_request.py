"""Estimates what a limited key's call will take, from a request that leaves no room for another reading.

A request that cannot be read, or that a provider may read differently, is refused: it would be a way round the limit.
"""

import asyncio
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gateway.access.gate import NO_TOKENS, Tokens
from gateway.errors import InvalidRequest, UnsupportedMediaType
from gateway.providers.apis import Api
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.providers.reading.allowance import NO_ALLOWANCE
from gateway.providers.reading.generated import BYTES_PER_TOKEN
from gateway.providers.reading.lenient import Members, member, named, opened
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.repeated import repeated_member
from gateway.settings.prices import Price, Prices
from gateway.upstream.content_coding import DECODED_ON_THE_LOOP, can_decode, codings_of, decoded
from gateway.wire.headers import Fields, Form

OUTPUT_TOKENS: Final = 1000
"""Reserved for an answer whose request does not bound it."""
MIN_OUTPUT_TOKENS: Final = 16
"""Reserved at least, however little a request allows."""
PARSED_ON_THE_LOOP: Final = 1 << 20  # bytes

PATH: Final = "A limit of this key depends on the path, which is spelled so that it may be read in another way."
TYPE: Final = (
    "A limit of this key depends on the request's body: send it as application/json in UTF-8, without a content coding "
    "or in gzip, deflate, br or zstd."
)
BODY: Final = "A limit of this key depends on the request's body: send one JSON object in UTF-8."
REPEATED: Final = "A limit of this key depends on a member that the body has more than once, or in another case."


class Estimate(Struct, frozen=True):
    """What a call is expected to take; `api` is None if the path belongs to no API that takes tokens."""

    api: Api | None = None
    model: str | None = None
    tokens: Tokens = NO_TOKENS
    price: Price | None = None
    in_background: bool = False


NO_ESTIMATE: Final = Estimate()
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})


async def estimated(provider: Provider, request: UpstreamRequest, path: str, prices: Prices) -> Estimate:
    """The estimate for `request`. Raises InvalidRequest or UnsupportedMediaType if it can be read in several ways."""
    dialect, body = provider.dialect, request.body or b""
    api = dialect.api(path)
    if not body and request.method in _WITHOUT_BODY:  # no API runs a model for that
        return NO_ESTIMATE
    if api is None:
        sent = body if isinstance(body, bytes) and request.method == "POST" else b""
        return Estimate(None, named(member(opened(sent), "model")))
    if dialect.is_ambiguous(path):
        raise InvalidRequest(PATH)
    head = head_of(request)
    if not head.is_readable or not isinstance(body, bytes):
        raise UnsupportedMediaType(TYPE)
    if len(body) > (DECODED_ON_THE_LOOP if head.codings else PARSED_ON_THE_LOOP):
        return await asyncio.to_thread(_read_sent, provider, api, path, body, head.codings, prices)
    return _read_sent(provider, api, path, body, head.codings, prices)


def _read_sent(
    provider: Provider, api: Api, path: str, body: bytes, codings: tuple[bytes, ...], prices: Prices
) -> Estimate:
    """Decodes and reads in one go, so that no decoded body waits for a thread."""
    return read(provider, api, path, _decoded(body, codings) if codings else body, prices)


def read(provider: Provider, api: Api, path: str, body: bytes, prices: Prices) -> Estimate:
    """The estimate for a request with `body`. Raises InvalidRequest."""
    members = opened(body)
    if not members:
        raise InvalidRequest(BODY)
    allowance = api.allowance or NO_ALLOWANCE
    try:
        repeated = repeated_member(body, members, (*_TELLING, *allowance.names), allowance.within)
    except ValueError as error:
        raise InvalidRequest(BODY) from error
    if repeated is not None:
        raise InvalidRequest(REPEATED, param=repeated)
    model = provider.dialect.facts(path, body, b"", b"", False, ParameterScope.NONE).request_model
    model = None if model is None else model.removeprefix("models/")  # Google takes it in either way
    inward, outward = len(body) / BYTES_PER_TOKEN, _output(api, members)
    price = prices.of(model)
    tokens = Tokens(inward, outward, price.of(inward, outward) if price else 0.0)
    return Estimate(api, model, tokens, price, member(members, "background") not in (None, False))


_TELLING: Final = ("model", "stream", "stream_options", "background")


def _output(api: Api, members: Members) -> float:
    if api.allowance is None:
        return 0.0 if api.operation == "embeddings" else OUTPUT_TOKENS
    return max(MIN_OUTPUT_TOKENS, api.allowance.of(members, OUTPUT_TOKENS))


def _decoded(body: bytes, codings: tuple[bytes, ...]) -> bytes:
    plain = decoded(body, codings)
    if plain is None:
        raise UnsupportedMediaType(TYPE)
    return plain


class RequestHead(Struct, frozen=True, eq=False):
    """What a request's fields say of its body, and the same fields with `Accept-Encoding` cut to readable codings."""

    is_readable: bool
    codings: tuple[bytes, ...]
    asking: Fields


def head_of(request: UpstreamRequest) -> RequestHead:
    """The head of `request`, cached by its form."""
    return _read_head(request.fields) if request.form is None else _of_form(request.form)


def readable_answers(request: UpstreamRequest) -> UpstreamRequest:
    """`request`, accepting only codings that can be read; the same object if it accepts no others."""
    if request.form is None:
        asking = _read_head(request.fields).asking
        return request if asking is request.fields else replace(request, fields=asking)
    asking_form = _asking_form(request.form)
    return request if asking_form is request.form else replace(request, form=asking_form)


@lru_cache(1024)
def _of_form(form: Form) -> RequestHead:
    return _read_head(form.fields)


@lru_cache(1024)
def _asking_form(form: Form) -> Form:
    asking = _of_form(form).asking
    return form if asking is form.fields else Form(asking)


def _read_head(fields: Fields) -> RequestHead:
    types = [value.lower() for name, value in fields if name.lower() == b"content-type"]
    codings = codings_of(b",".join(_values(fields, b"content-encoding")))
    charsets = _CHARSET.findall(b"".join(types))
    is_json = len(types) == 1 and _JSON.match(types[0]) is not None and _UTF_8.issuperset(charsets)
    return RequestHead(is_json and can_decode(codings), codings, _asking(fields))


_JSON: Final = re.compile(rb"application/(?:[^;+, \t]+\+)?json[ \t]*(?:;|$)")
_CHARSET: Final = re.compile(rb"charset[ \t]*=[ \t]*[\"']?([^\"';, \t]*)")
_UTF_8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})


def _values(fields: Fields, name: bytes) -> Iterable[bytes]:
    return [value for each, value in fields if each.lower() == name]


def _asking(fields: Fields) -> Fields:
    """`fields`, with `Accept-Encoding` cut to the codings that can be read; the same object if nothing is cut."""
    cut = [(name, _readable(value)) if name.lower() == b"accept-encoding" else (name, value) for name, value in fields]
    return fields if cut == [*fields] else cut


def _readable(accepted: bytes) -> bytes:
    members = [each.strip() for each in accepted.split(b",")]
    kept = [each for each in members if _is_readable(each)]
    return accepted if kept == members else b", ".join(kept) or b"identity"


def _is_readable(member: bytes) -> bool:
    coding, _, weight = member.partition(b";")
    coding = coding.strip().lower()
    if coding == b"*":
        return _NONE.fullmatch(weight) is not None
    return coding in (b"", b"identity") or can_decode([coding])


_NONE: Final = re.compile(rb"[ \t]*q=0(?:\.0{0,3})?[ \t]*", re.IGNORECASE)

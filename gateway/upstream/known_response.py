"""Responses of a known shape (`wire/shape.py`): read without aiohttp's parser, which has judged that shape before."""

import re
from collections.abc import Sequence

from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawResponseMessage
from msgspec import Struct

from gateway.wire.headers import Layout, layout_of
from gateway.wire.shape import Shapes


class Known(Struct, frozen=True, gc=False):
    """What is the same for all responses of a shape."""

    code: int
    reason: str
    layout: Layout


class KnownResponse(Struct, frozen=True):
    """A final response of the shape with these `names`; its body, if that is here to its end."""

    known: Known
    names: tuple[bytes, ...]
    values: Sequence[bytes]
    body: bytes | None


def learn(shapes: Shapes[Known], message: RawResponseMessage, data: bytes) -> None:
    """Take note that the parser found `message` at the beginning of `data`, if it is of the usual kind."""
    if message.code < 200 or message.code in (204, 304) or message.should_close or message.upgrade:
        return
    if message.version is not HttpVersion11 or len(message.reason) > 64 or "\0" in message.reason:
        return
    start = b"HTTP/1.1 %d %b" % (message.code, message.reason.encode("utf-8", "surrogateescape"))
    fields = message.raw_headers
    shapes.learn(re.escape(start), fields, data, lambda: Known(message.code, message.reason, layout_of(fields)))

"""Requests of a known shape: read without aiohttp's parser, and turned into its objects only as far as somebody asks.

What a parser must have judged before: the shape of the head (`wire/shape.py`), and the very target.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from aiohttp.http import HttpVersion11, RawRequestMessage
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.request_head import objection_to
from gateway.wire.headers import Field
from gateway.wire.shape import LONGEST, Shape, Shapes, has_shape, is_whole

MOST_TARGETS: Final = 1024
LONGEST_TARGET: Final = 256
LONGEST_LESSON: Final = 4 * LONGEST


# A query may hold what is one client's own: a ticket, a signature. These parameters never do.
_is_everybodys = re.compile(r"[^?]*(?:\?(?:(?:api-version|alt|beta|stream_mode)=[\w.-]{0,32}&?)+)?").fullmatch


class Known(Struct, frozen=True, eq=False):
    """What is the same for all requests of a shape. `names` are those of its fields as `headers` shows them.

    `remembered` is for whoever reads heads to find again what it found by names alone.
    """

    method: str
    names: tuple[str, ...]
    remembered: dict[Any, Any]


class KnownRequest:
    """A request as aiohttp's `RawRequestMessage` shows it."""

    __slots__ = ("_headers", "_raw_headers", "body", "length", "method", "path", "shape", "url", "values")

    version = HttpVersion11
    should_close = False
    compression = None
    upgrade = False
    chunked = False

    def __init__(self, shape: Shape[Known], path: str, url: URL, values: Sequence[bytes], body: bytes) -> None:
        self.shape = shape
        self.method = shape.kept.method
        self.path = path
        self.url = url
        self.values = values  # of the fields, in order
        self.body = body  # until somebody takes it
        self.length = len(body)
        self._headers: CIMultiDictProxy[str] | None = None
        self._raw_headers: tuple[Field, ...] | None = None

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        headers = self._headers
        if headers is None:
            text = [value.decode("utf-8", "surrogateescape") for value in self.values]
            headers = CIMultiDictProxy(CIMultiDict(zip(self.shape.kept.names, text, strict=True)))
            self._headers = headers
        return headers

    @property
    def raw_headers(self) -> tuple[Field, ...]:
        raw = self._raw_headers
        if raw is None:
            raw = self._raw_headers = tuple(zip(self.shape.names, self.values, strict=True))
        return raw

    def _replace(self, **changes: Any) -> RawRequestMessage:
        return RawRequestMessage(
            self.method,
            self.path,
            self.version,
            self.headers,
            self.raw_headers,
            self.should_close,
            self.compression,
            self.upgrade,
            self.chunked,
            self.url,
        )._replace(**changes)


class KnownRequests:
    """The shapes and targets of requests that were served. Nothing is known where a bound is less than a shape's."""

    def __init__(self, bounds: ConnectionBounds) -> None:
        self._shapes = Shapes[Known]()
        self._targets: dict[bytes, tuple[str, URL]] = {}
        self._off = min(bounds.max_head_bytes, bounds.max_field_bytes, bounds.max_target_bytes) < LONGEST

    def read(self, data: bytes) -> KnownRequest | None:
        """The request that `data` is; None if it is for the parser."""
        found = self._shapes.find(data)
        if found is None or found[3]:
            return None
        shape, values, body, _ = found
        known = self._targets.get(values[0])
        return None if known is None else KnownRequest(shape, *known, values[1:], body)

    def can_learn(self, data: bytes) -> bool:
        """Whether it is worth while to keep `data` until it is clear that it was served."""
        return not self._off and self._shapes.can_learn and len(data) <= LONGEST_LESSON

    def learn(self, message: RawRequestMessage, data: bytes) -> None:
        """Take note of a request that the parser found `data` to be, and that was served."""
        if message.should_close or message.upgrade or message.version is not HttpVersion11 or objection_to(message):
            return
        if not is_whole(message.raw_headers, data) or not has_shape(message.raw_headers):
            return
        target = message.path.encode("utf-8", "surrogateescape")
        if len(target) > LONGEST_TARGET or not _is_everybodys(message.path):
            return
        if len(self._targets) >= MOST_TARGETS:
            self._targets.clear()
        self._targets[target] = message.path, message.url
        if self._shapes.find(data) is None:
            start = b'%b (/[!-"$-~]*+) HTTP/1\\.1' % message.method.encode("ascii")
            names = tuple(message.headers)
            self._shapes.learn(start, message.raw_headers, data, lambda: Known(message.method, names, {}))

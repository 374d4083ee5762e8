"""Requests of a known shape: read without aiohttp's parser, and turned into its objects only as far as somebody asks.

What a parser must have judged before: the shape of the head (`wire/shape.py`), and the very target. A client that says
on a connection what it said there before, byte for byte but for the length, is not even looked at for its shape.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from aiohttp.http import HttpVersion11, RawRequestMessage
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.request_head import objection_to
from gateway.telemetry.fallbacks import Fallbacks
from gateway.wire.headers import Field
from gateway.wire.shape import LONGEST, Shape, Shapes, has_shape, is_whole

MOST_TARGETS: Final = 1024
LONGEST_TARGET: Final = 256
LONGEST_LESSON: Final = 4 * LONGEST
LONGEST_LENGTH: Final = 16  # digits of a body's length, with what ends them
MOST_HEADS: Final = 8
"""Of one connection that are kept, one after the other. Behind a proxy they may be of as many clients."""


# A query may hold what is one client's own: a ticket, a signature. These parameters never do.
_is_everybodys = re.compile(r"[^?]*(?:\?(?:(?:api-version|alt|beta|stream_mode)=[\w.-]{0,32}&?)+)?").fullmatch


class Known(Struct, frozen=True, eq=False):
    """What is the same for all requests of a shape. `names` are those of its fields as `headers` shows them, repeated
    ones as often as they came.

    `remembered` is for whoever reads heads to find again what it found by names alone.
    """

    method: str
    names: tuple[str, ...]
    remembered: dict[Any, Any]


class KnownRequest:
    """A request as aiohttp's `RawRequestMessage` shows it."""

    __slots__ = ("_headers", "_raw_headers", "body", "length", "method", "path", "said", "shape", "url", "values")

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
        self.said: Said | None = None
        self.body: bytes | None = body  # until somebody takes it; None when it was made a reader
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


class Said:
    """The head of a request, for those that follow on its connection. It is kept no longer than that.

    `told` is for whoever reads heads to keep what this one tells; all of it is the same for those that repeat it, but
    for the length.
    """

    __slots__ = ("_at", "_before", "_begins", "_behind", "_length", "_path", "_shape", "_url", "_values", "told")

    def __init__(self, request: KnownRequest, data: bytes) -> None:
        shape = self._shape = request.shape
        self._path, self._url, self._values = request.path, request.url, tuple(request.values)
        self._at = shape.length_at
        start = b"\r\n%b: " % shape.names[self._at]
        begins = data.find(start) + len(start)
        ends = data.find(b"\r\n", begins)
        self._before, self._begins = data[:begins], begins
        self._length = request.length
        self._behind = data[ends : len(data) - request.length]
        self.told: Any = None

    def again(self, data: bytes) -> KnownRequest | None:
        """The request that `data` is, if its head is this one."""
        begins, behind, values, at = self._begins, self._behind, self._values, self._at
        if not data.startswith(self._before):
            return None
        ends = data.find(b"\r", begins, begins + LONGEST_LENGTH)
        if not data.startswith(behind, ends):
            return None
        digits, body = data[begins:ends], data[ends + len(behind) :]
        if digits == values[at]:
            if len(body) != self._length:
                return None
        elif digits.isdigit() and int(digits) == len(body):
            values = (*values[:at], digits, *values[at + 1 :])
        else:
            return None
        request = KnownRequest(self._shape, self._path, self._url, values, body)
        request.said = self
        return request


class OneConnection:
    """Reads the requests of one connection, with what is known of all."""

    __slots__ = ("_all", "_heads_left", "_last", "can_learn", "learn")

    def __init__(self, known: "KnownRequests") -> None:
        self._all = known
        self._last: Said | None = None
        self._heads_left = MOST_HEADS + 1
        self.can_learn = known.can_learn
        self.learn = known.learn

    def read(self, data: bytes) -> KnownRequest | None:
        """The request that `data` is; None if it is for the parser."""
        try:
            last = self._last
            if last is not None and (request := last.again(data)) is not None:
                return request
            request = self._all.read(data)
            if request is not None and self._heads_left:
                # The first is not kept, for it may be the only one.
                self._heads_left -= 1
                if self._heads_left < MOST_HEADS:
                    request.said = self._last = Said(request, data)
        except Exception as error:
            self._last = None
            self._all.fallbacks.failed(error)
            return None
        return request


class KnownRequests:
    """The shapes and targets of requests that were served. Nothing is known where a bound is less than a shape's."""

    def __init__(self, bounds: ConnectionBounds, fallbacks: Fallbacks | None = None) -> None:
        self.fallbacks = fallbacks or Fallbacks()
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
        try:
            self._learn(message, data)
        except Exception as error:
            self.fallbacks.failed(error)

    def _learn(self, message: RawRequestMessage, data: bytes) -> None:
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
            names = tuple([name for name, _ in message.headers.items()])
            known = Known(message.method, names, {})
            self._shapes.learn(start, message.raw_headers, data, lambda: known, partial(_check, message))


def _check(message: RawRequestMessage, shape: Shape[Known], groups: Sequence[bytes]) -> None:
    """Raise ValueError unless a request of `shape` shows the fields that the parser found."""
    request = KnownRequest(shape, message.path, message.url, groups[1:], b"")
    if request.raw_headers != message.raw_headers or [*request.headers.items()] != [*message.headers.items()]:
        raise ValueError("a known request shows other fields than the parsed one")

"""What the head of a request tells, worked out once for all requests whose heads are alike.

A client sends the same fields with every request, but for a few that belong to this one: its length, its ids, its
trace. All that follows from the others is kept, in `Head`, and found again by them.

Rule: what proves who a client is, and what tells where it is, is no part of what is kept; but of the head that a
connection's last request had (`known_request.py`), which that same client may send again on it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import istr

from gateway.access.clients import Client
from gateway.downstream.client_address import Origin
from gateway.downstream.known_request import KnownRequest
from gateway.telemetry.client_hints import Hints, hints_of
from gateway.telemetry.fallbacks import Fallbacks
from gateway.upstream.retry_fields import DEADLINE, RETRIES
from gateway.wire import headers, mode
from gateway.wire.headers import Field, Fields

MOST: Final = 1024
"""Heads that are kept, and names that are."""
LONGEST: Final = 4096  # bytes of one
LONGEST_AGENT: Final = 1024  # characters
RETRY_COUNT: Final = istr("x-stainless-retry-count")


class Head(Struct, frozen=True, eq=False):
    """What is the same for all requests with these `fields`. `form` finds what was made of them for a provider."""

    form: headers.Form
    is_json: bool
    host: str
    user_agent: str
    retry_count: int
    hints: Hints
    modes: tuple[str, ...]  # that X-Stream-Mode asks for
    passed_here: bool
    asks_again: bool  # for retries or a deadline


class Told(Struct, eq=False):
    """The head of one request: what may be a gateway key, in order, and the values that `head.form` has no room for.

    `origin` and `proven` are for whoever reads where the request comes from, and from whom, if the same is told again.
    """

    head: Head
    keys: list[bytes]
    values: tuple[bytes, ...]
    continues_trace: bool
    origin: Origin | None = None
    proven: tuple[object, Client] | None = None


class Heads:
    """Reads heads, and knows them again. `via_name` is this gateway's own in `Via` fields."""

    def __init__(self, via_name: str = "llm-gateway", fallbacks: Fallbacks | None = None) -> None:
        self._via_name = via_name.encode("ascii")
        self._fallbacks = fallbacks or Fallbacks()
        self._known: dict[Fields, Head] = {}
        self._kinds: dict[bytes, int] = {}

    def read(self, request: web.BaseRequest) -> Told:
        """What the head of `request` tells."""
        message: Any = request._message
        if type(message) is KnownRequest:
            try:
                said = message.said
                if said is None:
                    return self._told(message, request)
                if said.told is None:
                    said.told = self._told(message, request)
                told: Told = said.told
                return told
            except Exception as error:
                self._fallbacks.failed(error)
        return self._read(request)

    def _read(self, request: web.BaseRequest) -> Told:
        """What the head of `request` tells, whatever its shape."""
        kinds, traced = self._kinds, False
        steady: list[Field] = []
        proofs: list[Field] = []
        values: tuple[bytes, ...] = ()
        for field in request._message.raw_headers:
            name = field[0]
            kind = kinds.get(name)
            if kind is None:
                kind = self._kind(name)
            if kind == _STEADY:
                steady.append(field)
            elif kind == _PROOF:
                proofs.append(field)
            elif kind == _OWN:
                steady.append((name, headers.HOLE))
                values = (*values, field[1])
            elif kind == _TRACE:
                traced = True
        fields = tuple(steady)
        head = self._known.get(fields) or self._learn(fields, request)
        return Told(head, headers.client_keys(proofs), values, traced)

    def _told(self, message: KnownRequest, request: web.BaseRequest) -> Told:
        """The same, of a request with the same names as others."""
        remembered, values = message.shape.kept.remembered, message.values
        where: _Where | None = remembered.get(self)
        if where is None:
            where = remembered[self] = self._where(message.shape.names)
        steady = where.steady(values)
        head = where.known.get(steady)
        if head is None:
            pairs = zip(message.raw_headers, where.kinds, strict=True)
            fields = [(field[0], headers.HOLE) if kind == _OWN else field for field, kind in pairs if kind in _KEPT]
            head = self._known.get(tuple(fields)) or self._learn(tuple(fields), request)
            if len(where.known) >= MOST_OF_A_SHAPE:
                where.known.clear()
            where.known[steady] = head
        keys: list[bytes] = []
        for at, is_bearer in where.proofs:
            key = headers.bearer_token(values[at]) if is_bearer else values[at]
            if key and key not in keys:
                keys.append(key)
        return Told(head, keys, where.own(values), where.traced)

    def _where(self, names: Sequence[bytes]) -> "_Where":
        kinds = [self._kind(name) for name in names]
        at: dict[int, list[int]] = {kind: [] for kind in range(5)}
        for index, kind in enumerate(kinds):
            at[kind].append(index)
        return _Where(
            kinds=kinds,
            steady=headers.taking(at[_STEADY]),
            proofs=headers.key_order([names[index] for index in at[_PROOF]], at[_PROOF]),
            own=headers.taking(at[_OWN]),
            traced=bool(at[_TRACE]),
            known={},
        )

    def _kind(self, name: bytes) -> int:
        lower = name.lower()
        kind = _ELSEWHERE if lower.startswith(_NOBODYS) else _KINDS.get(lower, _STEADY)
        if len(name) <= LONGEST_NAME:
            if len(self._kinds) >= MOST:
                self._kinds.clear()
            self._kinds[name] = kind
        return kind

    def _learn(self, fields: Fields, request: web.BaseRequest) -> Head:
        by_name = request.headers
        retries = by_name.get(RETRY_COUNT, "0")
        head = Head(
            form=headers.Form(fields),
            is_json=is_json(request),
            host=by_name.get(hdrs.HOST, ""),
            user_agent=by_name.get(hdrs.USER_AGENT, "")[:LONGEST_AGENT],
            retry_count=int(retries) if retries.isascii() and retries.isdigit() and len(retries) < 4 else 0,
            hints=hints_of(by_name),
            modes=tuple(by_name.getall(mode.HEADER, ())),
            passed_here=headers.passed_here_before(fields, self._via_name),
            asks_again=RETRIES in by_name or DEADLINE in by_name,
        )
        if sum([len(name) + len(value) for name, value in fields]) <= LONGEST:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[fields] = head
        return head


class _Where(NamedTuple):
    """Where in a head of known names there is what, and the heads that were met by the values that are kept."""

    kinds: Sequence[int]
    steady: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    proofs: Sequence[tuple[int, bool]]  # and whether it is a bearer token, in the order in which they are tried
    own: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    traced: bool
    known: dict[tuple[bytes, ...], Head]


def is_json(request: web.BaseRequest) -> bool:
    """Whether the client says that its body is JSON."""
    kind = request.content_type
    return kind == "application/json" or kind.endswith("+json")


LONGEST_NAME: Final = 64

MOST_OF_A_SHAPE: Final = 64

# What a field is to those that read heads: a part of what is kept, of no account here, a proof of who the client is,
# a value of this request alone that goes on to the provider, or the trace it belongs to.
_STEADY, _ELSEWHERE, _PROOF, _OWN, _TRACE = range(5)
_KEPT: Final = (_STEADY, _OWN)
_NOBODYS: Final = (b"proxy-", b"sec-websocket-")  # of one connection, some of them credentials; never sent on
_KINDS: Final[dict[bytes, int]] = {
    **dict.fromkeys(headers.CREDENTIALS, _ELSEWHERE),
    **dict.fromkeys(headers.WHO_THE_CLIENT_IS, _ELSEWHERE),
    **dict.fromkeys((b"content-length", b"baggage", b"x-forwarded-for", b"x-forwarded-host"), _ELSEWHERE),
    **dict.fromkeys((b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-server"), _ELSEWHERE),
    **dict.fromkeys(headers.KEY_FIELDS, _PROOF),
    **dict.fromkeys((b"x-request-id", b"x-correlation-id", b"x-client-request-id", b"idempotency-key"), _OWN),
    **dict.fromkeys((b"x-amzn-trace-id", b"x-cloud-trace-context"), _OWN),
    **dict.fromkeys((b"traceparent", b"tracestate"), _TRACE),
}

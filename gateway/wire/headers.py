"""Which fields may cross the gateway, each way (RFC 9110, section 7.6).

Rule 1: a field that is not named here crosses byte for byte, in order, as often as it came.
Rule 2: what belongs to one connection, to the client's identity or to the provider's host stays on its side.
Rule 3: fields the gateway adds come after the client's were sifted, so that no `Connection` field can name them away.

Fields are raw: `(name, value)` as received. Names of ours are given in any case and compared without regard to it.
"""

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct

from gateway.wire.provider_urls import URL_FIELDS, Mapper

Field = tuple[bytes, bytes]
Fields = Sequence[Field]

FRAMING: Final = frozenset({b"content-length"})
"""Left out of a response whose length is not known, or not the upstream's."""

REPRESENTATION: Final = FRAMING | {
    b"content-type",
    b"content-encoding",
    b"content-md5",
    b"content-digest",
    b"repr-digest",
    b"digest",
    b"etag",
    b"last-modified",
    b"accept-ranges",
    b"content-range",
}
"""Left out of a response whose body the gateway wrote anew: they describe the body that was."""

# RFC 9110, section 7.6.1; HTTP2-Settings: RFC 7540, section 3.2.1. The fields of a WebSocket handshake mean nothing
# without `Upgrade`, and OpenAI's realtime clients put a key into one of them.
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)
_HOP_BY_HOP_PREFIXES: Final = (b"proxy-", b"sec-websocket-")

CREDENTIALS: Final = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"ocp-apim-subscription-key",
        b"xi-api-key",
        b"x-auth-token",
        b"x-access-token",
        b"cookie",
        b"cookie2",
    }
)
WHO_THE_CLIENT_IS: Final = frozenset(
    {b"forwarded", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip"}
)
_SET_ANEW: Final = frozenset({b"host", b"content-length", b"expect", b"traceparent", b"tracestate", b"baggage"})

_NOT_UPSTREAM: Final = _HOP_BY_HOP | CREDENTIALS | WHO_THE_CLIENT_IS | _SET_ANEW | {b"x-stream-mode"}
_NOT_UPSTREAM_PREFIXES: Final = (*_HOP_BY_HOP_PREFIXES, b"x-forwarded-", b"x-gateway-")

# A browser believes these of the host that answers, which is ours. They would send it to the provider's HTTP/3
# endpoint, pin certificates or TLS, wipe storage, widen service workers, or report its failures to the provider.
_OF_THE_PROVIDERS_HOST: Final = frozenset(
    {
        b"alt-svc",
        b"strict-transport-security",
        b"expect-ct",
        b"public-key-pins",
        b"public-key-pins-report-only",
        b"clear-site-data",
        b"origin-agent-cluster",
        b"service-worker-allowed",
        b"accept-ch",
        b"critical-ch",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
        b"set-cookie",
        b"set-cookie2",
    }
)
# Who may read an answer across origins is this gateway's decision; `X-Accel-Redirect` and `X-Sendfile` would make
# the web server in front of it serve its own files.
_NOT_TO_CLIENT: Final = _HOP_BY_HOP | _OF_THE_PROVIDERS_HOST | {b"x-sendfile"}
_NOT_TO_CLIENT_PREFIXES: Final = (*_HOP_BY_HOP_PREFIXES, b"access-control-", b"x-accel-", b"x-gateway-")

# Asks a web server in front not to collect the response before passing it on.
_UNBUFFERED: Final[Field] = (b"X-Accel-Buffering", b"no")
_STREAM_TYPES: Final = (b"text/event-stream", b"application/x-ndjson")

# Shorter values, such as the `EMPTY` of local servers, protect nothing and stand in innocent fields.
_LEAST_SECRET: Final = 6


def to_upstream(
    fields: Fields,
    *,
    host: bytes,
    credential: Field | None = None,
    fixed: Fields = (),
    defaults: Fields = (),
    via: bytes,
) -> list[Field]:
    """The fields of the request to a provider, `Host` first; framing and the trace are left to who writes it.

    `via` is a whole member, such as `1.1 gateway`. `credential` and `fixed` take the place of whatever the client sent
    under their names; `defaults` go along where the client sent no such field.
    """
    sent, names = _sifted(fields, _UPSTREAM)
    added = [*fixed] if credential is None else [credential, *fixed]
    replaced = {name.lower() for name, _ in added}
    if not replaced.isdisjoint(names):
        sent = [field for field, name in zip(sent, names, strict=True) if name not in replaced]
    names += replaced
    added += [field for field in defaults if field[0].lower() not in names]
    return [(b"Host", host), *sent, *added, (b"Via", via)]


def reaches_a_provider(name: bytes) -> bool:
    """Whether a client's field called `name` is passed on to providers."""
    return _is_token(name) is not None and bool(_UPSTREAM.verdict(name))


class Layout(Struct, frozen=True, gc=False, eq=False):
    """What the names in a response's head tell, whatever the values: the same for all heads that have them in the same
    order, and so worked out once for most. `at` is where a name, in lower case, stands first; where those stand that
    every response is asked for is told apart, None if they do not.

    `urls` are the places of fields that may hold the provider's own URLs, and what maps those.
    `template` makes lines of those values that are `passing`; None if a name cannot stand in a line.
    """

    at: Mapping[bytes, int]
    content_type: int | None
    content_encoding: int | None
    content_length: int | None
    request_id: int | None
    urls: tuple[tuple[int, Mapper], ...]
    keep_alive: int | None
    passing: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    connections: int
    lengths: int
    encodings: int
    template: bytes | None


def layout_of(fields: Fields) -> Layout:
    """The layout of a response's head."""
    names = tuple([name for name, _ in fields])
    return _LAYOUTS.get(names) or _laid_out(names)


def _laid_out(names: tuple[bytes, ...]) -> Layout:
    passing = tuple(map(_CLIENT.verdict, names))
    lower = [name.lower() for name in names]
    kept = [*compress(names, passing)]
    at = {name: index for index, name in reversed([*enumerate(lower)])}
    layout = Layout(
        at=at,
        content_type=at.get(b"content-type"),
        content_encoding=at.get(b"content-encoding"),
        content_length=at.get(b"content-length"),
        request_id=at.get(b"x-request-id", at.get(b"request-id")),
        urls=tuple([(index, URL_FIELDS[name]) for index, name in enumerate(lower) if name in URL_FIELDS]),
        keep_alive=at.get(b"keep-alive"),
        passing=taking([index for index, passes in enumerate(passing) if passes]),
        connections=lower.count(b"connection"),
        lengths=lower.count(b"content-length"),
        encodings=lower.count(b"content-encoding"),
        template=b"".join([name.replace(b"%", b"%%") + b": %b\r\n" for name in kept]) if all_tokens(kept) else None,
    )
    if len(_LAYOUTS) >= _MOST_LAYOUTS:
        _LAYOUTS.clear()
    _LAYOUTS[names] = layout
    return layout


def taking(indexes: Sequence[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    """What takes the values at some places out of all values."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    if not indexes:
        return lambda values: ()
    only = indexes[0]
    return lambda values: (values[only],)


def all_tokens(names: Iterable[bytes]) -> bool:
    """Whether all of them can be the name of a field (RFC 9110, section 5.6.2)."""
    return all(map(_is_token, names))


_is_token: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_LAYOUTS: Final[dict[tuple[bytes, ...], Layout]] = {}
_MOST_LAYOUTS: Final = 512


def to_client(fields: Fields, *, key: bytes = b"", without: Collection[bytes] = ()) -> list[Field]:
    """The fields of the response to a client.

    `key` is the provider's: a field that holds it is left out. `without` are further names, in lower case, to leave
    out: nothing for a body relayed as it came (its `Content-Length` then stays), `REPRESENTATION` for one written
    anew. A body without a length, or an event stream, is marked as not to be buffered.
    """
    kept, names = _sifted(fields, _CLIENT)
    streamed = b"content-length" in without or b"content-length" not in names or _is_event_stream(kept, names)
    if without:
        kept = [field for field, name in zip(kept, names, strict=True) if name not in without]
    if len(key) >= _LEAST_SECRET and key in b"\n".join([value for _, value in kept]):
        kept = [field for field in kept if key not in field[1]]
    if streamed:
        kept.append(_UNBUFFERED)
    return kept


HOLE: Final = b"\0"
"""Stands for a value that differs from request to request. No field that was received has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """The fields of many requests, with `HOLE` for the values that are not the same in all of them.

    What no provider is sent may be left out.
    """

    fields: Fields

    def filled(self, values: Sequence[bytes]) -> list[Field]:
        """The fields of one request, with its `values` in the holes."""
        left = iter(values)
        return [(name, next(left) if value is HOLE else value) for name, value in self.fields]


def template_of(lines: bytes) -> bytes:
    """Header lines with holes, so that `%` fills them."""
    return lines.replace(b"%", b"%%").replace(HOLE, b"%b")


def new_via_name() -> str:
    """A pseudonym for `Via` (RFC 9110, section 7.6.3) that no other gateway has; it reveals nothing about the host."""
    return f"llm-gateway-{secrets.token_hex(4)}"


def passed_here_before(fields: Iterable[Field], pseudonym: bytes) -> bool:
    """Whether a `Via` field names this gateway as an earlier stop (RFC 9110, section 7.6.3)."""
    wanted = pseudonym.lower()
    for name, value in fields:
        if len(name) == 3 and name.lower() == b"via":
            for member in value.lower().split(b","):
                words = member.split(None, 2)
                if len(words) > 1 and words[1] == wanted:
                    return True
    return False


def client_keys(fields: Iterable[Field]) -> list[bytes]:
    """The values that may be a gateway key, in the order in which they are to be tried, none twice."""
    found = [
        (rank, bearer_token(value) if rank == _BEARER else value.strip())
        for name, value in fields
        if len(name) in _KEY_FIELD_LENGTHS and (rank := KEY_FIELDS.get(name.lower())) is not None
    ]
    found.sort(key=_by_rank)
    return [*dict.fromkeys([candidate for _, candidate in found if candidate])]


KEY_FIELDS: Final = {
    b"x-api-key": 0,
    b"authorization": 1,
    b"api-key": 2,
    b"x-goog-api-key": 3,
    b"xi-api-key": 4,
    b"ocp-apim-subscription-key": 5,
}
_KEY_FIELD_LENGTHS: Final = frozenset(map(len, KEY_FIELDS))
_BEARER: Final = KEY_FIELDS[b"authorization"]


_by_rank: Final = itemgetter(0)


def key_order(names: Sequence[bytes], at: Sequence[int]) -> list[tuple[int, bool]]:
    """Of fields with these names, each a key's, the places `at` which they stand as `client_keys` tries them, and
    whether a bearer token stands there.
    """
    ranked = sorted((KEY_FIELDS[name.lower()], index) for name, index in zip(names, at, strict=True))
    return [(index, rank == _BEARER) for rank, index in ranked]


def bearer_token(value: bytes) -> bytes:
    """The token in an Authorization field, nothing if there is none."""
    if value.startswith(b"Bearer "):
        return value[7:].strip()
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def key_in_query(query: str) -> bool:
    """Whether a raw query has a parameter that is a key by its name, however the name is spelled."""
    if not query:
        return False
    for parameter in query.split("&"):
        name = parameter.partition("=")[0]
        if "%" in name or "+" in name:
            name = unquote_plus(name).strip()
        if name.lower().replace("_", "-") in _KEY_PARAMETERS:
            return True
    return False


_KEY_PARAMETERS: Final = frozenset(
    {
        "key",
        "apikey",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "xi-api-key",
        "access-token",
        "auth-token",
        "authorization",
        "bearer",
        "subscription-key",
        "ocp-apim-subscription-key",
    }
)


class _Sieve:
    """Which names one side does not get. Remembers its verdicts: a client sends the same names again and again."""

    __slots__ = ("_names", "_prefixes", "verdicts")

    # Bounds what names made up by a client can hold in memory.
    _most_verdicts = 2048
    _longest_name = 64

    def __init__(self, names: Collection[bytes], prefixes: tuple[bytes, ...]) -> None:
        self._names = names
        self._prefixes = prefixes
        self.verdicts: dict[bytes, bytes] = {}

    def verdict(self, name: bytes) -> bytes:
        """The name in lower case, or nothing if it is held back."""
        lower = name.lower()
        passing = b"" if lower in self._names or lower.startswith(self._prefixes) else lower
        if len(name) <= self._longest_name:
            if len(self.verdicts) >= self._most_verdicts:
                self.verdicts.clear()
            self.verdicts[name] = passing
        return passing


_UPSTREAM: Final = _Sieve(_NOT_UPSTREAM, _NOT_UPSTREAM_PREFIXES)
_CLIENT: Final = _Sieve(_NOT_TO_CLIENT, _NOT_TO_CLIENT_PREFIXES)
NO_FIELDS: Final = layout_of(())


def _sifted(fields: Fields, sieve: _Sieve) -> tuple[list[Field], list[bytes]]:
    """The fields that pass `sieve` and are not named by a `Connection` field, and their names in lower case."""
    verdicts = [*map(sieve.verdicts.get, [name for name, _ in fields])]
    if None in verdicts:
        verdicts = [
            sieve.verdict(name) if known is None else known for (name, _), known in zip(fields, verdicts, strict=True)
        ]
    kept = [*compress(fields, verdicts)]
    names = [name for name in verdicts if name]
    held_back = _named_by_connection(fields, verdicts)
    if held_back.isdisjoint(names):
        return kept, names
    pairs = [(field, name) for field, name in zip(kept, names, strict=True) if name not in held_back]
    return [field for field, _ in pairs], [name for _, name in pairs]


def _named_by_connection(fields: Fields, verdicts: Sequence[bytes | None]) -> set[bytes]:
    """What `Connection` fields, which are always held back themselves, hold back beside them."""
    named: set[bytes] = set()
    for (name, value), passing in zip(fields, verdicts, strict=True):
        if not passing and len(name) == 10 and value not in _USUAL_CONNECTION and name.lower() == b"connection":
            named.update(map(bytes.strip, value.lower().split(b",")))
    return named


def client_lines(values: Sequence[bytes], layout: Layout, key: bytes = b"") -> bytes | None:
    """What `to_client` makes of the fields of a body that is relayed as it came, as lines of a head. No value of theirs
    may hold a CR, LF or NUL; the transports let none through (`upstream/heads.py`).

    None if there is anything unusual about them: then `to_client` is to look closer.
    """
    if layout.template is None or layout.lengths > 1 or not _is_usual(values, layout):
        return None
    lines = layout.template % layout.passing(values)
    # Asked with `in`, bytes raise an error inside and catch it, before they look.
    if len(key) >= _LEAST_SECRET and lines.find(key) >= 0:
        return None
    kind = layout.content_type
    if not layout.lengths or (kind is not None and values[kind].lower().startswith(_STREAM_TYPES)):
        lines += b"%b: %b\r\n" % _UNBUFFERED
    return lines


def _is_usual(values: Sequence[bytes], layout: Layout) -> bool:
    """Whether no field of the response is held back because a `Connection` field names it."""
    if layout.connections == 1:
        return values[layout.at[b"connection"]] in _USUAL_CONNECTION
    return not layout.connections


_USUAL_CONNECTION: Final = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"Close"})


def _is_event_stream(fields: Fields, names: Sequence[bytes]) -> bool:
    if b"content-type" not in names:
        return False
    return fields[names.index(b"content-type")][1].lower().startswith(_STREAM_TYPES)

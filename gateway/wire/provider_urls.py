"""A provider's own URLs in response fields, mapped to the gateway's route for that provider.

A client that follows such a URL as it came goes round the gateway, and takes the gateway's key along. As with nginx's
`proxy_redirect`, what is below the provider's base URL becomes `/provider/<name>/...`, every byte after that as it was.
Anything else stays as it came: other origins, paths outside the base URL (no route leads there), and references that
are relative to the path or climb, which mean the same below the gateway's route.

`Location`, `Content-Location`, `Link` and `Refresh` hold URI references (RFC 9110, section 10.2.2; RFC 8288): a mapped
one has neither scheme nor host, so it is right whatever stands in front of the gateway. SDKs use the other fields as
absolute URLs: those name the origin that the client called.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from yarl import URL

from gateway.wire.target import climbs

_DEFAULT_PORTS: Final = (80, 443)
_SCHEMES: Final = (b"", b"http:", b"https:")
_END_OF_AUTHORITY: Final = re.compile(rb"[/?#]|$")
_END_OF_PATH: Final = re.compile(rb"[?#]|$")


class ProviderUrls:
    """Maps the URLs below a provider's base URL to `route`, such as `/provider/openai`.

    The scheme may be either one: servers behind a TLS terminator often write `http`.
    """

    __slots__ = ("_authorities", "_base", "_route")

    def __init__(self, base_url: URL, route: str) -> None:
        host, port = (base_url.host_subcomponent or "").lower(), base_url.port
        ports = [f":{port}"] if port not in _DEFAULT_PORTS else ["", *[f":{default}" for default in _DEFAULT_PORTS]]
        self._authorities = frozenset([(host + port).encode("ascii") for port in ports])
        self._base = base_url.raw_path.rstrip("/").encode("ascii")
        self._route = route.encode("ascii")

    def mapped(self, url: bytes, origin: bytes = b"") -> bytes:
        """`url` as a client of the gateway reaches it; below `origin` if it is absolute, else as a path."""
        if url.startswith(b"/") and not url.startswith(b"//"):
            target, origin = url, b""
        else:
            scheme, slashes, rest = url.partition(b"//")
            end = _end(_END_OF_AUTHORITY, rest)
            if not slashes or scheme.lower() not in _SCHEMES or rest[:end].lower() not in self._authorities:
                return url
            target = rest[end:]
        below = self._below(target)
        return url if below is None else origin + self._route + below

    def _below(self, target: bytes) -> bytes | None:
        """The part of a target that follows the base path, from its slash on; None if the target is elsewhere."""
        if not target.startswith(self._base):
            return None
        below = target[len(self._base) :]
        path, rest = below[: _end(_END_OF_PATH, below)] or b"/", below[_end(_END_OF_PATH, below) :]
        return path + rest if path.startswith(b"/") and not climbs(path.decode("latin-1")) else None


def _end(pattern: re.Pattern[bytes], text: bytes) -> int:
    found = pattern.search(text)
    return len(text) if found is None else found.start()


Mapper = Callable[[ProviderUrls, bytes, bytes], bytes]
"""Maps the URLs in a field's value; the last argument is the origin that the client called."""


def _reference(urls: ProviderUrls, value: bytes, origin: bytes) -> bytes:
    return urls.mapped(value)


def _absolute(urls: ProviderUrls, value: bytes, origin: bytes) -> bytes:
    return urls.mapped(value, origin)


def _links(urls: ProviderUrls, value: bytes, origin: bytes) -> bytes:
    """The target of each link; parameters stay."""
    return _TARGETS.sub(lambda found: found[0] if found[1] is None else b"<%b>" % urls.mapped(found[1]), value)


def _refresh(urls: ProviderUrls, value: bytes, origin: bytes) -> bytes:
    """The URL in `0; url=/x`, between quotes or not (WHATWG HTML, "shared declarative refresh steps")."""
    found = _REFRESH.fullmatch(value)
    return value if found is None else found[1] + urls.mapped(found[2]) + found[3]


_TARGETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|<([^>]*)>')
_REFRESH: Final = re.compile(rb"([^;,]*[;,][ \t]*url[ \t]*=[ \t]*[\"']?)([^\"']*)(.*)", re.IGNORECASE)

URL_FIELDS: Final[Mapping[bytes, Mapper]] = {
    b"location": _reference,
    b"content-location": _reference,
    b"link": _links,
    b"refresh": _refresh,
    b"operation-location": _absolute,
    b"azure-asyncoperation": _absolute,
    b"x-goog-upload-url": _absolute,
    b"x-goog-upload-control-url": _absolute,
}
"""By their names in lower case, the fields in which providers send URLs of their own."""


def mapped_values(
    values: Sequence[bytes], fields: Sequence[tuple[int, Mapper]], urls: ProviderUrls, origin: bytes
) -> list[bytes]:
    """The values of a response's fields, with the URLs mapped at the places in `fields`."""
    changed = list(values)
    for index, mapper in fields:
        changed[index] = mapper(urls, values[index], origin)
    return changed

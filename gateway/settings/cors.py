"""Which web pages may call the gateway from a browser. None, unless their origins are listed."""

import re
from dataclasses import dataclass

from gateway.settings.reader import Reader

ANY = "*"
LONGEST_MAX_AGE = 86_400  # seconds; no browser keeps an answer longer
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = (
    "X-Gateway-Request-Id",
    "X-Gateway-Error",
    "X-Gateway-Attempts",
    "X-Gateway-Provider",
    "X-Request-Id",
    "Request-Id",
    "Retry-After",
    "X-Should-Retry",
    "RateLimit",
    "RateLimit-Policy",
)
ABOUT_ORIGINS = (
    "Comma-separated origins of web pages that may call: https://app.example.com, https://*.example.com for every "
    "subdomain, or * for all; not set: none"
)
ABOUT_HEADERS = "Request fields that these pages may send; * allows all they ask for"
ABOUT_EXPOSED = "Response fields that their scripts may read; * for all"
ABOUT_CREDENTIALS = "Whether their requests may carry cookies or client certificates, for a proxy in front that asks"


@dataclass(frozen=True, slots=True)
class CorsSettings:
    """`origins` are `scheme://host[:port]`, such with `*.` before the host, or `*` alone. `max_age` in seconds."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    headers: tuple[str, ...] = (ANY,)
    expose_headers: tuple[str, ...] = EXPOSED
    credentials: bool = False
    max_age: int = 600


def read_cors(reader: Reader) -> CorsSettings:
    """The section; what no browser would send, or what would let everybody in with credentials, is a problem."""
    reader.chapter("Browsers")
    origins = tuple(_origin(reader, entry) for entry in reader.names("GATEWAY_CORS_ORIGINS", (), ABOUT_ORIGINS))
    methods = reader.names("GATEWAY_CORS_METHODS", METHODS, "Methods that these pages may use")
    settings = CorsSettings(
        origins=origins,
        methods=tuple(method.upper() for method in methods),
        headers=_fields(reader, "GATEWAY_CORS_HEADERS", (ANY,), ABOUT_HEADERS),
        expose_headers=_fields(reader, "GATEWAY_CORS_EXPOSE_HEADERS", EXPOSED, ABOUT_EXPOSED),
        credentials=reader.flag("GATEWAY_CORS_CREDENTIALS", False, ABOUT_CREDENTIALS),
        max_age=reader.integer(
            "GATEWAY_CORS_MAX_AGE",
            600,
            "Seconds a browser may remember what it was allowed",
            most=LONGEST_MAX_AGE,
        ),
    )
    if any(not _is_token(method) for method in methods):
        reader.problem("GATEWAY_CORS_METHODS", "must be methods such as GET, separated by commas")
    if ANY in origins and len(origins) > 1:
        reader.problem("GATEWAY_CORS_ORIGINS", "* allows every origin; write it alone, or leave it out")
    if ANY in origins and settings.credentials:
        reader.problem("GATEWAY_CORS_CREDENTIALS", "cannot be true where GATEWAY_CORS_ORIGINS is *; list the origins")
    return settings


def _origin(reader: Reader, entry: str) -> str:
    """`entry` as a browser writes an origin: in lower case, without the scheme's own port."""
    origin = entry.lower()
    if origin == ANY:
        return origin
    found = _is_origin(origin)
    if found is None:
        reader.problem("GATEWAY_CORS_ORIGINS", f"`{entry}` is no origin such as https://app.example.com: {_SHAPE}")
        return origin
    scheme, host, port = found.groups()
    if host.startswith("*.") and "." not in host[2:] and host != "*.localhost":
        reader.problem("GATEWAY_CORS_ORIGINS", f"`{entry}` allows a whole top-level domain")
    return f"{scheme}://{host}" if port is None or _OWN_PORTS.get(scheme) == port else f"{scheme}://{host}:{port}"


_SHAPE = "a scheme, a host, perhaps a port, and nothing after them"
_LABELS = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_is_origin = re.compile(rf"([a-z][a-z0-9+.-]*)://((?:\*\.)?{_LABELS}|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?").fullmatch
_OWN_PORTS = {"https": "443", "http": "80"}


def _fields(reader: Reader, name: str, default: tuple[str, ...], about: str) -> tuple[str, ...]:
    fields = reader.names(name, default, about)
    if fields != (ANY,) and any(not _is_token(field) or field == ANY for field in fields):
        reader.problem(name, "must be names of fields, separated by commas, or * alone")
    return fields


_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch

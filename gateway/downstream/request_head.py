"""What the head of a request must look like before anything is done for it.

aiohttp's parser refuses most of what is ambiguous; here stands what it lets through. An objection is chosen from a
closed list, so that nothing the client sent can get into a log line or a response by way of an error message.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiohttp.hdrs import CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from gateway.errors import (
    ExpectationFailed,
    GatewayError,
    HeadTooLarge,
    MalformedRequest,
    MethodNotImplemented,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    TargetTooLong,
    VersionNotSupported,
)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a request is not served: which failure it is, and a few words that hold nothing of the client's."""

    error: type[GatewayError]
    reason: str

    def raised(self) -> GatewayError:
        """The failure as the caller is told about it."""
        return self.error(f"{self.error.title}: {self.reason}.", retry_after=1 if self.error is Overloaded else None)


TOO_MANY_CONNECTIONS = Objection(Overloaded, "too many connections")
HEAD_TIMEOUT = Objection(RequestTimeout, "head timeout")
BODY_TIMEOUT = Objection(RequestTimeout, "body timeout")
HEAD_TOO_LARGE = Objection(HeadTooLarge, "too many bytes")

_TOO_MANY_FIELDS = Objection(HeadTooLarge, "too many fields")
_FIELD_TOO_LONG = Objection(HeadTooLarge, "a field is too long")
_TARGET_TOO_LONG = Objection(TargetTooLong, "the request line is too long")
_VERSION = Objection(VersionNotSupported, "neither HTTP/1.0 nor HTTP/1.1")
_METHOD = Objection(MethodNotImplemented, "not a method of this server")
_TARGET = Objection(MalformedRequest, "the target is not a path")
_HOST = Objection(MalformedRequest, "the Host field names no host")
_CODING = Objection(MalformedRequest, "the Transfer-Encoding is not `chunked`")
_CODING_IN_1_0 = Objection(MalformedRequest, "HTTP/1.0 has no Transfer-Encoding")
_LENGTH = Objection(PayloadTooLarge, "the Content-Length is beyond any body")
_EXPECTATION = Objection(ExpectationFailed, "only `100-continue` can be expected")

# CONNECT and SOURCE would turn the connection into a tunnel; a provider that answered TRACE would show its key.
_NOT_IMPLEMENTED = frozenset({"CONNECT", "TRACE", "SOURCE", "PRI"})
# uri-host [ ":" port ] (RFC 3986, section 3.2.2). Remembered, because the same few come with every request.
_is_host = lru_cache(256)(
    re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch,
)
_MAX_LENGTH_DIGITS = 18  # the parser takes 2^64-1 for "no body"


def objection_to(message: RawRequestMessage) -> Objection | None:
    """What is wrong with a head that the parser let through, if anything is."""
    fields, target = message.headers, message.path
    if message.version is not HttpVersion11:
        if message.version != HttpVersion10:
            return _VERSION
        if TRANSFER_ENCODING in fields:
            return _CODING_IN_1_0
    if message.method in _NOT_IMPLEMENTED:
        return _METHOD
    # Origin-form (RFC 9112, section 3.2.1), and no fragment; the parser sees to it that all bytes are visible.
    if target[0] != "/" or "#" in target:
        return _TARGET
    if not _is_host(fields.get(HOST, "none")):
        return _HOST
    # An empty Transfer-Encoding has no body for the parser, and may well have one for whoever is next.
    if TRANSFER_ENCODING in fields and fields[TRANSFER_ENCODING].lower() != "chunked":
        return _CODING
    if len(fields.get(CONTENT_LENGTH, "")) > _MAX_LENGTH_DIGITS:
        return _LENGTH
    # HTTP/1.0 knows no expectations (RFC 9110, section 10.1.1).
    if EXPECT in fields and message.version is HttpVersion11:
        met = all(value.lower() == "100-continue" for value in fields.getall(EXPECT))
        return None if met else _EXPECTATION
    return None


def in_origin_form(message: RawRequestMessage, *, may_be_https: bool) -> RawRequestMessage:
    """The request with its target in origin-form, if that is in absolute-form and names the origin that `Host` names.

    A server must accept absolute-form (RFC 9112, section 3.2.2). Where authority and `Host` differ, a proxy is to
    believe the authority, but one in front may have believed `Host`. Such a request is returned as it came, and
    `objection_to` refuses it. The same holds for https that came neither over TLS nor from a trusted proxy (RFC 9110,
    section 7.4), and for user information (section 4.2.4).
    """
    found = _absolute_form(message.path)
    if found is None:
        return message
    scheme, authority, target = found[1].lower(), found[2], found[3] or "/"
    if scheme == "https" and not may_be_https:
        return message
    if _without_default_port(scheme, authority) != _without_default_port(scheme, message.headers.get(HOST, "")):
        return message
    if target[0] != "/":
        target = f"/{target}"
    path, _, query = target.partition("?")
    return message._replace(path=target, url=URL.build(path=path, query_string=query, encoded=True))


_absolute_form = re.compile(r"(https?)://([^/?#@]+)([/?].*)?", re.IGNORECASE | re.DOTALL).fullmatch


def _without_default_port(scheme: str, authority: str) -> str:
    return authority.lower().removesuffix(":80" if scheme == "http" else ":443").removesuffix(":")


def to_come(messages: Sequence[tuple[RawRequestMessage, StreamReader]], data: bytes) -> int:
    """How many bytes of its body a request still sends that began with `data`, which the parser took for `messages`.

    Below 0 if the next request may have begun already, or that cannot be told.
    """
    if len(messages) != 1 or messages[0][0].chunked or data[0] in b"\r\n":  # the parser skips empty lines
        return -1
    end = data.find(b"\r\n\r\n") + 4
    length = messages[0][0].headers.get(CONTENT_LENGTH, "0")
    return int(length) - (len(data) - end) if end > 3 and len(length) <= _MAX_LENGTH_DIGITS else -1


def objection_to_size(message: RawRequestMessage, max_bytes: int) -> Objection | None:
    """Whether a head that may have been too large was."""
    size = len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return HEAD_TOO_LARGE if size > max_bytes else None


def objection_of_parser(error: HttpProcessingError, max_line: int) -> Objection:
    """What the parser held against a request, without the bytes it quotes."""
    if isinstance(error, LineTooLong):
        return _TARGET_TOO_LONG if error.args[1] == max_line else _FIELD_TOO_LONG
    words = error.message.removeprefix("Bad status line:\n  ").partition(":\n")[0]
    if words in _KNOWN:
        return _KNOWN[words]
    if isinstance(error, InvalidURLError):
        return _TARGET
    return Objection(MalformedRequest, words if _is_plain(words) else "not HTTP")


_KNOWN = {
    "Too many headers received": _TOO_MANY_FIELDS,
    "Invalid HTTP version": _VERSION,
    "Pause on PRI/Upgrade": _VERSION,
    "Data after `Connection: close`": Objection(MalformedRequest, "more after a last request"),
}
# llhttp's own fixed phrases are words; whatever quotes the client has quotes, brackets or backslashes in it.
_is_plain = re.compile(r"[A-Z][A-Za-z0-9 /`'.-]{2,79}").fullmatch


def without_expectation(message: RawRequestMessage) -> RawRequestMessage:
    """The same head, the Expect field gone: it is between the client and this server."""
    fields = CIMultiDict(message.headers)
    fields.popall(EXPECT)
    raw = tuple(pair for pair in message.raw_headers if pair[0].lower() != b"expect")
    return message._replace(headers=CIMultiDictProxy(fields), raw_headers=raw)

"""Heads as bytes, for every transport: how a request's is written, and which response's is refused."""

import asyncio
from typing import Protocol

from aiohttp.hdrs import TRANSFER_ENCODING
from aiohttp.http import HttpVersion
from multidict import MultiMapping

from gateway.errors import UpstreamError
from gateway.errors import UpstreamFailure as Failure
from gateway.upstream.failures import malformed
from gateway.upstream.transport import Outgoing

_WITH_CONTENT = ("POST", "PUT", "PATCH")


MAX_COPIED_BYTES = 1 << 16
"""A body of up to this size is copied behind the head: that costs less than a second write."""


def write(transport: asyncio.WriteTransport, request: Outgoing) -> None:
    """Write the head of `request`, target and lines verbatim, then the framing; and the body, if that is here whole."""
    body, content = request.body, b""
    if isinstance(body, bytes):
        framing = b"content-length: %d\r\n" % len(body)
        content = body if len(body) <= MAX_COPIED_BYTES else b""
    elif body is None:
        # A method that usually carries content says that there is none (RFC 9110, section 8.6).
        framing = b"content-length: 0\r\n" if request.method in _WITH_CONTENT else b""
    elif request.length is None:
        framing = b"transfer-encoding: chunked\r\n"
    else:
        framing = b"content-length: %d\r\n" % request.length
    method = request.method.encode("ascii")
    transport.write(b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (method, request.target, request.lines, framing, content))
    if isinstance(body, bytes) and body and not content:
        transport.write(body)


class Head(Protocol):
    """What aiohttp's parser, and its `ClientResponse`, make of a response's head."""

    @property
    def version(self) -> HttpVersion | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def headers(self) -> MultiMapping[str]: ...


def refuse_ambiguous(provider: str, head: Head) -> None:
    """Raise UpstreamError if a response's head could mean two things to two readers, or cannot be passed on."""
    version, values = head.version, b"".join([value for _, value in head.raw_headers])
    if version is None or version.major != 1 or b"\r" in values or b"\n" in values or b"\0" in values:
        is_version = version is None or version.major != 1
        raise malformed(provider, Failure.MALFORMED_STATUS_LINE if is_version else Failure.MALFORMED_FIELD)
    if "\0" in (head.reason or ""):
        raise malformed(provider, Failure.MALFORMED_STATUS_LINE)
    for coding in head.headers.getall(TRANSFER_ENCODING, ()):
        if coding.strip().lower() != "chunked":
            text = f"{provider} sent a transfer coding that cannot be undone."
            raise UpstreamError(text, failure=Failure.MALFORMED_TRANSFER_ENCODING)


def rest_of_head(before: bytes, data: bytes) -> tuple[int, bytes]:
    """How many bytes of `data` belong to the head that ended with `before` so far, and with what it ends now.

    b"" where it is complete.
    """
    seen = before + data
    end = seen.find(b"\r\n\r\n")
    return (len(data), seen[-3:]) if end < 0 else (end + 4 - len(before), b"")

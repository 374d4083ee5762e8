"""A response whose head goes out as the upstream sent it, byte for byte.

aiohttp's own serialiser drops every byte of a field that is not UTF-8 and adds `Server` and `Content-Type`. Here the
fields stay the bytes that were received, in their order, repeated ones and odd casing included; framing and persistence
alone are this server's to say. Only when somebody asks for `headers` do they become text, which stands for exactly
those bytes: most responses leave without ever having been decoded.
"""

import re
from collections.abc import Iterable, Sequence
from typing import cast

from aiohttp import hdrs, web
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time
from aiohttp.http import HttpVersion11, StreamWriter
from multidict import CIMultiDict

_CHUNKED = (b"Transfer-Encoding", b"chunked")
_CLOSE = (b"Connection", b"close")

_are_tokens = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\0[!#$%&'*+.^_`|~0-9A-Za-z-]+)*").fullmatch


class RelayedResponse(web.StreamResponse):
    """A response with the fields of another one, ready for whatever a `StreamResponse` can do but compress.

    `fields` are names and values as received; ValueError if they cannot be sent as they are (CR, LF or NUL, a name
    that is none, lengths that contradict each other). `headers` shows them, and is where a signal adds to them.
    The head leaves with the first chunk, in one piece; `flush_head` sends it ahead. A `body` that is known whole
    needs no writing: it goes out when the handler returns.
    """

    _send_headers_immediately = False

    def __init__(
        self, status: int, reason: str | None, fields: Iterable[tuple[bytes, bytes]], *, body: bytes | None = None
    ) -> None:
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of a final response")
        self._raw: list[tuple[bytes, bytes]] | None = None
        super().__init__(status=status, reason=reason)
        self._raw = [*fields]
        self._names = _checked(self._raw)
        self._length = self._agreed_length()
        self._whole = body or b""
        if body is not None and self._length is None:
            self._length = len(body)
            self.add(b"Content-Length", b"%d" % len(body))
        if b"\0transfer-encoding\0" in self._names or b"\0connection\0" in self._names or status == 204:
            self._become_text()

    def _agreed_length(self) -> int | None:
        assert self._raw is not None
        if b"\0content-length\0" not in self._names:
            return None
        lengths = [value for name, value in self._raw if len(name) == 14 and name.lower() == b"content-length"]
        length = lengths[0]
        if not length.isdigit() or any(other != length for other in lengths):
            raise ValueError("The Content-Length is not one number")
        if len(lengths) > 1:
            self._headers[hdrs.CONTENT_LENGTH] = length.decode("ascii")
        return int(length)

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field that `fields` did not have; both are ASCII."""
        if self._raw is None:
            self._headers[name.decode("ascii")] = value.decode("ascii")
        else:
            self._raw.append((name, value))

    @property  # type: ignore[override]
    def _headers(self) -> CIMultiDict[str]:
        if self._raw is not None:
            self._become_text()
        return self._text

    @_headers.setter
    def _headers(self, fields: CIMultiDict[str]) -> None:
        self._text = fields

    def _become_text(self) -> None:
        raw, self._raw = self._raw, None
        self._text.extend((_decoded(name), _decoded(value)) for name, value in raw or ())

    async def flush_head(self) -> None:
        """Send the head now, not with the first chunk: a stream's client wants to know that it has begun."""
        self._writer().send_headers()

    def put(self, piece: bytes) -> bool:
        """Write a `piece`, not an empty one, now, room or not; False if the client has left."""
        writer = cast(StreamWriter, self._payload_writer)
        transport = writer._protocol.transport
        if transport is None or transport.is_closing():
            return False
        if writer.chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        elif writer.length is not None:
            piece = piece[: writer.length]
            writer.length -= len(piece)
        if writer._headers_buf is not None:
            piece = writer._headers_buf + piece
            writer._headers_buf, writer._headers_written = None, True
        writer.output_size += len(piece)
        transport.write(piece)
        return True

    async def write_eof(self, data: bytes = b"") -> None:
        """End the body; a body shorter than its Content-Length ends the connection, lest the next answer fill it."""
        if self._eof_sent:
            return
        writer = self._writer()
        data = data or self._whole
        if data and writer.length is not None:
            await self.write(data)
            data = b""
        missing = writer.length
        await super().write_eof(data)
        if missing:
            self._keep_alive = False
            if writer.transport is not None:
                writer.transport.close()

    def _writer(self) -> StreamWriter:
        if self._payload_writer is None:
            raise RuntimeError("The response has not been prepared, or has ended")
        return cast(StreamWriter, self._payload_writer)

    async def _prepare_headers(self) -> None:
        request = self._req
        assert request is not None
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        self._must_be_empty_body = must_be_empty_body(request.method, self._status)
        if self._raw is not None and not self._cookies:
            self._prepare_raw(request, self._raw)
            return
        fields = self._headers
        fields.popall(hdrs.TRANSFER_ENCODING, None)
        fields.popall(hdrs.CONNECTION, None)
        if self._status == 204:
            fields.popall(hdrs.CONTENT_LENGTH, None)
        elif hdrs.CONTENT_LENGTH not in fields and not self._must_be_empty_body:
            if request.version >= HttpVersion11:
                self._chunked = True
                fields[hdrs.TRANSFER_ENCODING] = "chunked"
            else:
                self._keep_alive = False
        if hdrs.DATE not in fields:
            fields[hdrs.DATE] = rfc822_formatted_time()
        if not self._keep_alive:
            fields[hdrs.CONNECTION] = "close"
        for cookie in self._cookies.values() if self._cookies else ():
            fields.add(hdrs.SET_COOKIE, cookie.output(header="")[1:])

    def _prepare_raw(self, request: web.BaseRequest, fields: list[tuple[bytes, bytes]]) -> None:
        if self._length is None and not self._must_be_empty_body:
            if request.version >= HttpVersion11:
                self._chunked = True
                fields.append(_CHUNKED)
            else:
                self._keep_alive = False
        if b"\0date\0" not in self._names:
            fields.append((b"Date", rfc822_formatted_time().encode("ascii")))
        if not self._keep_alive:
            fields.append(_CLOSE)

    async def _write_headers(self) -> None:
        if self._raw is None:
            head, length = self._head_of_text(), self._text.get(hdrs.CONTENT_LENGTH)
            self._length = None if length is None else int(length)
        else:
            head = self._head_of_bytes(self._raw)
        # Only now is the writer touched: had this failed, it is another response's.
        writer = self._writer()
        writer._headers_buf = head
        writer._headers_written = False
        if self._must_be_empty_body:
            writer.length = 0
        elif self._chunked:
            writer.enable_chunking()
        elif self._length is not None:
            writer.length = self._length

    # A response is in this server's version, whatever the request's was (RFC 9110, section 6.2).

    def _head_of_bytes(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        reason = (self._reason or "").encode("utf-8", "surrogateescape")
        if b"\r" in reason or b"\n" in reason or b"\0" in reason:
            raise ValueError("The reason holds a CR, LF or NUL")
        lines = [b"%b: %b" % field for field in fields]
        return b"HTTP/1.1 %d %b\r\n%b\r\n\r\n" % (self._status, reason, b"\r\n".join(lines))

    def _head_of_text(self) -> bytes:
        lines = [f"HTTP/1.1 {self._status} {self._reason}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        ends = len(lines) + 1
        if head.count("\r") != ends or head.count("\n") != ends or "\0" in head:
            raise ValueError("A field, or the reason, holds a CR, LF or NUL")
        return head.encode("utf-8", "surrogateescape")


def _checked(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The names, in lower case, each between two NULs. ValueError for fields that cannot be sent as they are."""
    # All at once: field by field, most of the time would go into calls. NUL stands in no field that can be sent.
    separators = len(fields) - 1
    if separators < 0:
        return b""
    names, values = b"\0".join([name for name, _ in fields]), b"\0".join([value for _, value in fields])
    if not _are_tokens(names) or names.count(b"\0") != separators:
        raise ValueError("A field's name is not a token")
    if b"\r" in values or b"\n" in values or values.count(b"\0") != separators:
        raise ValueError("A field's value holds a CR, LF or NUL")
    return b"\0%b\0" % names.lower()


def _decoded(raw: bytes) -> str:
    """Text that stands for exactly these bytes, as aiohttp's parser makes it."""
    return raw.decode("utf-8", "surrogateescape")

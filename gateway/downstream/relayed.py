"""A response whose head goes out as the upstream sent it, byte for byte.

aiohttp's own serialiser drops every byte of a field that is not UTF-8 and adds `Server` and `Content-Type`. Here the
fields are kept as text that stands for exactly the bytes received, in their order, repeated ones and odd casing
included; framing and persistence alone are this server's to say.
"""

import re
from collections.abc import Iterable, Sequence
from typing import cast

from aiohttp import hdrs, web
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time
from aiohttp.http import HttpVersion11, StreamWriter

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
        fields = tuple(fields)
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of a final response")
        super().__init__(status=status, reason=reason, headers=_as_text(fields) if fields else None)
        self._agree_on_length()
        self._whole = body or b""
        if body is not None:
            self._headers.setdefault(hdrs.CONTENT_LENGTH, str(len(body)))

    def _agree_on_length(self) -> None:
        lengths = set(self._headers.getall(hdrs.CONTENT_LENGTH, ()))
        if not lengths:
            return
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()):
            raise ValueError("The Content-Length is not one number")
        if len(self._headers.getall(hdrs.CONTENT_LENGTH)) > 1:
            self._headers[hdrs.CONTENT_LENGTH] = length

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
        fields = self._headers
        fields.popall(hdrs.TRANSFER_ENCODING, None)
        fields.popall(hdrs.CONNECTION, None)
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        self._must_be_empty_body = must_be_empty_body(request.method, self._status)
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

    async def _write_headers(self) -> None:
        # A response is in this server's version, whatever the request's was (RFC 9110, section 6.2).
        lines = [f"HTTP/1.1 {self._status} {self._reason}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        ends = len(lines) + 1
        if head.count("\r") != ends or head.count("\n") != ends or "\0" in head:
            raise ValueError("A field, or the reason, holds a CR, LF or NUL")
        # Only now is the writer touched: had this failed, it is another response's.
        writer = self._writer()
        writer._headers_buf = head.encode("utf-8", "surrogateescape")
        writer._headers_written = False
        if self._must_be_empty_body:
            writer.length = 0
        elif self._chunked:
            writer.enable_chunking()
        elif hdrs.CONTENT_LENGTH in self._headers:
            writer.length = int(self._headers[hdrs.CONTENT_LENGTH])


def _as_text(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Texts that stand for exactly these bytes, as aiohttp's parser makes them. ValueError if they cannot be sent."""
    # All at once, since most of the time would go into calls: NUL stands in no field that can be sent.
    names, values = b"\0".join([name for name, _ in fields]), b"\0".join([value for _, value in fields])
    if not _are_tokens(names) or names.count(b"\0") != len(fields) - 1:
        raise ValueError("A field's name is not a token")
    if b"\r" in values or b"\n" in values or values.count(b"\0") != len(fields) - 1:
        raise ValueError("A field's value holds a CR, LF or NUL")
    return [*zip(names.decode("ascii").split("\0"), values.decode("utf-8", "surrogateescape").split("\0"), strict=True)]

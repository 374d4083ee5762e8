"""A response whose head goes out as the upstream sent it, byte for byte.

aiohttp's own serialiser drops every byte of a field that is not UTF-8 and adds `Server` and `Content-Type`. Here the
fields stay the bytes that were received, in their order, repeated ones and odd casing included; framing and persistence
alone are this server's to say. Only when somebody asks for `headers` do they become text, which stands for exactly
those bytes: most responses leave without ever having been decoded.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time
from aiohttp.http import HttpVersion11, StreamWriter
from aiohttp.web_response import REASON_PHRASES
from multidict import CIMultiDict

from gateway.downstream.guarded_request import GuardedRequest
from gateway.wire.headers import all_tokens


class RelayedResponse(web.StreamResponse):
    """A response with the fields of another one, ready for whatever a `StreamResponse` can do but compress.

    `fields` are names and values as received; ValueError if they cannot be sent as they are (CR, LF or NUL, a name
    that is none, lengths that contradict each other). `headers` shows them, and is where a signal adds to them.
    The head leaves with the first chunk, in one piece; `flush_head` sends it ahead. A `body` that is known whole
    needs no writing: it goes out when the handler returns.
    """

    _send_headers_immediately = False
    _length: int | None

    def __init__(
        self, status: int, reason: str | None, fields: Iterable[tuple[bytes, bytes]], *, body: bytes | None = None
    ) -> None:
        fields = [*fields]
        if not all_tokens([name for name, _ in fields]):
            raise ValueError("A field's name is not a token")
        names = [name.lower() for name, _ in fields]
        length = _agreed([value for (_, value), name in zip(fields, names, strict=True) if name == b"content-length"])
        self._begin(status, reason, _lines(fields), length, b"date" in names)
        self._whole = body or b""
        if body is not None and length is None:
            self._length = len(body)
            self.add(b"Content-Length", b"%d" % len(body))
        if b"transfer-encoding" in names or b"connection" in names or names.count(b"content-length") > 1:
            self._become_text()
            self._text.popall(hdrs.CONTENT_LENGTH, None)
            if self._length is not None:
                self._text[hdrs.CONTENT_LENGTH] = str(self._length)

    @classmethod
    def of_lines(cls, status: int, reason: str, lines: bytes, length: int | None, has_date: bool) -> "RelayedResponse":
        """The same from lines that hold no framing fields but, if it is known, the one Content-Length."""
        response = cls.__new__(cls)
        response._begin(status, reason, lines, length, has_date)
        return response

    def _begin(self, status: int, reason: str | None, lines: bytes, length: int | None, has_date: bool) -> None:
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of a final response")
        # As StreamResponse's own, but for fields that may never be wanted.
        self._state = {}
        self._status = status
        self._reason = REASON_PHRASES.get(status, "") if reason is None else reason
        if "\r" in self._reason or "\n" in self._reason or "\0" in self._reason:
            raise ValueError("The reason holds a CR, LF or NUL")
        self._lines: bytes | None = lines
        self._length = length
        self._has_date = has_date
        self._whole = b""
        if status == 204:
            self._become_text()

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field that `fields` did not have; both are ASCII."""
        if self._lines is None:
            self._headers[name.decode("ascii")] = value.decode("ascii")
        else:
            self._lines += b"%b: %b\r\n" % (name, value)

    @property  # type: ignore[override]
    def _headers(self) -> CIMultiDict[str]:
        if self._lines is not None:
            self._become_text()
        return self._text

    @_headers.setter
    def _headers(self, fields: CIMultiDict[str]) -> None:
        self._text = fields

    def _become_text(self) -> None:
        lines, self._lines = self._lines or b"", None
        pairs = [line.partition(b": ") for line in lines.split(b"\r\n")[:-1]]
        self._text = CIMultiDict([(_decoded(name), _decoded(value)) for name, _, value in pairs])

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._eof_sent:
            return None
        if self._payload_writer is None:
            self._req, self._payload_writer = request, request._payload_writer
            self._frame(request)
            await request._prepare_hook(self)
            self._fill()
        return self._payload_writer

    def withdraw(self, request: web.BaseRequest) -> None:
        """Leave `request` to another response; nothing of this one must have been written."""
        request._payload_writer = StreamWriter(request._protocol, request._loop)

    async def flush_head(self) -> None:
        """Send the head now, not with the first chunk: a stream's client wants to know that it has begun."""
        self._writer().send_headers()

    def put(self, piece: bytes) -> bool:
        """Write a `piece`, not an empty one, now, room or not; False if the client has left."""
        writer: Any = self._payload_writer
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

    async def deliver(self, request: web.BaseRequest, body: bytes) -> bool:
        """Prepare the response, and write it whole, head and `body` at once; False if the client has left."""
        self._begin_whole(request)
        await request._prepare_hook(self)
        return self._write_whole(request, body)

    def deliver_at_once(self, request: GuardedRequest, body: bytes) -> bool:
        """The same, where `request.can_sign_at_once()`."""
        self._begin_whole(request)
        request.sign_at_once(self)
        return self._write_whole(request, body)

    def _begin_whole(self, request: web.BaseRequest) -> None:
        if self._payload_writer is not None or self._eof_sent:
            raise RuntimeError("The response has been prepared")
        self._req = request
        self._frame(request)

    def _write_whole(self, request: web.BaseRequest, body: bytes) -> bool:
        head, transport = self._head(), request._protocol.transport
        self._eof_sent, self._req = True, None
        if transport is None or transport.is_closing():
            self._keep_alive = False
            return False
        missing = 0
        if self._must_be_empty_body:
            body = b""
        elif self._chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif self._length is not None:
            missing = self._length - len(body)
            body = body[: self._length]
        transport.write(head + body)
        request.is_answered = True  # type: ignore[attr-defined]
        if missing > 0:  # lest the next answer fill it
            self._keep_alive = False
            transport.close()
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

    def _frame(self, request: web.BaseRequest) -> None:
        """Settle how the body is framed, and whether the connection goes on."""
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        self._must_be_empty_body = must_be_empty_body(request._method, self._status)
        if self._lines is not None and not self._cookies:
            self._frame_lines(request)
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

    def _frame_lines(self, request: web.BaseRequest) -> None:
        if self._length is None and not self._must_be_empty_body:
            if request._version is HttpVersion11:
                self._chunked = True
                self.add(b"Transfer-Encoding", b"chunked")
            else:
                self._keep_alive = False
        if not self._has_date:
            self.add(b"Date", rfc822_formatted_time().encode("ascii"))
        if not self._keep_alive:
            self.add(b"Connection", b"close")

    def _head(self) -> bytes:
        if self._lines is None:
            head, length = self._head_of_text(), self._text.get(hdrs.CONTENT_LENGTH)
            self._length = None if length is None else int(length)
            return head
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (
            self._status,
            self._reason.encode("utf-8", "surrogateescape"),
            self._lines,
        )

    def _fill(self) -> None:
        """Put the head where it leaves with whatever is written first."""
        head = self._head()
        # Only now is the writer touched: had this failed, it is another response's.
        writer: Any = self._payload_writer
        writer._headers_buf = head
        writer._headers_written = False
        if self._must_be_empty_body:
            writer.length = 0
        elif self._chunked:
            writer.enable_chunking()
        elif self._length is not None:
            writer.length = self._length

    # A response is in this server's version, whatever the request's was (RFC 9110, section 6.2).

    def _head_of_text(self) -> bytes:
        lines = [f"HTTP/1.1 {self._status} {self._reason}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        ends = len(lines) + 1
        if head.count("\r") != ends or head.count("\n") != ends or "\0" in head:
            raise ValueError("A field, or the reason, holds a CR, LF or NUL")
        return head.encode("utf-8", "surrogateescape")


def _agreed(lengths: Sequence[bytes]) -> int | None:
    """The length that all of them tell."""
    if not lengths:
        return None
    if not lengths[0].isdigit() or any(length != lengths[0] for length in lengths):
        raise ValueError("The Content-Length is not one number")
    return int(lengths[0])


def _lines(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The fields as lines of a head. ValueError for values that would be more than a line."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    count = len(fields)
    if lines.count(b"\r") != count or lines.count(b"\n") != count or b"\0" in lines:
        raise ValueError("A field's value holds a CR, LF or NUL")
    return lines


def _decoded(raw: bytes) -> str:
    """Text that stands for exactly these bytes, as aiohttp's parser makes it."""
    return raw.decode("utf-8", "surrogateescape")

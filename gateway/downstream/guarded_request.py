"""A request and its body as handlers get them, whether aiohttp's parser made it or they are of a known shape.

This file leans on names that aiohttp does not promise; `test_connection.py` lists them.
"""

import asyncio
import socket
import struct
from functools import cached_property
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDictProxy

from gateway.downstream.dispatch import Match
from gateway.downstream.known_request import KnownRequest
from gateway.downstream.request_head import without_expectation

Message = RawRequestMessage | KnownRequest


class GuardedRequest(web.Request):
    """A request whose connection goes on only if nothing of the request is left in it.

    One of a known shape makes what it is made of when that is asked for: most are answered without.
    """

    is_answered = False
    """Whether all of an answer was written past the request's writer."""

    def __init__(
        self,
        message: Message,
        payload: StreamReader,
        protocol: RequestHandler,
        payload_writer: StreamWriter,
        task: "asyncio.Task[None]",
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        if type(message) is RawRequestMessage or options:
            super().__init__(cast(RawRequestMessage, message), payload, protocol, payload_writer, task, loop, **options)
            return
        # As the original does it, but for what is made when it is asked for: `_headers`, `_payload`, `_payload_writer`.
        self._message, self._protocol = message, protocol  # type: ignore[assignment]
        self._task, self._loop = task, loop
        self._method, self._version, self._rel_url = message.method, HttpVersion11, message.url
        self._cache: dict[str, Any] = {}
        self._state = {}
        self._match_info = None
        self._client_max_size, self._client_max_fields = 1 << 20, 1000
        connection: Any = protocol
        self._transport_sslcontext, self._transport_peername, self._transport_sockname = connection.ends

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        connection: Any = self._protocol
        if connection._unlearned is not None:
            connection.answering(self, response)
        match = self._match_info
        if type(match) is not Match:
            await super()._prepare_hook(response)
            return
        for hook in match.hooks:
            await hook(self, response)

    def can_sign_at_once(self) -> bool:
        """Whether nothing has to be awaited before a response's head is written."""
        match = self._match_info
        return type(match) is Match and match.at_once is not None

    def sign_at_once(self, response: web.StreamResponse) -> None:
        """What `_prepare_hook` does."""
        connection: Any = self._protocol
        if connection._unlearned is not None:
            connection.answering(self, response)
        for hook in cast(Match, self._match_info).at_once or ():
            hook(self, response)

    @cached_property
    def _headers(self) -> CIMultiDictProxy[str]:  # type: ignore[override]
        return self._message.headers

    @cached_property
    def _payload(self) -> StreamReader:  # type: ignore[override]
        body, message = self.take_body(), cast(KnownRequest, self._message)
        message.body = None
        return whole_body(self._protocol, body or b"")

    @cached_property
    def _payload_writer(self) -> StreamWriter:  # type: ignore[override]
        return StreamWriter(self._protocol, self._loop)

    def take_body(self) -> bytes | None:
        """The body, if it is known whole and nobody has asked for it yet."""
        message: Message = self._message
        if type(message) is not KnownRequest:
            return None
        body = message.body
        if body:
            message.body = b""
        return body

    @property
    def body_exists(self) -> bool:
        """Whether there is a body, be it empty in the end."""
        message: Message = self._message
        return message.length > 0 if type(message) is KnownRequest else super().body_exists

    @property
    def content_length(self) -> int | None:
        """The Content-Length, None if there is none."""
        message: Message = self._message
        return message.length if type(message) is KnownRequest else super().content_length

    @property
    def keep_alive(self) -> bool:
        """Whether the response may promise another request on this connection."""
        message: Message = self._message
        if type(message) is KnownRequest:  # no bytes of it can be left
            return not self._protocol._close
        return self._payload.is_eof() and not message.should_close and not self._protocol._close


def has_begun(request: web.BaseRequest) -> bool:
    """Whether anything of an answer was written."""
    return getattr(request, "is_answered", False) or request.writer.output_size > 0


def break_off(request: web.BaseRequest) -> None:
    """End the connection in the middle of a response, so that it cannot be taken for a whole one.

    What was written still goes out. An HTTP/1.0 client takes any clean end for the end of the body: it gets a reset.
    """
    transport = request.transport
    if transport is None:
        return
    if request.version is not HttpVersion11:
        reset = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    transport.close()


class InvitedBody(StreamReader):
    """The body of a client that waits for `100 Continue`. It gets that when somebody first waits for the body.

    Not before, as aiohttp does: a refusal is to go out without it (RFC 9110, section 10.1.1).
    """

    __slots__ = ()

    async def _wait(self, func_name: str) -> None:
        self.__class__ = StreamReader  # type: ignore[assignment]
        cast(Any, self._protocol).invite()  # only a GuardedConnection makes one
        await self._wait(func_name)


def invited(message: RawRequestMessage, payload: StreamReader) -> RawRequestMessage:
    """A request whose client expects to be told to send its body: it is, when somebody wants that."""
    if message.version is HttpVersion11 and not payload.is_eof():
        payload.__class__ = InvitedBody
    return without_expectation(message)


def whole_body(connection: RequestHandler, body: bytes) -> StreamReader:
    """A body that is here to its end; nobody waits for it, and nothing is held back for it."""
    if not body:
        return EMPTY_PAYLOAD
    reader = StreamReader(connection, connection._read_bufsize, loop=connection._loop)
    reader._buffer.append(body)
    reader._size = reader.total_bytes = len(body)
    reader._eof = True
    return reader

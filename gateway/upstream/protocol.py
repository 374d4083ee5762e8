"""A connection to a provider: aiohttp's protocol for responses, with what it leaves open closed.

- It is *expected* to speak only between a request and the end of its response; bytes at any other time end it.
- `fail` is the one way by which it is given up from the outside: it notes the error and breaks off; whoever waits for
  head, body or drain then meets that error.
- A response that comes whole, in one piece, and of a shape that the parser has judged before, is read without it
  (`wire/shape.py`). A parser is made for the first response that is not.
- A body that is handed over goes to its `Sink` in the socket's own callback. Every byte of it still passes aiohttp's
  parser first, which judges the framing and takes it off: the sink gets what a reader would have read, only sooner.

This file leans on names that aiohttp does not promise; `test_names_of_aiohttp.py` fails by name when one moves.
"""

import asyncio
import re
import select
from collections.abc import Sequence
from enum import Enum
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from msgspec import Struct

from gateway.errors import GatewayError, IdleTimeout, UpstreamTimeout
from gateway.settings import Timeouts
from gateway.upstream.transport import Sink
from gateway.wire.headers import Layout, layout_of
from gateway.wire.shape import Shapes

MAX_LINE = 32_768
MAX_FIELDS = 256


class HandedOver(StreamReader):
    """A body whose pieces wait for the end of the socket's callback only. A reader becomes one by changing its class.

    It has no limit of its own: what one callback brought is passed on at once, and a sink that has enough stops the
    socket.
    """

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        if data:
            self._buffer.append(data)
        return False

    # Where one chunk ends and the next begins is the parser's business alone. It calls these for each, and a call of
    # something that is not written in Python costs next to nothing.
    begin_http_chunk_receiving: Any = staticmethod(type(None))
    end_http_chunk_receiving: Any = staticmethod(type(None))


class Known(Struct, frozen=True, gc=False):
    """What is the same for all responses of a shape."""

    code: int
    reason: str
    layout: Layout


class WholeResponse(Struct, frozen=True):
    """A final response that is here to its end: one of the shape with these `names`."""

    known: Known
    names: tuple[bytes, ...]
    values: Sequence[bytes]
    body: bytes


Response = tuple[RawResponseMessage | WholeResponse, StreamReader]


class UpstreamProtocol(ResponseHandler):
    """aiohttp's protocol for one connection, with what it leaves open closed. `shapes` are those of its pool."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shapes: Shapes[Known] | None = None) -> None:
        super().__init__(loop)
        self._shapes = Shapes[Known]() if shapes is None else shapes
        self._untouched = False  # nothing of the response has come, and there is no parser for it
        self._opening = b""  # what came first of it, until the head is known
        self.used = False
        self.failure: GatewayError | None = None
        self.heard = False  # since the watch last looked
        self.quiet_since = 0.0  # the watch's
        self.waiting_for = Waiting.NOTHING
        self._expected = False
        self._body: StreamReader | None = None
        self._poll: select.poll | None = None
        self._sink: Sink | None = None
        self._sink_is_full = False
        self._head: asyncio.Future[Response] | None = None

    async def read_head(self) -> Response:
        """The next head and its body, in the moment it is in; or all in one. Raises what the connection fails with."""
        if self._buffer or self._exception is not None:
            return await self.read()
        self._head = self._loop.create_future()
        try:
            return await self._head
        finally:
            self._head = None

    def expect(self, method: str) -> None:
        """A request is about to be written, and `read_head` will be asked for the response."""
        self._expected = self.used = True
        self._body = None
        self.waiting_for = Waiting.NOTHING
        if method == "HEAD" or self._tail:
            self._parse(method)
        else:
            self._untouched, self._parser = True, None

    def expect_parsed(self, method: str) -> None:
        """The same; the parser is to read the response."""
        self._expected = self.used = True
        self._body = None
        self.waiting_for = Waiting.NOTHING
        self._parse(method)

    def _parse(self, method: str) -> None:
        # A new parser each time: one that was used may hold the beginning of a response that nobody asked for.
        self._untouched = False
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
        )

    def rest(self) -> None:
        """The response is complete; the connection goes back to the pool."""
        self._expected = self._untouched = False
        self._body = None
        self.waiting_for = Waiting.NOTHING

    async def hand_over(self, payload: StreamReader, sink: Sink) -> bool:
        """Give the body to `sink`, what is here and what comes, until its end or until the sink is full.

        Returns whether it was the end; else it is to be called again when the sink can take more. Nothing is read in
        between. Raises what the body fails with.
        """
        if payload.at_eof():
            return True
        payload.__class__ = HandedOver
        self._sink, self._sink_is_full = sink, False
        if self._buffer_paused:
            self._resume_reading_for_buffer()
        self._pass_on(payload)
        if self._reading_paused and not self._sink_is_full:  # by a reader's limit, with bytes left in the parser
            self.resume_reading()
        try:
            while not (self._sink_is_full or payload._eof):
                if payload._exception is not None:
                    raise payload._exception
                payload._waiter = self._loop.create_future()
                try:
                    await payload._waiter
                finally:
                    payload._waiter = None
        finally:
            self._sink = None
        return payload._eof and not self._sink_is_full

    def _pass_on(self, payload: StreamReader) -> None:
        pieces = payload._buffer
        if not pieces or self._sink is None:
            return
        piece = b"".join(pieces)
        pieces.clear()
        if not self._sink.take(piece):
            self._filled(payload)

    def _filled(self, payload: StreamReader) -> None:
        """Read nothing more until the sink can take it."""
        self._sink_is_full = True
        if not payload._eof:
            self._pause_reading_for_buffer()
        if payload._waiter is not None and not payload._waiter.done():
            payload._waiter.set_result(None)

    def await_head(self) -> None:
        self.waiting_for, self.heard = Waiting.HEAD, True

    def await_body(self, payload: StreamReader) -> None:
        self._body = payload
        self.waiting_for, self.heard = Waiting.BODY, True

    def await_drain(self) -> None:
        self.waiting_for, self.heard = Waiting.DRAIN, True

    def await_nothing(self) -> None:
        self.waiting_for = Waiting.NOTHING

    @property
    def is_held_back(self) -> bool:
        """Whether nothing is read because whoever takes the body is slow."""
        return self._reading_paused or self._buffer_paused

    def has_spoken(self) -> bool:
        """Whether there is anything to read, or the other side has closed, on a connection that should be silent."""
        if self._should_close or self._buffer or self.transport is None:
            return True
        if self._poll is None:
            sock = self.transport.get_extra_info("socket")
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(self._poll.poll(0))

    def fail(self, error: GatewayError) -> None:
        """Give the connection up for `error`."""
        self.failure = error
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._untouched:
            self._receive_first(data)
            return
        if not self.heard and self.waiting_for is not Waiting.HEAD:  # interim heads do not put off the deadline
            self.heard = True
        sink, body, parser = self._sink, self._body, self._parser
        if sink is None or body is None or parser is None:
            self._receive(data)
            return
        try:
            messages, upgraded, _ = parser.feed_data(data)
        except Exception as error:
            if self.transport is not None:
                self.transport.close()
            self.set_exception(HttpProcessingError(), error)
        else:
            if messages or upgraded:  # more than the response that was asked for
                self.force_close()
        pieces = body._buffer
        if len(pieces) == 1:
            if not sink.take(pieces.popleft()):
                self._filled(body)
        elif pieces:
            self._pass_on(body)

    def _receive_first(self, data: bytes) -> None:
        """Take in the beginning of a response, or all of it."""
        self._untouched = False
        head = self._head
        if head is not None and not head.done():
            found = self._shapes.find(data)
            if found is not None:
                shape, values, body = found
                self.waiting_for = Waiting.NOTHING
                head.set_result((WholeResponse(shape.kept, shape.names, values, body), EMPTY_PAYLOAD))
                return
        self._parse("")
        self._opening = data
        self.data_received(data)
        self._opening = b""

    def _learn(self, message: RawResponseMessage) -> None:
        """Know the shape of a response that came whole in one piece, of the usual kind."""
        if message.code < 200 or message.code in (204, 304) or message.should_close or message.upgrade:
            return
        if message.version is not HttpVersion11 or len(message.reason) > 64 or "\0" in message.reason:
            return
        start = b"HTTP/1.1 %d %b" % (message.code, message.reason.encode("utf-8", "surrogateescape"))
        fields = message.raw_headers
        self._shapes.learn(
            re.escape(start), fields, self._opening, lambda: Known(message.code, message.reason, layout_of(fields))
        )

    def _receive(self, data: bytes) -> None:
        """Take in what is no body that was handed over."""
        if self._expected or not data:
            super().data_received(data)
            return
        self.force_close()
        if self.transport is not None:
            self.transport.abort()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head, with its body, for whoever waits for it."""
        if self._opening:
            self._learn(data[0])
        if self._head is not None and not self._head.done():
            self._head.set_result(data)
        else:
            super().feed_data(data, size)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """As every body asks for at its end, paused or not."""
        if self._reading_paused or resume_parser:
            super().resume_reading(resume_parser)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        # A parser that fails inside a body tells only whoever waits for the next head.
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("The response body is broken"))
        if self._head is not None and not self._head.done():
            self._head.set_exception(exc)
        super().set_exception(exc, exc_cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        body = self._body
        if body is not None and not body.is_eof() and (exc is not None or self.failure is not None):
            # A body that ends with the connection would look complete.
            body.set_exception(self.failure or aiohttp.ClientPayloadError("The connection was reset"))
        super().connection_lost(exc)


class Waiting(Enum):
    """What a connection waits for, and so which limit is running."""

    NOTHING = 0
    DRAIN = 1
    HEAD = 2
    BODY = 3


class Watch:
    """One coarse sweep over all connections in use, `protocols`, instead of a timer for each of their reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._period = min(max(min(timeouts.first_byte, timeouts.idle) / 10, 0.02), 1.0)
        self.protocols: set[UpstreamProtocol] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, protocol: UpstreamProtocol) -> None:
        self.protocols.add(protocol)
        if self._handle is None:
            self._handle = self._loop.call_later(self._period, self._sweep)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.protocols.clear()

    def _sweep(self) -> None:
        self._handle = None
        now = self._loop.time()
        for protocol in tuple(self.protocols):
            # Paused: the client is slow, the provider is not.
            if protocol.heard or protocol.waiting_for is Waiting.NOTHING or protocol.is_held_back:
                protocol.heard = False
                protocol.quiet_since = now
            else:
                self._judge(protocol, now - protocol.quiet_since)
        if self.protocols:
            self._handle = self._loop.call_later(self._period, self._sweep)

    def _judge(self, protocol: UpstreamProtocol, quiet: float) -> None:
        if protocol.waiting_for is Waiting.HEAD and quiet >= self._timeouts.first_byte:
            protocol.fail(UpstreamTimeout("The provider did not begin to answer within its first-byte timeout."))
        elif protocol.waiting_for is Waiting.BODY and quiet >= self._timeouts.idle:
            protocol.fail(IdleTimeout("The provider fell silent in the middle of its response."))
        elif protocol.waiting_for is Waiting.DRAIN and quiet >= self._timeouts.idle:
            protocol.fail(UpstreamTimeout("The provider stopped taking the request body."))

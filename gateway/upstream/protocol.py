"""A connection to a provider: aiohttp's protocol for responses, with what it leaves open closed.

- It is *expected* to speak only between a request and the end of its response; bytes at any other time end it.
- `fail` is the one way by which it is given up from the outside: it notes the error and breaks off; whoever waits for
  head, body or drain then meets that error.
- A body that is handed over goes to its `Sink` in the socket's own callback: the sink gets what a reader would have
  read, only sooner.
- Heads are given to the parser one by one. What stands behind one in the same piece may be broken, or be a body where
  none may be (behind the answer to a HEAD): that ends the connection, and takes nothing away from the head.
- After a HEAD a connection is not used again. Providers are known to send a body, and it may be late.
- What is of the plainest form is read without aiohttp's parser: a head in one piece, of a shape that the parser has
  judged before (`wire/shape.py`), and behind it a body that has a length, or pieces that are whole chunks
  (`wire/chunks.py`). At the first piece that is anything else a parser is made, or takes up where it stands; it judges
  all framing that is not of that form, so that what is malformed ends as visibly broken as it would without us.

This file leans on names that aiohttp does not promise; `test_names_of_aiohttp.py` fails by name when one moves.
"""

import asyncio
import select
from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.errors import GatewayError
from gateway.telemetry.fallbacks import Fallbacks
from gateway.upstream.handed_over import Flow, HandedOver
from gateway.upstream.heads import rest_of_head
from gateway.upstream.known_response import Known, KnownResponse, learn
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Sink
from gateway.upstream.watch import Waiting
from gateway.wire.chunks import CRLF, ENDED, LAST_CHUNK, LOST, SIZES, size_of, walk
from gateway.wire.shape import Found, Shapes

MAX_LINE = 32_768
MAX_FIELDS = 256


_NOTHING, _HEAD, _BODY, _DRAIN = Waiting.NOTHING, Waiting.HEAD, Waiting.BODY, Waiting.DRAIN
_FIRST_BYTE = Waiting.FIRST_BYTE
_should_close: Callable[[ResponseHandler], bool] = cast(Any, ResponseHandler.should_close).fget
Response = tuple[RawResponseMessage | KnownResponse, StreamReader]


class UpstreamProtocol(ResponseHandler):
    """aiohttp's protocol for one connection, with what it leaves open closed. `shapes` are those of its pool."""

    # More than 30 attributes in one dictionary would cost each connection a kilobyte.
    __slots__ = (
        "_answer_body",
        "_expected",
        "_fallbacks",
        "_flow",
        "_head",
        "_head_end",
        "_head_size",
        "_lacks",
        "_missing",
        "_opening",
        "_poll",
        "_shapes",
        "_sink_is_full",
        "_to_show",
        "_untouched",
        "body",
        "failure",
        "heard",
        "quiet_since",
        "silent",
        "unsent",
        "used",
        "waiting_for",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        shapes: Shapes[Known] | None = None,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        super().__init__(loop)
        self._shapes = Shapes[Known]() if shapes is None else shapes
        self._fallbacks = Fallbacks() if fallbacks is None else fallbacks
        self._untouched = False  # nothing of the response has come, and there is no parser for it
        self._opening = b""  # what came first of it, until the head is known
        self._answer_body: StreamReader | None = None  # the body that belongs to the final head, once a parser has that
        self._head_end = b""  # the last bytes of an unfinished head
        self.silent = True  # no byte of a response has come, as far as a parser would have seen it
        self.unsent = False  # much of the request was not sent yet when the connection was lost
        self.used = False
        self.failure: GatewayError | None = None
        self.heard = False  # since the watch last looked
        self.quiet_since = 0.0  # the watch's
        self.waiting_for = _NOTHING
        self._expected = False
        self.body: StreamReader = EMPTY_PAYLOAD  # of the response whose head is in
        self._poll: select.poll | None = None
        self._flow: Flow | None = None  # of the body that is handed over
        self._missing = LOST  # of the chunk that the body is in: `wire/chunks.py`
        self._lacks = 0  # bytes of a body that is followed without a parser, if it has a length
        self._to_show = b""  # to a parser, before it could read on in a body that is followed without one
        self._head_size = 0  # of that
        self._sink_is_full = False
        self._head: asyncio.Future[Response] | None = None

    def read_head(self) -> Awaitable[Response]:
        """The next head and its body, in the moment it is in; or all in one. Raises what the connection fails with."""
        if self._buffer or self._exception is not None:
            return self.read()
        self._head = head = self._loop.create_future()
        return head

    def expect(self, method: str) -> None:
        """A request is about to be written, and `read_head` will be asked for the response."""
        self._expected = self.used = self.silent = True
        self._answer_body = None
        self.body, self._missing, self._lacks, self._to_show = EMPTY_PAYLOAD, LOST, 0, b""
        self.waiting_for = _NOTHING
        if method == "HEAD" or self._tail:
            self._parse(method)
        else:
            self._untouched, self._parser = True, None

    def expect_parsed(self, method: str) -> None:
        """The same; the parser is to read the response."""
        self.expect(method)
        self._parse(method)

    def _parse(self, method: str) -> None:
        # A new parser each time: one that was used may hold the beginning of a response that nobody asked for.
        self._untouched, self._lacks, self._to_show = False, 0, b""
        if method == "HEAD":  # a body that the provider should not send may come when another request is out
            self.force_close()
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
        self._head = None
        self._expected = self._untouched = False
        self.body, self._missing, self._lacks, self._to_show = EMPTY_PAYLOAD, LOST, 0, b""
        self.waiting_for = _NOTHING

    def must_close(self) -> bool:
        """Whether the connection cannot carry another request; a method, since a property is looked up the long way."""
        return _should_close(self)

    async def hand_over(self, sink: Sink, tap: Tap) -> bool:
        """Give the body to `sink` and to `tap`, what is here and what comes, until its end or until the sink is full.

        Returns whether it was the end; else it is to be called again when the sink can take more. Nothing is read in
        between. Raises what the body fails with.
        """
        body = self.body
        if body.at_eof():
            return True
        body.__class__ = HandedOver
        self._flow, self._sink_is_full = Flow(sink, tap, body), False
        if self._buffer_paused:
            self._resume_reading_for_buffer()
        self._pass_on()
        self._to_show = b"" if self._lacks else self._to_show[: self._head_size]
        if self._reading_paused and not self._sink_is_full:  # by a reader's limit, with bytes left in the parser
            self.resume_reading()
        try:
            while not (self._sink_is_full or self.body._eof):
                body = self.body
                if body._exception is not None:
                    raise body._exception
                body._waiter = waiter = self._loop.create_future()
                try:
                    await waiter
                finally:
                    self.body._waiter = None
        finally:
            self._flow = None
        if self.body._exception is not None:  # of the sink, at the last piece
            raise self.body._exception
        return self.body._eof and not self._sink_is_full

    def _pass_on(self) -> None:
        pieces, flow = self.body._buffer, self._flow
        if pieces and flow is not None:
            piece = b"".join(pieces)
            pieces.clear()
            self._give(flow, piece, b"")

    def _give(self, flow: Flow, piece: bytes, framed: bytes) -> None:
        if not flow.give(piece, framed):
            self._filled(flow.body)

    def _filled(self, body: StreamReader) -> None:
        """Read nothing more until the sink can take it."""
        self._sink_is_full = True
        if not body._eof:
            self._pause_reading_for_buffer()
        if body._waiter is not None and not body._waiter.done():
            body._waiter.set_result(None)

    def await_head(self) -> None:
        """The request is out, and no head with a body has come yet."""
        self.waiting_for, self.heard = _HEAD, True

    def await_body(self, payload: StreamReader | None = None) -> None:
        """A head is in, with a body that a parser reads; without one it is followed since the head came."""
        if payload is not None:
            self.body = payload
        self._head, body = None, self.body
        if body.total_bytes or body.is_eof():
            self.waiting_for, self.heard = _BODY, True
            return
        self.waiting_for = _FIRST_BYTE
        if self.heard:  # the watch has not looked since the request was out; else its limit is running
            self.heard, self.quiet_since = False, self._loop.time()

    def await_drain(self) -> None:
        self.waiting_for, self.heard = _DRAIN, True

    def await_nothing(self) -> None:
        self.waiting_for = _NOTHING

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
        flow = self._flow
        if flow is not None and self._missing == 0:
            # An event of a stream is one chunk in one piece mostly.
            line, _, chunk = data.partition(CRLF)
            size = SIZES.get(line) or size_of(line)
            if len(chunk) - 2 == size > 0 and chunk[-2:] == CRLF:
                self.heard = True
                sink, tap, body = flow
                piece = chunk[:-2]
                if tap.first is None:
                    tap.first = monotonic_ns()
                if not sink.take(piece, data):
                    self._filled(body)
                tap.hear(piece)
                return
        if self._untouched:
            self._receive_first(data)
            return
        if not self.heard and self.waiting_for is not _HEAD:  # interim heads do not put off the deadline
            self.heard = True
        if self._lacks and data and self._count(data):
            return
        if self._missing >= 0 and data and self._follow(data):
            return
        body, parser, flow = self.body, self._parser, self._flow
        if flow is None or parser is None:
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
        if body._buffer:
            self._pass_on()

    def _follow(self, data: bytes) -> bool:
        """See what chunks `data` brings, and pass it on as it is if they are whole; False if it is for the parser."""
        missing, flow = self._missing, self._flow
        try:
            chunks, self._missing = walk(data, missing)
        except Exception as error:
            self._fallbacks.failed(error)
            chunks, self._missing = [], LOST
        if flow is not None and missing == self._missing == 0:
            self._give(flow, b"".join(chunks), data)
            return True
        if flow is not None and missing == 0 and self._missing == ENDED and self._to_show:
            self.body.feed_eof()  # first: after the last piece there is nothing to hold back
            if chunks:
                self._give(flow, b"".join(chunks), data[: -len(LAST_CHUNK)])
            return True
        if self._to_show:
            self._parse_on()
        return False

    def _count(self, data: bytes) -> bool:
        """Pass a body of known length on as it comes; False if it is for the parser, since nobody takes it yet."""
        flow, lacks = self._flow, self._lacks
        if self._to_show:
            self._parse_on()
            return False
        self._lacks = max(lacks - len(data), 0)
        if not self._lacks:
            self.body.feed_eof()  # first: after the last piece there is nothing to hold back
            if len(data) > lacks:  # more than the response that was asked for
                self.force_close()
                data = data[:lacks]
        if flow is None:  # between two calls of `hand_over`
            self.body.feed_data(data)
        else:
            self._give(flow, data, b"")
        return True

    def _receive_first(self, data: bytes) -> None:
        """Take in the beginning of a response, or all of it."""
        self._untouched = False
        head = self._head
        if head is not None and not head.done():
            try:
                found = self._shapes.find(data)
                if found is not None and self._receive_known(head, data, found):
                    return
            except Exception as error:
                self._fallbacks.failed(error)
        self._parse("")
        self._opening = data
        self.data_received(data)
        self._opening = b""

    def _receive_known(
        self,
        waiting: "asyncio.Future[Response]",
        data: bytes,
        found: Found[Known],
    ) -> bool:
        """Take in a response of a known shape; False if its body begins in a way that is for the parser."""
        shape, values, rest, lacks = found
        chunks, missing = walk(rest) if shape.is_in_chunks else ([rest], ENDED)
        if missing > 0 or missing == LOST:
            return False
        come, body = b"".join(chunks), EMPTY_PAYLOAD
        is_whole = missing == ENDED and not lacks
        response = KnownResponse(shape.kept, shape.names, values, come if is_whole else None)
        # Nothing has been changed so far: a parser could still read it.
        if not is_whole:
            body = StreamReader(self, self._read_bufsize, loop=self._loop)
            body.feed_data(come)
            self._to_show, self._head_size, self._missing, self._lacks = data, len(data) - len(rest), missing, lacks
            self._payload = self.body = body
        self.waiting_for = _NOTHING
        waiting.set_result((response, body))
        return True

    def reader(self) -> StreamReader:
        """The body, for whoever reads it instead of having it handed over."""
        if self._to_show:
            self._parse_on()
        return self.body

    def _parse_on(self) -> None:
        """From here on aiohttp's parser reads a body that was followed without it; it is shown what came before."""
        shown, followed, flow = self._to_show, self.body, self._flow
        self._parse("")
        assert self._parser is not None
        ((_, body),), _, _ = self._parser.feed_data(shown)
        self._payload = self.body = self._answer_body = body
        if flow is not None:
            body.__class__ = HandedOver
            body._waiter, followed._waiter = followed._waiter, None
            self._flow = flow._replace(body=body)

    def _receive(self, data: bytes) -> None:
        """Take in what is no body that was handed over."""
        if data and not self._expected:
            self.force_close()
            if self.transport is not None:
                self.transport.abort()
            return
        self.silent = False
        while data and self._answer_body is None:
            size, self._head_end = rest_of_head(self._head_end, data)
            super().data_received(data[:size])
            data = data[size:]
            if self._exception is not None or not data:
                return
        if data and self._answer_body is EMPTY_PAYLOAD:
            self.force_close()
            return
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head, with its body, for whoever waits for it."""
        if self._opening:
            try:
                learn(self._shapes, data[0], self._opening)
            except Exception as error:
                self._fallbacks.failed(error)
        if data[0].code >= 200 and self._answer_body is None:
            self.body = self._answer_body = data[1]
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
        body = self.body
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("The response body is broken"))
        if self._head is not None and not self._head.done():
            self._head.set_exception(exc)
        super().set_exception(exc, exc_cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        body, self._to_show = self.body, b""  # no parser can read on
        self.unsent = self._paused
        if not body.is_eof() and (exc is not None or self.failure is not None):
            # A body that ends with the connection would look complete.
            body.set_exception(self.failure or aiohttp.ClientPayloadError("The connection was reset"))
        super().connection_lost(exc)

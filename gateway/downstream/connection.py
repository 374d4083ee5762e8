"""A client's connection, from its socket to the application's handler, and what aiohttp leaves open in between.

Rule 1: one request in is one unambiguous request out. Whatever could be read in two ways is refused and the connection
closed. A request after which the next one could not be told apart for certain (chunked, whose trailers the parser
would add to the next head; an upgrade, after which it loses bytes; HTTP/1.0) is the last one of its connection.
Rule 2: a malformed request leaves one line, through `on_malformed`, and one small answer. Neither quotes the client.
Rule 3: nothing is awaited from a client without a bound; `watch.py` looks after that.

This file and `dispatch.py`, `guarded_request.py`, `runner.py`, `relayed.py`, `watch.py` lean on names that aiohttp does
not promise; `test_connection.py` lists them.
"""

import asyncio
import logging
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web
from aiohttp.hdrs import EXPECT
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError, _ErrInfo

from gateway.downstream import request_head
from gateway.downstream.guarded_request import Message, break_off, has_begun, invited
from gateway.downstream.held import Held, missing
from gateway.downstream.known_request import KnownRequest, OneConnection
from gateway.downstream.refusal import Malformed, new_request_id
from gateway.downstream.request_head import Objection, objection_to
from gateway.downstream.state import EXCHANGE
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.downstream.runner import GuardedServer

logger = logging.getLogger(__name__)


class GuardedConnection(RequestHandler):
    """aiohttp's side of a connection, with the rules above."""

    __slots__ = (
        "_bounds",
        "_deaf",
        "_ended",
        "_head_bytes",
        "_held",
        "_inbound",
        "_known",
        "_last",
        "_left_to_drop",
        "_lingering",
        "_only_refuses",
        "_server",
        "_to_come",
        "_unlearned",
        "ends",
    )

    def __init__(self, server: "GuardedServer", *, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(server, loop=loop, **kwargs)
        bounds = server.bounds
        self._parser = HttpRequestParser(
            self,
            loop,
            self._read_bufsize,
            max_line_size=bounds.max_target_bytes,
            max_field_size=bounds.max_field_bytes,
            max_headers=bounds.max_fields,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=bounds.max_pipelined,
        )
        self._max_msg_queue_size = bounds.max_pipelined
        self._msg_queue_resume_size = bounds.max_pipelined // 2
        self._bounds = bounds
        self._server = server
        self._known = OneConnection(server.known)
        self.ends: tuple[Any, Any, Any] = (None, None, None)  # TLS, the other side's address and this side's
        self._to_come = 0  # bytes until a request begins with what comes next; below 0 if that cannot be told
        self._unlearned: tuple[RawRequestMessage, bytes] | None = None  # a request that came whole
        self._held: Held | None = None  # a request that has not
        self._inbound: StreamReader = EMPTY_PAYLOAD  # the body that the parser is in, or was in last
        self._head_bytes = 0  # of a head that is not complete yet
        self._last = False  # no request is served after the one the parser is in
        self._deaf = False  # nothing that arrives is parsed
        self._ended = False  # nothing more will arrive
        self._only_refuses = False  # there is nothing else to do
        self._lingering: asyncio.Future[None] | None = None
        self._left_to_drop = bounds.linger_bytes

    # What the watch sees

    @property
    def lingering(self) -> bool:
        """The last answer is out, and the client is given time to take it."""
        return self._lingering is not None

    @property
    def silent(self) -> bool:
        """Nothing has ever come."""
        return self._request_count == 0 and self._head_bytes == 0 and not (self._deaf or self._held)

    @property
    def idle_since(self) -> float:
        """When the connection began to wait for a request, in the loop's time; infinity while it does not."""
        waits = self._waiter is not None and not self._waiter.done() and not self._head_bytes
        return self._next_keepalive_close_time - self._keepalive_timeout if waits else inf

    @property
    def awaits_head(self) -> bool:
        """Part of a request head is here, and there is nothing else to do."""
        return self._head_bytes > 0 and self._waiter is not None and not self._waiter.done()

    @property
    def awaited_body(self) -> StreamReader | None:
        """The body that somebody is waiting for."""
        body = self._inbound
        return None if body.is_eof() or body._waiter is None else body

    # What arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._task_handler is not None:
            self._task_handler.add_done_callback(self._stopped)
        self.ends = self.ssl_context, self.peername, self.sockname
        self._server.opened(self, cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop(data)
            return
        if self._force_close or self._parser is None:
            return
        held = self._held
        if held is not None:
            if not held.add(data):
                return
            data, self._held = held.taken(), None
        between_requests = self._inbound.is_eof()
        begins = between_requests and self._to_come == 0
        if begins and not (self._last or self._close or self._server.last_call):
            if (known := self._known.read(data)) is not None:
                self._accept_known(known)
                return
            if held is None and (lacks := missing(data)):
                self._held = Held(data, lacks, self._loop, self._let_go)
                return
        try:
            self._parse(data, begins, between_requests)
        except Exception as error:
            self._fail(error)

    def _parse(self, data: bytes, begins: bool, between_requests: bool) -> None:
        parser = self._parser
        assert parser is not None
        try:
            messages, _, _ = parser.feed_data(data)
        except HttpProcessingError as error:
            self.refuse(request_head.objection_of_parser(error, self._bounds.max_target_bytes))
            return
        if data:
            self._to_come = request_head.to_come(messages, data) if begins else max(self._to_come - len(data), -1)
        if messages:
            self._accept(messages, len(data))
            as_it_came = bool(self._messages) and self._messages[-1][0] is messages[0][0]
            if begins and as_it_came and self._to_come == 0 and self._known.can_learn(data):
                self._unlearned = messages[0][0], data
        elif data and between_requests:
            self._head_grew(len(data))

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Log a fault of ours, and close: the client must not wait for an answer that will not come."""
        logger.error("a connection failed", exc_info=error)
        self._deaf = True
        self.force_close()

    def _let_go(self) -> None:
        """Read what is held, whole or not."""
        if self._held is not None:
            self._held.wait_no_more()
            self.data_received(b"")

    def _process_keepalive(self) -> None:
        self._let_go()
        super()._process_keepalive()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has left; if all there is to do is to refuse what it said, it may still be there to be told."""
        self._ended = True
        self._let_go()
        return self._only_refuses and not self.lingering

    def _accept_known(self, message: KnownRequest) -> None:
        """Take in a request that is here to its end, and was judged with others of its shape."""
        self._enqueue(message, EMPTY_PAYLOAD)
        if not self._buffer_paused and len(self._messages) >= self._max_msg_queue_size:
            self._pause_reading_for_buffer()

    def _accept(self, messages: Sequence[tuple[RawRequestMessage, StreamReader]], size: int) -> None:
        for message, payload in messages:
            if self._last or self._close:
                self._deaf = True
                break
            if message.path[0] != "/":
                message = request_head.in_origin_form(message, may_be_https=self._may_be_https())
            objection = objection_to(message)
            if objection is None and self._head_bytes + size > self._bounds.max_head_bytes:
                objection = request_head.objection_to_size(message, self._bounds.max_head_bytes)
            if objection is not None:
                self.refuse(objection)
                break
            if EXPECT in message.headers:
                message = invited(message, payload)
            if (
                message.should_close
                or message.chunked
                or message.upgrade
                or message.version is not HttpVersion11
                or self._server.last_call
            ):
                self._last = True
                message = message._replace(should_close=True, upgrade=False)
            self._inbound = payload
            self._enqueue(message, payload)
        self._head_bytes = 0
        if not self._buffer_paused and len(self._messages) >= self._max_msg_queue_size:
            self._pause_reading_for_buffer()

    def _may_be_https(self) -> bool:
        peer = self.peername[0] if isinstance(self.peername, tuple) else ""
        return self.ssl_context is not None or self._server.trusts(peer)

    def _enqueue(self, message: Message | _ErrInfo, payload: StreamReader) -> None:
        self._request_count += 1
        self._messages.append((message, payload))  # type: ignore[arg-type]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _head_grew(self, size: int) -> None:
        self._deaf = self._last
        self._head_bytes += size
        if self._head_bytes > self._bounds.max_head_bytes and not self._deaf:
            self.refuse(request_head.HEAD_TOO_LARGE)

    def _drop(self, data: bytes) -> None:
        if self._lingering is None:
            if data:
                self._pause_reading_for_buffer()
            return
        self._left_to_drop -= len(data)
        if self._left_to_drop < 0 and self.transport is not None:
            self.transport.abort()

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        self._server.paused.add(self)

    def _resume_transport_reading(self) -> None:
        super()._resume_transport_reading()
        self._server.paused.discard(self)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """As every body asks for at its end, paused or not."""
        if self._reading_paused or resume_parser:
            super().resume_reading(resume_parser)

    def close(self) -> None:
        """Serve no further request. An idle connection ends now: a request on it would never be answered."""
        self._let_go()
        idle = self._waiter is not None and not self._waiter.done()
        super().close()
        if idle and self.transport is not None:
            self.transport.close()

    def answering(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Know the shape of a request that is served; one that is refused might come from anybody."""
        unlearned = self._unlearned
        if unlearned is not None and unlearned[0] is request._message:
            self._unlearned = None
            if response.status < 400:
                self._known.learn(*unlearned)

    def invite(self) -> None:
        """Tell the client to send the body of the current request, unless an answer has begun."""
        request = self._current_request
        if request is not None and not has_begun(request) and self.transport is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, objection: Objection) -> None:
        """Read nothing more. A request whose body is broken hears of it and answers; else a refusal does, in turn."""
        self._deaf, self._unlearned = True, None
        error = objection.raised()
        peer = self.peername[0] if isinstance(self.peername, tuple) else "local"
        begun = not self._inbound.is_eof()
        request_id, size = new_request_id(), len(self._server.refusal_body(error))
        self._server.on_malformed(Malformed(request_id, peer, error.status, error.code, objection.reason, size, begun))
        if not begun:
            self._only_refuses = not self._messages and (self._waiter is not None or self._request_count == 0)
            self._enqueue(_ErrInfo(error.status, error, request_id), EMPTY_PAYLOAD)
        else:
            self._inbound.set_exception(error)

    # What is answered

    async def start(self) -> None:
        """Answer one request after the other, all in the connection's own task.

        aiohttp makes a task for each of them; that costs two turns of the event loop. What a handler leaves in the
        task's context is still there for the next request, so whoever reads it sets it first.
        """
        while not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            message, payload = self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
                if self._to_come < 0 and not (self._messages or self._deaf or self._reading_paused):
                    self.data_received(b"")  # the parser may have kept a request, for want of room
            if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not await self._goes_on_after(message, payload):
                break
            self._next_keepalive_close_time = close_time = self._loop.time() + self._keepalive_timeout
            if self._keepalive_handle is None:
                self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _goes_on_after(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> bool:
        """Answer a request; whether the connection may bring another one."""
        make, handler, task = self._request_factory, self._request_handler, self._task_handler
        if make is None or handler is None or task is None:  # the connection is lost
            return False
        if isinstance(message, _ErrInfo):
            handler, message = self._server.refusing(message.exc, message.message), ERROR
        writer: Any = StreamWriter(self, self._loop) if type(message) is RawRequestMessage else None
        request = make(message, payload, self, writer, task)
        self._current_request, self._request_in_progress = request, True
        try:
            try:
                response = await handler(request)
            except web.HTTPException as answer:
                response = answer
            except ConnectionError:
                raise
            except Exception as error:
                response = self.handle_error(request, 500, error)
            if not getattr(response, "_eof_sent", False):  # a handler may return nothing at all
                response = await self._finished(request, response)
            if self._paused:  # lest answers pile up that nobody takes
                await self._drain_helper()
            if self._deaf or not payload.is_eof():
                if self._messages and response.keep_alive:
                    return True
                await self._linger()
                return False
            return bool(response._keep_alive) and not self._close
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:  # the client has left
            return False
        finally:
            request._task = None  # type: ignore[assignment]  # or the two would hold each other
            self._current_request, self._request_in_progress = None, False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)

    async def _finished(self, request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
        """The response that was sent, once all of it is."""
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            raise
        except Exception as error:
            response = self.handle_error(request, 500, error)
            request._match_info = None  # type: ignore[attr-defined]  # its signals may be what failed
            await response.prepare(request)
            await response.write_eof()
        return response

    async def _linger(self) -> None:
        """Let the client take its answer: to close on bytes that were never read would reset the connection.

        RFC 9112, section 9.6: end our side, then read and drop until the client ends its own, or the bounds are met.
        """
        transport = self.transport
        if transport is None or transport.is_closing() or self._ended:
            return
        self._deaf = True
        if transport.can_write_eof():
            transport.write_eof()
        self._lingering = self._loop.create_future()
        self._reading_paused = False
        self._resume_reading_for_buffer()
        await self._lingering  # until the connection is lost, which cancels it

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what a handler raised, or break off if it had begun to answer; log what nobody foresaw."""
        if not isinstance(exc, GatewayError):
            logger.exception("a handler failed", exc_info=exc or True)
        if has_begun(request):
            break_off(request)
            raise ConnectionError("The response had begun")
        exchange = request.get(EXCHANGE)
        return self._server.refusal(exc, new_request_id() if exchange is None else exchange.id)

"""The one way out: every call to a provider is opened, recorded and closed here.

A call is open, in time and in traces, while its `async with` block runs. What the provider fails at arrives as a
GatewayError; what it answers, an error status too, is a response.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from time import monotonic_ns
from types import TracebackType
from typing import Protocol

from gateway.errors import GatewayError, UpstreamError, UpstreamTruncated
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.providers.reading.ends import is_array
from gateway.telemetry.exchange import Exchange, Facts, Outcome, UpstreamCall
from gateway.telemetry.metrics import PoolUse
from gateway.telemetry.trace_context import trace_lines
from gateway.upstream.circuit import Door
from gateway.upstream.content_coding import MOST_BYTES, readable
from gateway.upstream.direct import DirectTransport
from gateway.upstream.tap import HEAD, TAIL, Tap
from gateway.upstream.transport import Incoming, Outgoing, Sink, Transport, TransportFactory, field_lines
from gateway.wire import headers, sse
from gateway.wire.headers import Fields, Form

PSEUDONYM = b"llm-gateway"
VIA = b"1.1 " + PSEUDONYM
PARSED_ON_THE_LOOP = 1 << 20  # bytes
_EVENT_STREAM = sse.CONTENT_TYPE.encode("ascii")
DROPPED, DROPPED_WITHIN = 1 << 16, 1.0  # bytes and seconds that a response which nobody wants may still take


@dataclass(frozen=True, slots=True)
class Capture:
    """Whether messages are read off the bodies for traces, and how much of an answer is kept for that. Bytes."""

    content: bool = False
    limit: int = 1 << 20


class Number(Protocol):
    """A figure that is kept by adding to it."""

    value: int | float


class Live(Protocol):
    """Whoever counts the calls that are open now."""

    def calls_in_flight(self, provider: str) -> Number: ...


class UpstreamClient:
    """Holds a transport for each provider from start-up to clean-up. An async context manager."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        pool_size: int,
        live: Live,
        capture: Capture = Capture(),
        transport: TransportFactory = DirectTransport,
    ) -> None:
        self._providers = providers
        self._pool_size = pool_size
        self._live = live
        self._capture = capture
        self._factory = transport
        self._lines: dict[str, Line] = {}
        self.doors = {provider.name: Door(provider.name, provider.policy) for provider in providers}

    async def __aenter__(self) -> "UpstreamClient":
        self._lines = {provider.name: self._line(provider) for provider in self._providers}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as closing:
            for line in self._lines.values():
                closing.push_async_callback(line.transport.close)

    def pools(self) -> Iterator[PoolUse]:
        """The connections to each provider now."""
        for name, line in self._lines.items():
            transport = line.transport
            yield PoolUse(name, transport.in_use, transport.idle, transport.waiting)

    def call(self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall) -> "OpenCall":
        """Send `request` to `provider`, on the record, when entered. Raises UpstreamError or UpstreamTimeout.

        Overloaded or CircuitOpen if it is not to be called now; then there is no call to record.
        """
        return OpenCall(exchange, provider, request, call, self._lines[provider.name], self._capture)

    def _line(self, provider: Provider) -> "Line":
        base = provider.base_url
        if base is None:
            raise ValueError(f"provider {provider.name} has no base URL")
        credential = provider.credential
        secret = (
            (credential.header.encode("ascii"), credential.template.format(provider.key.reveal()).encode("latin-1"))
            if credential is not None and provider.key is not None
            else None
        )
        return Line(
            transport=self._factory(base, provider.timeouts, self._pool_size),
            base=base.raw_path.rstrip("/").encode("ascii"),
            host=base.raw_authority.encode("ascii") if base.explicit_port else (base.raw_host or "").encode("ascii"),
            door=self.doors[provider.name],
            in_flight=self._live.calls_in_flight(provider.name),
            dialect=provider.dialect.name,
            server=base.host or "",
            port=base.port or 0,
            credential=secret,
            defaults=tuple((k.encode("ascii"), v.encode("latin-1")) for k, v in provider.default_headers.items()),
        )


MOST_FORMS = 1024


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """What every request to one provider has in common; `known` are the lines that were made of a form."""

    transport: Transport
    base: bytes
    host: bytes
    door: Door
    in_flight: Number
    dialect: str
    server: str
    port: int
    credential: tuple[bytes, bytes] | None
    defaults: tuple[tuple[bytes, bytes], ...]
    known: dict[Form, bytes] = field(default_factory=dict)

    def outgoing(self, exchange: Exchange, request: UpstreamRequest, call: UpstreamCall) -> Outgoing:
        """`request` as it is written."""
        target = self.base + request.target.encode("utf-8", "surrogateescape")
        lines = self._lines(request) + trace_lines(exchange.trace, call.span_id)
        return Outgoing(request.method, target, lines, request.body, request.length)

    def _lines(self, request: UpstreamRequest) -> bytes:
        form = request.form
        if form is None:
            return self._made_of(request.fields)
        lines = self.known.get(form)
        if lines is None:
            lines = self._made_of(form.fields)
            holes = lines.count(headers.HOLE)
            if holes != len(request.values):  # the client's own `Connection` field names one of them
                return self._made_of(request.fields)
            if holes:
                lines = headers.template_of(lines)
            if len(self.known) >= MOST_FORMS:
                self.known.clear()
            self.known[form] = lines
        return lines % request.values if request.values else lines

    def _made_of(self, fields: Fields) -> bytes:
        return field_lines(
            headers.to_upstream(fields, host=self.host, credential=self.credential, defaults=self.defaults, via=VIA)
        )


class OpenCall:
    """One call, from the decision to make it until all about it is on the record. An async context manager.

    A class rather than a generator, which would cost every request a third more.
    """

    __slots__ = (
        "_call",
        "_capture",
        "_exchange",
        "_line",
        "_passage",
        "_provider",
        "_request",
        "_response",
        "_sending",
    )

    def __init__(
        self,
        exchange: Exchange,
        provider: Provider,
        request: UpstreamRequest,
        call: UpstreamCall,
        line: Line,
        capture: Capture,
    ) -> None:
        self._exchange = exchange
        self._provider = provider
        self._request = request
        self._call = call
        self._line = line
        self._capture = capture
        self._response: UpstreamResponse | None = None

    async def __aenter__(self) -> "UpstreamResponse":
        exchange, call, line = self._exchange, self._call, self._line
        passage = self._passage = line.door.enter()
        call.dialect, call.server, call.port = line.dialect, line.server, line.port
        exchange.calls.append(call)
        line.in_flight.value += 1
        try:
            self._sending = line.transport.send(line.outgoing(exchange, self._request, call), call)
            incoming = await self._sending.__aenter__()
        except BaseException as error:
            await self._close(error)
            raise
        passage.answered(incoming.status)
        self._response = UpstreamResponse(incoming, self._provider, call, self._capture)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._sending.__aexit__(kind, error, trace)
        finally:
            await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        call, response = self._call, self._response
        if isinstance(error, GatewayError):
            self._passage.failed(error)
            call.failed(error)
        self._passage.leave()
        call.ended = monotonic_ns()
        self._line.in_flight.value -= 1
        if call.error is None and (response is None or not response.complete):
            drained = self._exchange.outcome is Outcome.DRAINED
            call.outcome = Outcome.DRAINED if drained else Outcome.CLIENT_GONE
        body = self._request.body
        long = len(body) if isinstance(body, bytes) else 0
        if response is not None:
            long += response.kept
        if long <= PARSED_ON_THE_LOOP:
            call.unread = self._facts  # read when the client has everything
        else:
            await self._learn()

    async def _learn(self) -> None:
        """Read what the bodies tell in a thread, since they are long."""
        call, reading = self._call, asyncio.ensure_future(asyncio.to_thread(self._facts))
        try:
            call.facts = await asyncio.shield(reading)
        except asyncio.CancelledError:  # a client that leaves now has been served, and is accounted for
            call.facts = await reading
            raise

    def _facts(self) -> Facts:
        body, response = self._request.body, self._response
        sent = body if isinstance(body, bytes) else b""
        head, tail, whole = (b"", b"", True) if response is None else response.ends()
        facts = self._provider.dialect.facts
        return facts(self._call.path, sent, head, tail, content=self._capture.content, whole=whole)


class UpstreamResponse:
    """A response whose head is in; `chunks` is the body as it arrives."""

    __slots__ = ("_body", "_call", "_incoming", "_provider", "_tap", "complete", "fields", "layout", "reason", "status")

    def __init__(self, incoming: Incoming, provider: Provider, call: UpstreamCall, capture: Capture) -> None:
        call.status = incoming.status
        if incoming.status >= 500:
            call.outcome = Outcome.UPSTREAM_ERROR
        self.complete = False
        self._incoming = incoming
        self._provider = provider
        self._call = call
        self._tap = Tap(HEAD, capture.limit if capture.content else TAIL)
        self._body = b""  # where it was whole at once
        self.status = incoming.status
        self.reason = incoming.reason
        self.fields = incoming.fields
        self.layout = headers.layout_of(incoming.fields)

    def field(self, name: bytes) -> bytes:
        """The first value of a field, in lower case; b"" if there is none."""
        at = self.layout.at.get(name)
        return b"" if at is None else self.fields[at][1].lower()

    @property
    def kept(self) -> int:
        """The bytes of the body that are kept for the record."""
        return len(self._body) or self._tap.kept

    @property
    def ready(self) -> bool:
        """Whether some of the body, or its end, is here already."""
        return self._incoming.ready

    @property
    def is_event_stream(self) -> bool:
        return self.field(b"content-type").startswith(_EVENT_STREAM) and self.status < 300

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body exactly as received. Raises UpstreamTruncated, IdleTimeout, or what else the transport met."""
        call, tap = self._call, self._tap
        try:
            async for chunk in self._incoming.chunks():
                if call.first_byte is None:
                    call.first_byte = monotonic_ns()
                yield chunk
                call.chunks += 1
                call.bytes_received += len(chunk)
                tap.hear(chunk)  # after the client has it: a tap delays nobody
            self._must_have_ended()
        except GatewayError as error:
            call.failed(error)
            raise
        self.complete = True

    def whole(self) -> bytes | None:
        """The body, if it is no stream and all of it is here; then it need not be read. None: it is to be."""
        body = None if self.is_event_stream else self._incoming.whole()
        if body is None or (self.status < 300 and is_array(body)):
            return None
        if body:
            call = self._call
            call.first_byte = monotonic_ns()
            call.chunks, call.bytes_received = 1, len(body)
            self._body = body
        self.complete = True
        return body

    async def hand_over(self, sink: Sink) -> None:
        """The body exactly as received, to `sink` in the moment it arrives. Raises like `chunks`."""
        try:
            await self._incoming.hand_over(_Heard(sink, self._call, self._tap))
            self._must_have_ended()
        except GatewayError as error:
            self._call.failed(error)
            raise
        self.complete = True

    def _must_have_ended(self) -> None:
        dialect, path = self._provider.dialect, self._call.path
        if not self.is_event_stream and not (self._is_array and dialect.streams(path, "", b"")):
            return
        # Of a coded stream that was too long, or in a coding unknown here, the end cannot be seen.
        end = self._decoded() if self.field(b"content-encoding") else self._tap.end()
        if end is not None and not dialect.ended(path, end):
            raise UpstreamTruncated(f"{self._call.provider} ended its stream without saying that it is complete.")

    @property
    def _is_array(self) -> bool:
        return self.status < 300 and is_array(self._tap.head)

    def _decoded(self) -> bytes | None:
        body, _, whole = self.ends()
        return body if whole and 0 < len(body) < MOST_BYTES else None

    def ends(self) -> tuple[bytes, bytes, bool]:
        """The first bytes of the body, the last ones after them, and whether they are all of it; without coding."""
        tap, coding = self._tap, self.field(b"content-encoding")
        if self._body:
            tap.hear(self._body)
            self._body = b""
        if not coding:
            return tap.head, tap.tail, tap.whole
        return readable(tap.head + tap.tail, coding) if tap.whole else b"", b"", tap.whole

    async def drop(self) -> None:
        """Pass nothing of this response on. What is short is read, so that its connection can be used again."""
        room = DROPPED
        with suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(DROPPED_WITHIN), aclosing(self.chunks()) as chunks:
                async for chunk in chunks:
                    room -= len(chunk)
                    if room < 0:
                        break
        self.complete = True  # the client did not leave

    async def read(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes. Raises UpstreamError if it is longer."""
        parts: list[bytes] = []
        async for chunk in self.chunks():
            parts.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                raise UpstreamError(f"{self._call.provider} sent a larger answer than is taken here.")
        return b"".join(parts)


class _Heard:
    """A sink that is listened to."""

    __slots__ = ("_call", "_sink", "_tap")

    def __init__(self, sink: Sink, call: UpstreamCall, tap: Tap) -> None:
        self._sink = sink
        self._call = call
        self._tap = tap

    def take(self, piece: bytes) -> bool:
        call = self._call
        if call.first_byte is None:
            call.first_byte = monotonic_ns()
        more = self._sink.take(piece)
        call.chunks += 1
        call.bytes_received += len(piece)
        self._tap.hear(piece)  # after the client has it: a tap delays nobody
        return more

    async def taken(self) -> None:
        await self._sink.taken()

"""A provider's response whose head is in: its body as it arrives, and what of it the record keeps.

A stream that ends before it is complete is an error here, like one that is broken off.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from time import monotonic_ns

from gateway.errors import GatewayError, UpstreamError, UpstreamTruncated
from gateway.providers.provider import Provider
from gateway.providers.reading.ends import is_array, is_event_stream
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, StreamBody
from gateway.telemetry.exchange import Outcome, UpstreamCall
from gateway.upstream.coded_tap import CodedTap
from gateway.upstream.content_coding import DECODED_ON_THE_LOOP, codings_of
from gateway.upstream.tap import HEAD, TAIL, Tap
from gateway.upstream.transport import Fields, Incoming, Sink
from gateway.wire import sse

_EVENT_STREAM = sse.CONTENT_TYPE.encode("ascii")
_LINES = (b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/stream+json")
_STREAMS = (_EVENT_STREAM, *_LINES)
DROPPED, DROPPED_WITHIN = 1 << 16, 1.0  # bytes and seconds that a response which nobody wants may still take


@dataclass(frozen=True, slots=True)
class Capture:
    """What is read off bodies for log and traces.

    That is parameters, messages, for which `limit` bytes of an answer are kept, and the messages of providers' errors.
    """

    content: bool = False
    parameters: ParameterScope = ParameterScope.NONE
    error_messages: bool = False
    limit: int = 1 << 20


NO_CAPTURE = Capture()


class UpstreamResponse:
    """A response whose head is in; `chunks` is the body as it arrives."""

    __slots__ = (
        "_body",
        "_call",
        "_capture",
        "_incoming",
        "_listening",
        "_provider",
        "codings",
        "complete",
        "is_event_stream",
        "is_stream",
        "layout",
        "reason",
        "status",
        "values",
    )

    def __init__(self, incoming: Incoming, provider: Provider, call: UpstreamCall, capture: Capture) -> None:
        call.status = incoming.status
        if incoming.status >= 500:
            call.outcome = Outcome.UPSTREAM_ERROR
        self.complete = False
        self._incoming = incoming
        self._provider = provider
        self._call = call
        self._capture = capture
        self._listening: Tap | None = None
        self._body = b""  # where it was whole at once, and nobody need listen
        self.status = status = incoming.status
        self.reason = incoming.reason
        self.values = values = incoming.values
        self.layout = layout = incoming.layout
        at = layout.content_type
        kind = values[at].lower() if at is not None and status < 300 else b""
        self.is_stream = kind.startswith(_STREAMS)
        self.is_event_stream = self.is_stream and kind.startswith(_EVENT_STREAM)
        self.codings = () if layout.content_encoding is None else self._codings(layout.content_encoding)

    def _codings(self, at: int) -> tuple[bytes, ...]:
        if self.layout.encodings == 1:
            return codings_of(self.values[at])
        return codings_of(b",".join([value for name, value in self.fields if name.lower() == b"content-encoding"]))

    def field(self, name: bytes) -> bytes:
        """The first value of a field, in lower case; b"" if there is none."""
        at = self.layout.at.get(name)
        return b"" if at is None else self.values[at].lower()

    @property
    def fields(self) -> Fields:
        return self._incoming.fields

    @property
    def _tap(self) -> Tap:
        tap = self._listening
        if tap is None:
            capture = self._capture
            tail = capture.limit if capture.content else TAIL
            if self._is_decoded:
                tap = CodedTap(self.codings, HEAD, tail, events=self.is_event_stream)
            else:
                tap = Tap(HEAD, tail, events=self.is_event_stream)
            self._listening = tap
        return tap

    @property
    def _is_decoded(self) -> bool:
        """Whether the body has codings, and anything is read off it."""
        return bool(self.codings) and (self.is_stream or self._provider.dialect.operation(self._call.path) != "")

    @property
    def undecoded(self) -> int:
        """The coded bytes that are still to be decoded for the record."""
        tap = self._listening
        return tap.waiting if isinstance(tap, CodedTap) else 0

    @property
    def is_readable(self) -> bool:
        """Whether what is kept of the body is without codings, all of which could be decoded."""
        tap = self._listening
        return not self.codings or (isinstance(tap, CodedTap) and not tap.failed)

    @property
    def size(self) -> int:
        """The bytes of the body that came, without its codings."""
        tap = self._listening
        return len(self._body) if tap is None else tap.decoded_size if isinstance(tap, CodedTap) else tap.size

    @property
    def kept(self) -> int:
        """The bytes of the body that are kept for the record."""
        return len(self._body) or (0 if self._listening is None else self._listening.kept)

    @property
    def ready(self) -> bool:
        """Whether some of the body, or its end, is here already."""
        return self._incoming.ready

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body exactly as received. Raises UpstreamTruncated, IdleTimeout, or what else the transport met."""
        call, tap = self._call, self._tap
        try:
            async for chunk in self._incoming.chunks():
                if call.first_byte is None:
                    call.first_byte = monotonic_ns()
                call.chunks += 1
                call.bytes_received += len(chunk)
                tap.hear(chunk)  # before the client has it: it may leave once it has
                yield chunk
            await self._must_have_ended()
        except GatewayError as error:
            call.failed(error)
            raise
        self.complete = True

    def whole(self) -> bytes | None:
        """The body, if it is no stream and all of it is here; then it need not be read. None: it is to be."""
        body = None if self.is_stream else self._incoming.whole()
        if body is None or (self.status < 300 and not body.startswith(b"{") and is_array(body)):
            return None
        if body:
            call = self._call
            call.first_byte = monotonic_ns()
            call.chunks, call.bytes_received = 1, len(body)
            if self.codings:
                self._tap.hear(body)
            else:
                self._body = body
        self.complete = True
        return body

    async def hand_over(self, sink: Sink) -> None:
        """The body exactly as received, to `sink` in the moment it arrives. Raises like `chunks`."""
        call, tap = self._call, self._tap
        try:
            await self._incoming.hand_over(sink, tap)
            await self._must_have_ended()
        except GatewayError as error:
            call.failed(error)
            raise
        finally:
            call.first_byte, call.chunks, call.bytes_received = tap.first, tap.pieces, tap.size
        self.complete = True

    async def _must_have_ended(self) -> None:
        if self.undecoded > DECODED_ON_THE_LOOP:
            await asyncio.to_thread(self.ends)
        end = self._end()
        if end is not None and not self._provider.stream_end.is_met(end):
            raise UpstreamTruncated(f"{self._call.provider} ended its stream before it was complete.")

    @property
    def has_ended(self) -> bool:
        """Whether the answer is complete as far as it has come, even if its framing goes on."""
        if self.complete:
            return True
        end = None if self._listening is None else self._end()
        return end is not None and self._provider.stream_end.is_met_early(end)

    @property
    def is_document(self) -> bool:
        """Whether the body so far is no event stream, whatever its label."""
        head = self.ends()[0]
        return bool(head.strip()) and not is_event_stream(head)

    def _end(self) -> End | None:
        """How the stream ended as far as it has come; None if that cannot be told, or it is none."""
        dialect, path = self._provider.dialect, self._call.path
        if self._call.method == "HEAD" or not (self.is_stream or (self._is_array and dialect.streams(path, "", b""))):
            return None
        if not self.is_readable:
            return None
        tap, is_lines = self._tap, not self.is_event_stream
        return dialect.stream_end(path, StreamBody(tap.head, tap.tail, tap.whole, tap.opening, is_lines))

    @property
    def _is_array(self) -> bool:
        return self.status < 300 and self.layout.content_length is None and is_array(self._tap.head)

    def ends(self) -> tuple[bytes, bytes, bool]:
        """The first bytes of the body, the last ones after them, and whether they are all of it; without coding."""
        if self._body:
            return self._body, b"", True
        tap = self._tap
        return tap.head, tap.tail, tap.whole

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

    async def finish(self) -> None:
        """Take what follows the end of an answer whose client has left, so that its connection can be used again."""
        if not self.has_ended or self._incoming.whole() is not None:
            return
        call, tap = self._call, self._tap
        with suppress(GatewayError, TimeoutError, ConnectionResetError):
            async with asyncio.timeout(DROPPED_WITHIN):
                await self._incoming.hand_over(_Dropped(), tap)
        call.chunks, call.bytes_received = tap.pieces, tap.size

    async def read(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes. Raises UpstreamError if it is longer."""
        parts: list[bytes] = []
        async for chunk in self.chunks():
            parts.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                raise UpstreamError(f"{self._call.provider} sent a larger answer than is taken here.")
        return b"".join(parts)


class _Dropped:
    """Discards what it is given, up to `DROPPED` bytes."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        self._room = DROPPED

    def take(self, piece: bytes, framed: bytes = b"") -> bool:
        self._room -= len(piece)
        return self._room > 0

    async def taken(self) -> None:
        raise ConnectionResetError("Nothing more is taken")

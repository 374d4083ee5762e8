"""The one way out: every call to a provider is opened, recorded and closed here.

A call is open, in time and in traces, while its `async with` block runs. What the provider fails at arrives as a
GatewayError; what it answers, an error status too, is a response.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from time import monotonic_ns
from types import TracebackType
from typing import Final, Protocol

from gateway.errors import GatewayError, InternalFault
from gateway.providers.provider import BEARER, Credential, Provider, UpstreamRequest
from gateway.providers.reading.error_words import provider_error
from gateway.providers.reading.parameters import ParameterScope
from gateway.telemetry.exchange import Exchange, Facts, Outcome, UpstreamCall
from gateway.telemetry.metrics import PoolUse
from gateway.upstream.circuit import Door
from gateway.upstream.content_coding import DECODED_ON_THE_LOOP, codings_of, decoded
from gateway.upstream.direct import DirectTransport
from gateway.upstream.line import Line, Number
from gateway.upstream.response import NO_CAPTURE, Capture, UpstreamResponse
from gateway.upstream.transport import TransportFactory
from gateway.wire.headers import Field

PARSED_ON_THE_LOOP = 1 << 20  # bytes


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
        capture: Capture = NO_CAPTURE,
        transport: TransportFactory = DirectTransport,
        via_name: str = "llm-gateway",
    ) -> None:
        self._providers = providers
        self._pool_size = pool_size
        self._live = live
        self._capture = capture
        self._factory = transport
        self._via = f"1.1 {via_name}".encode("ascii")
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
        line = Line(
            transport=self._factory(base, provider.timeouts, self._pool_size),
            base=base.raw_path.rstrip("/").encode("ascii"),
            host=(base.raw_authority if base.explicit_port else base.host_subcomponent or "").encode("ascii"),
            door=self.doors[provider.name],
            in_flight=self._live.calls_in_flight(provider.name),
            dialect=provider.dialect.name,
            server=base.host or "",
            port=base.port or 0,
            credential=_credential_field(provider),
            fixed=tuple((name.encode("ascii"), value.reveal().encode("ascii")) for name, value in provider.fields),
            defaults=tuple((k.encode("ascii"), v.encode("latin-1")) for k, v in provider.default_headers.items()),
            via=self._via,
        )
        if provider.credential is None or not provider.credential.bearer_below:
            return line
        bearer = replace(provider, credential=Credential("authorization", BEARER))
        other = replace(line, credential=_credential_field(bearer), known={})
        return replace(line, bearer=(provider.credential.bearer_below, other))


def _credential_field(provider: Provider) -> Field | None:
    """The field with the provider's key, if it has one."""
    credential, key = provider.credential, provider.key
    if credential is None or key is None:
        return None
    return credential.header.encode("ascii"), credential.template.format(key.reveal()).encode("latin-1")


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
            if self._close(error):
                await self._learn()
            raise
        passage.answered(incoming.status)
        self._response = UpstreamResponse(incoming, self._provider, call, self._capture)
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response = self._response
        try:
            try:
                if response is not None and not response.complete and not isinstance(error, GatewayError):
                    await response.finish()
            finally:  # also where a second cancellation comes while the end is awaited
                await self._sending.__aexit__(kind, error, trace)
        finally:
            if self._close(error):
                await self._learn()

    def _close(self, error: BaseException | None) -> bool:
        """Put the end on the record; whether what the bodies tell is to be read now, since they are long."""
        call, response = self._call, self._response
        if isinstance(error, GatewayError):
            self._passage.failed(error)
            call.failed(error)
        elif isinstance(error, Exception) and not isinstance(error, ConnectionError):  # the client's, if it is one
            call.failed(InternalFault())
        self._passage.leave()
        call.ended = monotonic_ns()
        self._line.in_flight.value -= 1
        if call.error is None and (response is None or not response.has_ended):
            drained = self._exchange.outcome is Outcome.DRAINED
            call.outcome = Outcome.DRAINED if drained else Outcome.CLIENT_GONE
        body = self._request.body
        size = len(body) if isinstance(body, bytes) else 0
        # What came is an upper bound of what was kept of it, and is at hand.
        if size + call.bytes_received > PARSED_ON_THE_LOOP and response is not None:
            size += response.kept
        if size > PARSED_ON_THE_LOOP:
            return True
        if response is not None and response.codings and response.undecoded > DECODED_ON_THE_LOOP:
            return True
        if isinstance(body, bytes) and len(body) > DECODED_ON_THE_LOOP and body[0] != _OBJECT:  # it may be coded
            return True
        call.unread = self._facts  # read when the client has everything
        return False

    async def _learn(self) -> None:
        """Read what the bodies tell, in a thread."""
        call, reading = self._call, asyncio.ensure_future(asyncio.to_thread(self._facts))
        try:
            call.facts = await asyncio.shield(reading)
        except asyncio.CancelledError:  # a client that leaves now has been served, and is accounted for
            call.facts = await reading
            raise

    def _facts(self) -> Facts:
        body, response = self._request.body, self._response
        sent = body if isinstance(body, bytes) else b""
        if sent and sent[0] != _OBJECT:
            sent = _without_codings(self._request, sent)
        head, tail, whole = (b"", b"", True) if response is None else response.ends()
        # By position: this is called for every exchange.
        capture = self._capture
        parameters = capture.parameters if self._exchange.trace.sampled else ParameterScope.NONE
        facts = self._provider.dialect.facts(self._call.path, sent, head, tail, capture.content, parameters, whole)
        if response is not None and response.codings and facts.operation and not response.is_readable:
            facts.usage_error = "content_coding"
        if response is not None and response.status >= 400:
            facts.provider_error = provider_error(head, message=capture.error_messages)
        return facts


def _without_codings(request: UpstreamRequest, body: bytes) -> bytes:
    """The request's body for the record; as it is, if its codings cannot be decoded."""
    codings = codings_of(b",".join([v for name, v in request.own_fields if name.lower() == b"content-encoding"]))
    plain = decoded(body, codings) if codings else body
    return body if plain is None else plain


_OBJECT: Final = ord("{")

"""What every request to one provider has in common, and what its head looks like."""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.providers.provider import UpstreamRequest
from gateway.telemetry.exchange import Exchange, UpstreamCall
from gateway.telemetry.trace_context import trace_lines
from gateway.upstream.circuit import Door
from gateway.upstream.transport import Outgoing, Transport, field_lines
from gateway.wire import headers
from gateway.wire.headers import Fields, Form

MOST_FORMS = 1024  # whose lines are kept


class Number(Protocol):
    """A figure that is kept by adding to it."""

    value: int | float


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """What every request to one provider has in common; `known` are the lines that were made of a form.

    `bearer` is a target prefix and the line for targets that begin with it, if there is one.
    """

    transport: Transport
    base: bytes
    host: bytes
    door: Door
    in_flight: Number
    dialect: str
    server: str
    port: int
    credential: tuple[bytes, bytes] | None
    fixed: Fields
    defaults: Fields
    via: bytes
    bearer: "tuple[str, Line] | None" = None
    known: dict[Form, bytes] = field(default_factory=dict)

    def outgoing(self, exchange: Exchange, request: UpstreamRequest, call: UpstreamCall) -> Outgoing:
        """`request` as it is written."""
        if self.bearer is not None and request.target.startswith(self.bearer[0]):
            return self.bearer[1].outgoing(exchange, request, call)
        target = self.base + request.target.encode("utf-8", "surrogateescape")
        lines = self._lines(request) + trace_lines(exchange.trace, call.span_id)
        return Outgoing(request.method, target, lines, request.body, request.length)

    def _lines(self, request: UpstreamRequest) -> bytes:
        form = request.form
        if form is None:
            return self._made_of(request.own_fields)
        lines = self.known.get(form)
        if lines is None:
            lines = self._made_of(form.fields)
            holes = lines.count(headers.HOLE)
            if holes != len(request.values):  # the client's own `Connection` field names one of them
                return self._made_of(request.own_fields)
            if holes:
                lines = headers.template_of(lines)
            if len(self.known) >= MOST_FORMS:
                self.known.clear()
            self.known[form] = lines
        return lines % request.values if request.values else lines

    def _made_of(self, fields: Fields) -> bytes:
        return field_lines(
            headers.to_upstream(
                fields,
                host=self.host,
                credential=self.credential,
                fixed=self.fixed,
                defaults=self.defaults,
                via=self.via,
            )
        )

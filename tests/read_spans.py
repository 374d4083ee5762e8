"""Spans as a collector reads them, with OpenTelemetry's own message classes."""

from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.telemetry import otlp

KINDS = {0: "UNSPECIFIED", 1: "INTERNAL", 2: "SERVER", 3: "CLIENT"}
STATUS = {0: "UNSET", 1: "OK", 2: "ERROR"}


@dataclass
class Event:
    name: str
    time: int
    attributes: dict[str, Any]


@dataclass
class Span:
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start: int
    end: int
    status: str
    message: str
    flags: int
    tracestate: str
    attributes: dict[str, Any] = field(repr=False)
    events: list[Event] = field(repr=False)


def opening(trace_id: str, span_id: str, parent_id: str | None, *, name: str, kind: int, start: int, end: int) -> bytes:
    """What a span must have, as the gateway writes it; ids in hexadecimal digits."""
    parent = None if parent_id is None else bytes.fromhex(parent_id)
    place = otlp.place(bytes.fromhex(trace_id), bytes.fromhex(span_id), parent, start, end)
    return place + otlp.name_and_kind(name, kind)


def of_scope(encoded: bytes) -> list[Span]:
    """Spans as `otlp.scope_spans` joins them."""
    return [_span(span) for span in trace_pb2.ScopeSpans.FromString(encoded).spans]


def of_request(body: bytes) -> dict[str, list[Span]]:
    """The spans in an export request, by Phoenix project."""
    found: dict[str, list[Span]] = {}
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        project = _values(group.resource.attributes)["openinference.project.name"]
        for scope in group.scope_spans:
            found.setdefault(project, []).extend(map(_span, scope.spans))
    return found


def resources(body: bytes) -> list[dict[str, Any]]:
    """The attributes of each resource in an export request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [_values(group.resource.attributes) for group in request.resource_spans]


def _span(span: trace_pb2.Span) -> Span:
    return Span(
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        status=STATUS[span.status.code],
        message=span.status.message,
        flags=span.flags,
        tracestate=span.trace_state,
        attributes=_values(span.attributes),
        events=[Event(event.name, event.time_unix_nano, _values(event.attributes)) for event in span.events],
    )


def _values(attributes: Any) -> dict[str, Any]:
    listed: list[KeyValue] = list(attributes)
    values = {attribute.key: _value(attribute.value) for attribute in listed}
    assert len(values) == len(listed), "an attribute stands there twice"
    return values


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)

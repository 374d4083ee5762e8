"""What is written here is read with OpenTelemetry's own message classes, and compared with what its SDK writes."""

import math

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from gateway.telemetry import otlp
from tests import read_spans

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
TEXTS = ["", "a", "ä" * 60, *("x" * length for length in (100, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128))]
NUMBERS = [0, 1, 127, 128, 16383, 16384, 2**31, 2**63 - 1, -1, -(2**63)]


def read(*parts: bytes) -> Span:
    return Span.FromString(b"".join(parts))


@pytest.mark.parametrize("value", [*TEXTS, "y" * 16_383, "y" * 16_384, "z" * 3_000_000])
def test_texts_of_every_length_are_read_back(value: str) -> None:
    span = read(otlp.text("llm.model_name", value))
    assert [(attribute.key, attribute.value.string_value) for attribute in span.attributes] == [
        ("llm.model_name", value)
    ]


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_of_every_size_are_read_back(value: int) -> None:
    (attribute,) = read(otlp.number("n", value)).attributes
    assert attribute.value.int_value == value and attribute.value.WhichOneof("value") == "int_value"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**40])
def test_a_number_that_does_not_fit_is_written_as_text(value: int) -> None:
    (attribute,) = read(otlp.attribute("n", value)).attributes
    assert attribute.value.string_value == str(value)


@pytest.mark.parametrize(
    ("given", "arrives"),
    [("caf\udce9", "caf?"), ("\ud83d", "?"), ("a\0b", "a\ufffdb"), ("\udc80\0", "?\ufffd"), ("naïve 🎈", "naïve 🎈")],
)
def test_text_that_a_collector_or_its_database_could_not_take_is_made_fit(given: str, arrives: str) -> None:
    (attribute,) = read(otlp.attribute("t", given)).attributes
    assert attribute.value.string_value == arrives


def test_values_keep_their_kinds() -> None:
    values: dict[str, otlp.Value | None] = {
        "text": "t",
        "true": True,
        "false": False,
        "number": 3,
        "fraction": 0.1,
        "infinite": math.inf,
        "list": ("a", "ü"),
        "no list": (),
        "nothing": None,
        "empty": "",
    }
    span = read(otlp.attributes(values))
    kinds = {attribute.key: attribute.value.WhichOneof("value") for attribute in span.attributes}
    assert kinds == {
        "text": "string_value",
        "true": "bool_value",
        "false": "bool_value",
        "number": "int_value",
        "fraction": "double_value",
        "infinite": "double_value",
        "list": "array_value",
        "no list": "array_value",
    }
    found = {attribute.key: attribute.value for attribute in span.attributes}
    assert found["true"].bool_value and not found["false"].bool_value
    assert found["fraction"].double_value == 0.1 and found["infinite"].double_value == math.inf
    assert [item.string_value for item in found["list"].array_value.values] == ["a", "ü"]


def test_a_request_is_what_the_sdk_writes_for_the_same_spans() -> None:
    values: dict[str, otlp.Value] = {"a": "b", "n": 300, "f": 0.25, "yes": True, "list": ("x", "y"), "long": "l" * 5000}
    resource: dict[str, otlp.Value] = {"service.name": "llm-gateway", "openinference.project.name": "demo"}
    ours = otlp.scope_spans(
        [
            read_spans.opening(TRACE, SPAN, None, name="POST /x", kind=otlp.SERVER, start=10**18, end=10**18 + 7)
            + otlp.context(1 | 0x100, "a=1,b=2")
            + otlp.attributes(values)
            + otlp.event("First Token Stream Event", 10**18 + 3, {}),
            read_spans.opening(TRACE, PARENT, SPAN, name="chat ü", kind=otlp.CLIENT, start=10**18, end=10**18 + 5)
            + otlp.context(1 | 0x300, None)
            + otlp.error_status("it broke")
            + otlp.event("exception", 10**18 + 5, {"exception.type": "x", "exception.message": "it broke"}),
        ]
    )
    written = ExportTraceServiceRequest.FromString(b"".join(otlp.resource_spans(resource, "gateway", "1.2", [ours])))
    for span in written.resource_spans[0].scope_spans[0].spans:
        span.flags &= 0x300  # the SDK leaves out the W3C flags, which the protocol has a place for
    theirs = encode_spans(
        [
            _sdk_span(
                SPAN,
                None,
                "POST /x",
                SpanKind.SERVER,
                7,
                attributes=values,
                events=[Event("First Token Stream Event", timestamp=10**18 + 3)],
                state=[("a", "1"), ("b", "2")],
            ),
            _sdk_span(
                PARENT,
                SPAN,
                "chat ü",
                SpanKind.CLIENT,
                5,
                status=Status(StatusCode.ERROR, "it broke"),
                events=[
                    Event("exception", {"exception.type": "x", "exception.message": "it broke"}, timestamp=10**18 + 5)
                ],
            ),
        ]
    )
    for sdk_span in theirs.resource_spans[0].scope_spans[0].spans:
        sdk_span.status.SetInParent()
    for our_span in written.resource_spans[0].scope_spans[0].spans:
        our_span.status.SetInParent()
    assert written == theirs


def test_spans_of_several_exchanges_and_projects_are_joined() -> None:
    spans = [
        otlp.scope_spans([read_spans.opening(TRACE, SPAN, None, name=name, kind=otlp.INTERNAL, start=1, end=2)])
        for name in ("one", "two", "three")
    ]
    request = ExportTraceServiceRequest.FromString(
        b"".join(
            otlp.resource_spans({"p": "first"}, "s", "1", spans[:2])
            + otlp.resource_spans({"p": "second"}, "s", "1", spans[2:])
        )
    )
    assert [
        (group.resource.attributes[0].value.string_value, [span.name for span in group.scope_spans[0].spans])
        for group in request.resource_spans
    ] == [("first", ["one", "two"]), ("second", ["three"])]
    assert [span.name for span in ScopeSpans.FromString(b"".join(spans)).spans] == ["one", "two", "three"]


def _sdk_span(
    span_id: str,
    parent_id: str | None,
    name: str,
    kind: SpanKind,
    nanoseconds: int,
    *,
    attributes: dict[str, otlp.Value] | None = None,
    events: list[Event] | None = None,
    status: Status | None = None,
    state: list[tuple[str, str]] | None = None,
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=SpanContext(int(TRACE, 16), int(span_id, 16), False, TraceFlags(1), TraceState(state)),
        parent=SpanContext(int(TRACE, 16), int(parent_id, 16), True) if parent_id else None,
        resource=Resource({"service.name": "llm-gateway", "openinference.project.name": "demo"}),
        attributes=attributes,
        events=events or [],
        kind=kind,
        instrumentation_scope=InstrumentationScope("gateway", "1.2"),
        status=status or Status(StatusCode.UNSET),
        start_time=10**18,
        end_time=10**18 + nanoseconds,
    )

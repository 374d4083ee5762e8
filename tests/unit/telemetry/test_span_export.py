"""Encoded spans on their way to a collector: what is posted, when it is tried again, when it is given up."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from phoenix.otel import register
from yarl import URL

from gateway.settings.reader import Reader
from gateway.settings.tracing import Capture, ContentSettings, TracingSettings, read_tracing
from gateway.telemetry import otlp, span_export
from gateway.telemetry.content import ContentRules
from gateway.telemetry.span_export import SpanCounts, SpanExport
from gateway.telemetry.span_tree import SpanTree
from tests import read_spans
from tests import traced_exchanges as made
from tests.scripted import Received, ScriptedUpstream, answer, close

SPAN = otlp.scope_spans([read_spans.opening("ab" * 16, "cd" * 8, None, name="s", kind=otlp.SERVER, start=1, end=2)])
OFFERED = SPAN + SPAN


@pytest.fixture
async def collector() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@dataclass
class Sending:
    """An export under way, and what it counts."""

    export: SpanExport
    counts: SpanCounts

    def offer(self, project: str = "gateway", spans: int = 2, data: bytes = OFFERED) -> None:
        self.export.offer(project, spans, data)


@pytest.fixture
async def sending(collector: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sending]:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.02)
    monkeypatch.setattr(span_export, "FIRST_PAUSE", 0.05)
    counts = SpanCounts()
    async with SpanExport(TracingSettings(endpoint=URL(f"{collector.url}/v1/traces")), counts) as export:
        yield Sending(export, counts)


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


class TestGathering:
    async def test_spans_that_come_without_end_still_share_requests(
        self, collector: ScriptedUpstream, sending: Sending, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.2)
        sending.offer()
        for _ in range(200):
            await asyncio.sleep(0.002)
            sending.offer()
        await until(lambda: sending.counts == SpanCounts(sent=402))
        assert len(collector.requests) < 10

    async def test_a_whole_batch_waits_for_nothing(
        self, collector: ScriptedUpstream, sending: Sending, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "LINGER_SECONDS", 60.0)
        monkeypatch.setattr(span_export, "BATCH_BYTES", 10 * len(OFFERED))
        for _ in range(9):
            sending.offer()
        await asyncio.sleep(0.1)
        assert not collector.requests
        for _ in range(12):
            sending.offer()
        await until(lambda: sending.counts == SpanCounts(sent=40))
        assert len(collector.requests) == 2

    async def test_spans_that_are_a_batch_by_themselves_wait_for_nothing(
        self, collector: ScriptedUpstream, sending: Sending, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "LINGER_SECONDS", 60.0)
        monkeypatch.setattr(span_export, "BATCH_BYTES", len(OFFERED))
        for sent in (2, 4):
            sending.offer()
            await until(lambda sent=sent: sending.counts.sent == sent)
        assert len(collector.requests) == 2
        monkeypatch.setattr(span_export, "BATCH_BYTES", 2 * len(OFFERED))
        sending.offer()
        await asyncio.sleep(0.05)  # it is waited for more
        sending.offer()
        await until(lambda: sending.counts.sent == 8)

    async def test_what_was_taken_makes_room(
        self, collector: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.01)
        counts = SpanCounts()
        settings = TracingSettings(endpoint=URL(f"{collector.url}/v1/traces"), queue_bytes=3 * len(OFFERED))
        async with SpanExport(settings, counts) as export:
            for sent in range(1, 11):
                export.offer("gateway", 2, OFFERED)
                await until(lambda sent=sent: counts.sent == 2 * sent)
            assert export.room == settings.queue_bytes
        assert counts == SpanCounts(sent=20)

    async def test_a_request_of_many_pieces_has_a_length_and_is_whole_at_each_attempt(
        self, collector: ScriptedUpstream, sending: Sending
    ) -> None:
        large = otlp.scope_spans([otlp.name_and_kind("x" * 3000, otlp.SERVER)])
        collector.will(answer(b"", "503 Unavailable"))
        for number in range(100):
            sending.offer(f"project-{number % 2}", 1, large)
        await until(lambda: sending.counts == SpanCounts(sent=100))
        first, second = collector.requests
        assert first.body == second.body
        assert first.fields.getall("content-length") == [str(len(first.body))]
        assert "transfer-encoding" not in first.fields
        found = read_spans.of_request(first.body)
        assert {project: len(spans) for project, spans in found.items()} == {"project-0": 50, "project-1": 50}
        assert len(first.body) > 2 * span_export.WRITE_BYTES

    async def test_no_more_than_that_is_joined_at_a_time(self) -> None:
        pieces = [bytes([number]) * 5000 for number in range(100)]
        joined = [together async for together in span_export._joined(pieces)]
        assert b"".join(joined) == b"".join(pieces) and len(joined) > 5
        assert all(span_export.WRITE_BYTES - 5000 < len(some) <= span_export.WRITE_BYTES for some in joined[:-1])

    @pytest.mark.parametrize("sizes", [[], [0], [1], [100_000] * 3, [1, 200_000, 1, 1], [7] * 50_000])
    async def test_whatever_their_sizes_all_pieces_are_joined_once(self, sizes: list[int]) -> None:
        pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
        joined = [together async for together in span_export._joined(pieces)]
        assert b"".join(joined) == b"".join(pieces)
        assert max(map(len, joined), default=0) <= max(span_export.WRITE_BYTES, *sizes, 0) + 3


class TestTryingAgain:
    @pytest.mark.parametrize("status", ["429 Too Many", "502 Bad Gateway", "503 Unavailable", "504 Timeout"])
    async def test_a_passing_failure_is_tried_again_and_counted_once(
        self, collector: ScriptedUpstream, sending: Sending, status: str
    ) -> None:
        collector.will(answer(b"", status))
        collector.will(close())
        sending.offer()
        await until(lambda: sending.counts == SpanCounts(sent=2))
        bodies = {received.body for received in collector.requests}
        assert len(collector.requests) == 3 and len(bodies) == 1

    @pytest.mark.parametrize("status", ["400 Bad", "401 Who", "413 Large", "415 What", "422 Eh", "307 There", "500 Oh"])
    async def test_a_refusal_for_good_is_not_tried_again(
        self, collector: ScriptedUpstream, sending: Sending, status: str
    ) -> None:
        collector.will(answer(b"", status, "Location: /elsewhere"))
        sending.offer()
        await until(lambda: sending.counts == SpanCounts(failed=2))
        sending.offer()
        await until(lambda: sending.counts == SpanCounts(sent=2, failed=2))
        assert [received.target for received in collector.requests] == [b"/v1/traces"] * 2

    async def test_after_a_number_of_attempts_spans_are_given_up(
        self, collector: ScriptedUpstream, sending: Sending
    ) -> None:
        for _ in range(span_export.ATTEMPTS):
            collector.will(answer(b"", "503 Unavailable"))
        sending.offer()
        await until(lambda: sending.counts == SpanCounts(failed=2))
        sending.offer()
        await until(lambda: sending.counts == SpanCounts(sent=2, failed=2))
        assert len(collector.requests) == span_export.ATTEMPTS + 1

    async def test_after_a_failure_nothing_is_sent_for_a_pause_that_doubles(
        self, collector: ScriptedUpstream, sending: Sending, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "FIRST_PAUSE", 0.2)
        arrived: list[float] = []

        async def note(received: Received) -> None:
            arrived.append(time.monotonic())

        for _ in range(4):
            collector.will(note, answer(b"", "503 Unavailable"))
        while len(arrived) < 4:
            sending.offer()
            await asyncio.sleep(0.01)
        pauses = [later - earlier for earlier, later in pairwise(arrived)]
        assert pauses[0] > 0.15 and pauses[1] > 0.3 and pauses[2] > 0.6

    async def test_a_wait_that_is_asked_for_is_kept_within_reason(
        self, collector: ScriptedUpstream, sending: Sending
    ) -> None:
        collector.will(answer(b"", "503 Unavailable", "Retry-After: 1"))
        collector.will(answer(b"", "503 Unavailable", "Retry-After: soon"))
        sending.offer()
        await collector.received(1)
        begun = time.monotonic()
        await collector.received(2)
        assert time.monotonic() - begun > 0.9
        await until(lambda: sending.counts.sent == 2)

    async def test_a_collector_that_comes_back_gets_what_waited_and_each_is_told_once(
        self, collector: ScriptedUpstream, sending: Sending, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        for _ in range(2):
            collector.will(close())
        for _ in range(20):
            sending.offer()
            await asyncio.sleep(0.01)
        await until(lambda: sending.counts == SpanCounts(sent=40))
        assert [record.levelname for record in caplog.records if "Phoenix" in record.message] == ["WARNING", "INFO"]


async def test_the_environment_has_no_say(
    collector: ScriptedUpstream, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OTEL_EXPORTER_OTLP_ENDPOINT", "PHOENIX_COLLECTOR_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("PHOENIX_API_KEY", "PHOENIX_PROJECT", "OTEL_SERVICE_NAME"):
        monkeypatch.setenv(name, "from-the-environment")
    for name in ("PHOENIX_CLIENT_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.setenv(name, "x=from-the-environment")
    sending.offer()
    received = await collector.received()
    assert b"from-the-environment" not in received.body
    assert not [value for _, value in received.raw_fields if b"from-the-environment" in value]


class TestBesidePhoenixsOwn:
    """What `phoenix.otel.register(batch=True, protocol="http/protobuf")` would post for the same spans."""

    async def test_the_request_is_the_one_that_register_s_exporter_posts(self, collector: ScriptedUpstream) -> None:
        environ = {
            "PHOENIX_COLLECTOR_ENDPOINT": collector.url,
            "PHOENIX_PROJECT_NAME": "demo",
            "PHOENIX_API_KEY": "sesame",
            "PHOENIX_CLIENT_HEADERS": "x-team=one%20two",
        }
        rules = ContentRules(ContentSettings(Capture.ON))
        written = b"".join(SpanTree(rules, {}).encoded(make()) for make in made.EVERY_KIND)
        counts = SpanCounts()
        async with SpanExport(read_tracing(Reader(environ)), counts) as export:
            export.offer("demo", 1, written)
        await asyncio.to_thread(_post_with_register, collector.url, written)
        ours, theirs = collector.requests
        assert ours.line == theirs.line
        for name in ("content-type", "authorization", "x-team"):
            assert ours.fields.getall(name) == theirs.fields.getall(name), name
        assert _without_w3c_flags(ours.body) == _without_w3c_flags(theirs.body)
        (our_resource,), (their_resource,) = read_spans.resources(ours.body), read_spans.resources(theirs.body)
        assert their_resource.keys() <= our_resource.keys()
        assert our_resource["openinference.project.name"] == their_resource["openinference.project.name"] == "demo"


def _post_with_register(address: str, written: bytes) -> None:
    provider = register(
        endpoint=f"{address}/v1/traces",
        project_name="demo",
        api_key="sesame",
        headers={"x-team": "one two"},
        protocol="http/protobuf",
        batch=True,
        set_global_tracer_provider=False,
        verbose=False,
    )
    for span in ScopeSpans.FromString(written).spans:
        provider._active_span_processor.on_end(_as_the_sdk_has_it(span, provider.resource))
    assert provider.force_flush(10_000)
    provider.shutdown()


def _as_the_sdk_has_it(span: Span, resource: Resource) -> ReadableSpan:
    (read,) = read_spans.of_scope(ScopeSpans(spans=[span]).SerializeToString())
    trace_id = int(read.trace_id, 16)
    return ReadableSpan(
        name=read.name,
        context=SpanContext(trace_id, int(read.span_id, 16), False, TraceFlags(1)),
        parent=SpanContext(trace_id, int(read.parent_id, 16), False) if read.parent_id else None,
        resource=resource,
        attributes=read.attributes,
        events=[Event(event.name, event.attributes, event.time) for event in read.events],
        kind=SpanKind[read.kind],
        status=Status(StatusCode[read.status], read.message or None),
        start_time=read.start,
        end_time=read.end,
        instrumentation_scope=InstrumentationScope("gateway"),
    )


def _without_w3c_flags(body: bytes) -> dict[str, list[read_spans.Span]]:
    """The SDK leaves them out, though the protocol has a place for them."""
    found = read_spans.of_request(body)
    return {name: [replace(span, flags=span.flags & 0x300) for span in spans] for name, spans in found.items()}


async def test_resource_attributes_of_the_operator_stand_on_every_batch(collector: ScriptedUpstream) -> None:
    attributes = "deployment.environment.name=staging,service.instance.id=pod-7"
    settings = read_tracing(
        Reader({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": attributes})
    )
    async with SpanExport(settings, SpanCounts()) as export:
        export.offer("gateway", 1, SPAN)
        received = await collector.received()
    (resource,) = read_spans.resources(received.body)
    assert resource["deployment.environment.name"] == "staging"
    assert (resource["service.instance.id"], resource["service.name"]) == ("pod-7", "llm-gateway")

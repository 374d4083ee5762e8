"""Finished exchanges on their way to a collector that does as it is told: slow, silent, refusing, broken, or gone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from yarl import URL

from gateway.settings.reader import Secret
from gateway.settings.tracing import Capture, ContentSettings, TracingSettings
from gateway.telemetry import span_export
from gateway.telemetry.exchange import Content, Message
from gateway.telemetry.span_export import SpanCounts
from gateway.telemetry.trace_context import open_trace
from gateway.telemetry.tracing import MOST_WAITING, Tracing, sampler_of
from tests import read_spans
from tests import traced_exchanges as made
from tests.process import free_port
from tests.read_spans import Span
from tests.scripted import Received, ScriptedUpstream, Step, answer, close, pause, send, until_left

TAKEN = answer(b"", kind="application/x-protobuf")
SHOWN = ContentSettings(Capture.ON)
STOPS_WITHIN = 2.5  # 2 s, and what a busy machine takes


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(span_export, "FIRST_PAUSE", 0.05)


@pytest.fixture
async def collector() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


def settings(collector: ScriptedUpstream | str, **known: object) -> TracingSettings:
    address = collector if isinstance(collector, str) else collector.url
    plain = TracingSettings(endpoint=URL(f"{address}/v1/traces"), project="gateway", export_timeout=5.0)
    return replace(plain, **known)  # type: ignore[arg-type]


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def refusing_address() -> str:
    return f"http://127.0.0.1:{free_port()}"


def spans_in(received: Received) -> list[Span]:
    return [span for spans in read_spans.of_request(received.body).values() for span in spans]


class TestSending:
    async def test_the_spans_of_an_exchange_arrive(self, collector: ScriptedUpstream) -> None:
        exchange = made.unary()
        async with Tracing(settings(collector)) as tracing:
            tracing.view(exchange)
            received = await collector.received()
            await until(lambda: tracing.counts == SpanCounts(sent=2))
        assert received.line == b"POST /v1/traces HTTP/1.1"
        assert received.fields["content-type"] == "application/x-protobuf"
        assert {span.span_id for span in spans_in(received)} == {exchange.trace.span_id, exchange.calls[0].span_id}

    async def test_what_has_no_room_is_not_even_written(
        self, collector: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with Tracing(settings(collector, queue_bytes=1)) as tracing:
            tracing.view(made.unary())
            monkeypatch.setattr(tracing, "_tree", None)  # to write now would count as failed
            tracing.view(made.unary())
            assert tracing.counts == SpanCounts(dropped=2)

    async def test_exchanges_share_a_request(
        self, collector: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(span_export, "LINGER_SECONDS", 60.0)
        async with Tracing(settings(collector)) as tracing:
            for _ in range(200):
                tracing.view(made.unary())
        assert tracing.counts == SpanCounts(sent=400)
        assert len(collector.requests) == 1

    async def test_requests_share_a_connection(self, collector: ScriptedUpstream) -> None:
        collector.will(TAKEN)
        async with Tracing(settings(collector)) as tracing:
            for count in (2, 4):
                tracing.view(made.unary())
                await until(lambda: tracing.counts.sent == count)  # noqa: B023
        assert [received.connection for received in collector.requests] == [1, 1]

    async def test_each_gateway_project_goes_to_its_phoenix_project(self, collector: ScriptedUpstream) -> None:
        async with Tracing(settings(collector, projects={"DEMO": "demos"})) as tracing:
            tracing.view(made.unary())
            tracing.view(made.project())
            tracing.view(made.opened(status=403))
            received = await collector.received()
        found = read_spans.of_request(received.body)
        assert {name: len(spans) for name, spans in found.items()} == {"gateway": 3, "demos": 4}
        assert len(read_spans.resources(received.body)) == 2

    async def test_our_key_and_fields_go_along_and_show_nowhere_else(
        self, collector: ScriptedUpstream, caplog: pytest.LogCaptureFixture
    ) -> None:
        fields = {"authorization": Secret("Bearer sesame"), "x-team": Secret("a"), "content-type": Secret("text/plain")}
        collector.will(answer(b"sesame", "401 Unauthorized"))
        async with Tracing(settings(collector, fields=fields)) as tracing:
            tracing.view(made.unary())
            received = await collector.received()
            await until(lambda: tracing.counts.failed == 2)
        assert (received.fields["authorization"], received.fields["x-team"]) == ("Bearer sesame", "a")
        assert received.fields.getall("content-type") == ["application/x-protobuf"]
        assert "sesame" not in caplog.text and "sesame" not in repr(vars(tracing))
        assert b"sesame" not in received.body

    async def test_an_exchange_that_is_not_sampled_is_not_traced(self, collector: ScriptedUpstream) -> None:
        unsampled = made.unary()
        unsampled.trace = open_trace(f"00-{'ab' * 16}-{'cd' * 8}-00", None, made.ALWAYS)
        async with Tracing(settings(collector)) as tracing:
            tracing.view(unsampled)
        assert collector.requests == [] and tracing.counts == SpanCounts()

    @pytest.mark.parametrize("without_key", [False, True])
    async def test_an_exchange_without_a_key_is_traced_only_by_a_setting(
        self, collector: ScriptedUpstream, without_key: bool
    ) -> None:
        anonymous = made.opened(client=None, status=401)
        async with Tracing(settings(collector, without_key=without_key)) as tracing:
            tracing.view(anonymous)
        assert len(collector.requests) == tracing.counts.sent == without_key
        assert tracing.counts.dropped == tracing.counts.failed == 0

    async def test_a_large_prompt_goes_through(self, collector: ScriptedUpstream) -> None:
        exchange = made.unary()
        text = "words " * 20_000
        exchange.calls[0].facts.content = Content([Message("user", text)] * 20, input_value=text)
        content = ContentSettings(Capture.ON, limit=131_072)
        async with Tracing(settings(collector, content=content)) as tracing:
            tracing.view(exchange)
            received = await collector.received()
            await until(lambda: tracing.counts.sent == 2)
        assert len(received.body) > 2_000_000

    async def test_what_waits_at_exit_is_sent(self, collector: ScriptedUpstream) -> None:
        async with Tracing(settings(collector)) as tracing:
            for _ in range(50):
                tracing.view(made.unary())
        assert tracing.counts == SpanCounts(sent=100)
        assert sum(len(spans_in(received)) for received in collector.requests) == 100

    async def test_after_the_exit_spans_are_dropped_and_counted(self, collector: ScriptedUpstream) -> None:
        async with Tracing(settings(collector)) as tracing:
            pass
        tracing.view(made.unary())
        assert tracing.counts == SpanCounts(dropped=2)

    def test_without_a_collector_no_trace_begins_here_and_a_client_s_goes_on(self) -> None:
        off = sampler_of(TracingSettings())
        assert not open_trace(None, None, off).sampled
        assert open_trace(f"00-{'ab' * 16}-{'cd' * 8}-01", None, off).sampled
        assert sampler_of(TracingSettings(endpoint=URL("http://phoenix"), sample_ratio=0.5)).ratio == 0.5
        with pytest.raises(ValueError, match="no collector"):
            Tracing(TracingSettings())


class TestTheView:
    async def test_it_takes_an_exchange_that_may_be_large_without_writing_a_span(
        self, collector: ScriptedUpstream
    ) -> None:
        unwritable = made.unary()
        unwritable.workflow_span_id = "not hexadecimal"
        async with Tracing(settings(collector, content=SHOWN)) as tracing:
            tracing.view(unwritable)
            assert tracing.counts == SpanCounts(), "nothing has been tried yet"
            await until(lambda: tracing.counts.failed == 3)

    async def test_it_writes_the_spans_of_one_that_tells_nothing_of_its_bodies_at_once(
        self, collector: ScriptedUpstream
    ) -> None:
        async with Tracing(settings(collector)) as tracing:
            exchange = made.unary()
            trace_id = exchange.trace.trace_id
            tracing.view(exchange)
            exchange.trace.trace_id = "0" * 32  # too late to be told
            received = await collector.received()
        assert {span.trace_id for span in spans_in(received)} == {trace_id}

    async def test_an_exchange_that_cannot_be_written_costs_its_own_spans_alone(
        self, collector: ScriptedUpstream, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with Tracing(settings(collector)) as tracing:
            for number in range(6):
                exchange = made.unary()
                if number % 2:
                    exchange.calls = ["sk-secret"]  # type: ignore[list-item]
                tracing.view(exchange)
            await until(lambda: tracing.counts == SpanCounts(sent=6, failed=6))
        assert caplog.text.count("could not be written") == 1
        assert "sk-secret" not in caplog.text

    async def test_what_waits_to_be_written_is_bounded_in_number(self, collector: ScriptedUpstream) -> None:
        exchanges = [made.opened(status=403) for _ in range(MOST_WAITING + 7)]
        async with Tracing(settings(collector, content=SHOWN)) as tracing:
            for exchange in exchanges:  # without a pause: nothing else runs
                tracing.view(exchange)
            assert tracing.counts.dropped == 7
            await until(lambda: tracing.counts.sent == MOST_WAITING)

    async def test_what_waits_to_be_written_is_bounded_in_size(self, collector: ScriptedUpstream) -> None:
        async with Tracing(settings(collector, content=SHOWN, queue_bytes=3_000_000)) as tracing:
            for _ in range(10):
                exchange = made.unary()
                exchange.bytes_in = 1_000_000
                tracing.view(exchange)
            assert tracing.counts.dropped == 2 * 7
            await until(lambda: tracing.counts.sent == 2 * 3)
            tracing.view(exchange)
            await until(lambda: tracing.counts.sent == 2 * 4)


async def assert_stops_in_time(tracing: Tracing) -> None:
    begun = time.monotonic()
    await tracing.__aexit__(None, None, None)
    assert time.monotonic() - begun < STOPS_WITHIN


async def assert_costs_nobody_anything(tracing: Tracing) -> None:
    """The view answers at once, and the loop turns."""
    begun = time.perf_counter()
    for _ in range(100):
        tracing.view(made.unary())
        await asyncio.sleep(0)
    assert time.perf_counter() - begun < 1


TRICKLE = (send(b"HTTP/1.1 200 OK\r\nX-Slow: "), *(step for _ in range(600) for step in (send(b"a"), pause(0.05))))
BAD_COLLECTORS: dict[str, tuple[Step, ...]] = {
    "silent": (until_left(),),
    "slow beyond patience": (pause(1.5), TAKEN),
    "trickling": TRICKLE,
    "no HTTP": (send(b"\x00\xff garbage\r\n\r\n"), close()),
    "hanging up": (close(),),
    "hanging up inside its answer": (send(b"HTTP/1.1 200 OK\r\nContent-Le"), close()),
}


class TestABadCollector:
    @pytest.mark.parametrize("how", BAD_COLLECTORS)
    async def test_it_delays_neither_requests_nor_the_exit_and_its_spans_are_counted(
        self, collector: ScriptedUpstream, how: str
    ) -> None:
        for _ in range(50):
            collector.will(*BAD_COLLECTORS[how])
        tracing = await Tracing(settings(collector, export_timeout=0.3)).__aenter__()
        tracing.view(made.unary())
        await collector.received()
        await assert_costs_nobody_anything(tracing)
        await until(lambda: tracing.counts.failed >= 2)
        await assert_stops_in_time(tracing)
        assert tracing.counts.sent == 0
        assert tracing.counts.failed + tracing.counts.dropped == 202

    async def test_one_that_refuses_connections(self) -> None:
        tracing = await Tracing(settings(refusing_address())).__aenter__()
        await assert_costs_nobody_anything(tracing)
        await until(lambda: tracing.counts.failed > 0)
        await assert_stops_in_time(tracing)
        assert tracing.counts.failed + tracing.counts.dropped == 200

    async def test_one_that_is_silent_does_not_delay_an_exit_right_away(self, collector: ScriptedUpstream) -> None:
        for _ in range(50):
            collector.will(until_left())
        tracing = await Tracing(settings(collector, export_timeout=30.0)).__aenter__()
        for _ in range(1000):
            tracing.view(made.unary())
        await assert_stops_in_time(tracing)
        assert tracing.counts.failed + tracing.counts.dropped == 2000 and tracing.counts.sent == 0

    async def test_one_that_stops_reading_does_not_delay_the_exit(self) -> None:
        content = ContentSettings(Capture.ON, limit=131_072)
        exchange = made.unary()
        exchange.calls[0].facts.content = Content([Message("user", "words " * 20_000)] * 20)
        async with ScriptedUpstream(read_bodies=False) as collector:
            collector.will(pause(30))
            tracing = await Tracing(settings(collector, content=content, export_timeout=30.0)).__aenter__()
            for _ in range(5):
                tracing.view(exchange)
            await collector.received()
            await assert_stops_in_time(tracing)
        assert tracing.counts.failed + tracing.counts.dropped == 10

    @pytest.mark.parametrize("rest", [(until_left(),), (send(b"abc"), close()), (send(b"0123456789"),)])
    async def test_spans_are_taken_once_the_head_of_an_answer_says_so(
        self, collector: ScriptedUpstream, rest: tuple[Step, ...]
    ) -> None:
        collector.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), *rest)
        async with Tracing(settings(collector, export_timeout=30.0)) as tracing:
            for _ in range(2):
                sent = tracing.counts.sent
                tracing.view(made.unary())
                await until(lambda: tracing.counts.sent == sent + 2)  # noqa: B023
        assert tracing.counts == SpanCounts(sent=4)

    async def test_one_that_takes_long_loses_nothing(self, collector: ScriptedUpstream) -> None:
        for _ in range(3):
            collector.will(pause(0.5), TAKEN)
        async with Tracing(settings(collector)) as tracing:
            await assert_costs_nobody_anything(tracing)
            await until(lambda: tracing.counts.sent == 200)

    async def test_what_waits_for_one_is_bounded_and_the_newest_is_dropped(self, collector: ScriptedUpstream) -> None:
        collector.will(until_left())
        tracing = await Tracing(settings(collector, queue_bytes=1 << 20, export_timeout=60.0)).__aenter__()
        tracing.view(made.unary())
        await collector.received()
        while not tracing.counts.dropped:
            for _ in range(100):
                tracing.view(made.unary())
            await asyncio.sleep(0.05)
        before = tracing.counts.dropped
        for _ in range(1000):
            tracing.view(made.unary())
        assert tracing.counts.dropped == before + 2000
        await assert_stops_in_time(tracing)

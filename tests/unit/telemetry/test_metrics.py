"""What is open now, what is read when somebody asks, and handles for other rooms."""

import platform
from collections.abc import Iterator

import pytest

from gateway.telemetry import metric_table as table
from gateway.telemetry.metric_table import TABLE, Kind
from gateway.telemetry.metrics import Metrics, PoolUse
from gateway.telemetry.recorder import Recorder
from tests.made_exchanges import exchange


@pytest.fixture
def metrics() -> Metrics:
    return Metrics({"openai": ("gpt-4o",), "anthropic": ()}, ("demo",), version="1.2.3", commit="abc")


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """As aioprometheus's own Registry tells it."""
    return metrics.registry.get(name).get(labels)


def test_the_registry_has_a_collector_for_each_metric_of_the_table(metrics: Metrics) -> None:
    assert list(metrics.registry.collectors) == [metric.name for metric in TABLE]
    assert all(metrics.registry.get(metric.name).doc == metric.about for metric in TABLE)


def test_two_gateways_in_one_process_share_nothing() -> None:
    one, other = Metrics({}), Metrics({})
    one.counter(table.LOG_LINES_LOST).add(3)
    assert value(one, "gateway_log_lines_lost_total") == 3
    assert value(other, "gateway_log_lines_lost_total") == 0


async def test_open_exchanges_are_told_by_method(metrics: Metrics) -> None:
    recorder = Recorder([])
    metrics.watch_open(recorder.open_methods)
    reading, writing, gone, odd = exchange(method="GET"), exchange(), exchange(), exchange(method="BREW")
    for each in (reading, writing, gone, odd):
        recorder.opened(each)
    await metrics.refresh()
    assert value(metrics, "http_server_active_requests", http_request_method="POST") == 2
    recorder.closed(gone)
    await metrics.refresh()
    assert value(metrics, "http_server_active_requests", http_request_method="GET") == 1
    assert value(metrics, "http_server_active_requests", http_request_method="POST") == 1
    assert value(metrics, "http_server_active_requests", http_request_method="_OTHER") == 1
    assert value(metrics, "http_server_active_requests", http_request_method="PUT") == 0


def test_open_calls_are_told_by_provider_from_zero_on(metrics: Metrics) -> None:
    assert value(metrics, "gateway_upstream_calls_in_flight", provider="anthropic") == 0
    metrics.calls_in_flight("openai").value += 1
    metrics.calls_in_flight("openai").value += 1
    metrics.calls_in_flight("unheard of").value += 1
    metrics.calls_in_flight("openai").value -= 1
    assert value(metrics, "gateway_upstream_calls_in_flight", provider="openai") == 1
    assert value(metrics, "gateway_upstream_calls_in_flight", provider="_other") == 1


def test_others_count_on_handles_of_their_own(metrics: Metrics) -> None:
    sent, lag = metrics.counter(table.SPANS, "sent"), metrics.histogram(table.EVENT_LOOP_LAG)
    sent.add()
    sent.add(4)
    lag.observe(0.2)
    assert value(metrics, "gateway_spans_total", result="sent") == 5
    assert metrics.counter(table.SPANS, "sent") is sent
    assert metrics.registry.get("gateway_event_loop_lag_seconds").get({})["count"] == 1


def test_a_handle_wants_as_many_labels_as_its_metric_has(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="gateway_spans_total has the labels"):
        metrics.counter(table.SPANS)


async def test_pools_are_asked_when_somebody_scrapes(metrics: Metrics) -> None:
    pools = [PoolUse("openai", in_use=1, idle=2)]
    metrics.watch_pools(lambda: pools)
    await metrics.refresh()
    assert value(metrics, "gateway_pool_connections", provider="openai", state="in_use") == 1
    pools[:] = [PoolUse("openai", in_use=7, idle=0, waiting=4)]
    await metrics.refresh()
    assert value(metrics, "gateway_pool_connections", provider="openai", state="in_use") == 7
    assert value(metrics, "gateway_pool_connections", provider="openai", state="idle") == 0
    assert value(metrics, "gateway_pool_waiting", provider="openai") == 4


async def test_a_watched_figure_is_what_its_owner_says(metrics: Metrics) -> None:
    lost = 0
    metrics.watch(table.LOG_LINES_LOST, (), lambda: lost)
    lost = 12
    await metrics.refresh()
    assert value(metrics, "gateway_log_lines_lost_total") == 12


async def test_what_is_counted_by_one_label_is_watched_as_its_values_come_up(metrics: Metrics) -> None:
    refused: dict[str, int] = {}
    metrics.watch_each(table.LIMIT_POLICY_REFUSALS, lambda: refused)
    await metrics.refresh()
    refused["key-requests-minute"] = 3
    await metrics.refresh()
    assert value(metrics, "gateway_limit_policy_refusals_total", policy="key-requests-minute") == 3


async def test_a_figure_that_cannot_be_read_is_counted_told_once_and_spoils_nothing_else(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> float:
        raise RuntimeError("gone")

    metrics.watch(table.VIEW_FAILURES, (), broken)
    metrics.watch(table.LOG_LINES_LOST, (), lambda: 3)
    await metrics.refresh()
    await metrics.refresh()
    assert value(metrics, "gateway_metric_read_failures_total") == 2
    assert value(metrics, "gateway_log_lines_lost_total") == 3
    assert len(caplog.records) == 1


async def test_what_runs_and_how_it_fares_is_told(metrics: Metrics) -> None:
    await metrics.refresh()
    running = {"version": "1.2.3", "commit": "abc", "python": platform.python_version()}
    assert value(metrics, "gateway_build_info", **running) == 1
    assert value(metrics, "gateway_workers") == 1
    assert value(metrics, "process_cpu_seconds_total") > 0
    assert value(metrics, "process_resident_memory_bytes") > 1_000_000
    assert value(metrics, "python_gc_collections_total", generation="0") >= 0


def shown(metrics: Metrics) -> Iterator[str]:
    for figures in metrics.figures():
        for sample in figures.samples:
            assert len(sample.labels) == len(figures.metric.labels)
            yield figures.metric.name


def test_counters_without_labels_are_there_before_their_first_event(metrics: Metrics) -> None:
    always = {metric.name for metric in TABLE if not metric.labels and metric.kind is not Kind.GAUGE}
    assert always <= set(shown(metrics))

"""Several workers' figures are one gateway's."""

import math

import pytest

from gateway.telemetry import dumps
from gateway.telemetry import metric_table as table
from gateway.telemetry.exposition import Format, render
from gateway.telemetry.metric_table import Metric
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.series import Figures, Sample
from tests.made_exchanges import call, chat, exchange


async def dumped(metrics: Metrics) -> dumps.Dump:
    await metrics.refresh()
    return await dumps.read(await dumps.dump(metrics.figures()))


def merged(*workers: dumps.Dump) -> dict[Metric, dict[tuple[str, ...], Sample]]:
    return {f.metric: {sample.labels: sample for sample in f.samples} for f in dumps.merge(workers)}


def worker(requests: int = 0, model: str = "gpt-4o") -> Metrics:
    metrics = Metrics({"openai": ("gpt-4o", "o3")}, version="1")
    for _ in range(requests):
        metrics.view(exchange(call(facts=chat(model))))
    return metrics


async def shown(metrics: Metrics) -> bytes:
    return b"".join([piece async for piece in render(metrics.figures(), Format.OPENMETRICS)])


async def test_one_worker_alone_is_told_as_it_is() -> None:
    metrics = worker(3)
    told = await dumped(metrics)
    assert b"".join([p async for p in render(dumps.merge([told]), Format.OPENMETRICS)]) == await shown(metrics)


async def test_counters_and_histograms_are_summed() -> None:
    one, other = worker(3), worker(4, "o3")
    one.histogram(table.POOL_WAIT, "openai").observe(0.02)
    together = merged(await dumped(one), await dumped(other))
    (requests,) = together[table.REQUESTS].values()
    assert requests.value == 7
    assert {labels[1]: sample.value for labels, sample in together[table.TOKENS].items() if "input" in labels} == {
        "gpt-4o": 21,
        "o3": 28,
    }
    waits = together[table.POOL_WAIT]["openai",]
    assert sum(waits.counts) == 8
    assert waits.value == pytest.approx(0.02)


async def test_gauges_are_joined_as_the_table_says() -> None:
    one, other = worker(), worker()
    for _ in range(3):
        one.calls_in_flight("openai").value += 1
    other.calls_in_flight("openai").value += 1
    first, second = await dumped(one), await dumped(other)
    first[table.START_TIME.name][0].value = 100.0
    second[table.START_TIME.name][0].value = 200.0
    together = merged(first, second)
    assert together[table.UPSTREAM_IN_FLIGHT]["openai",].value == 4
    assert together[table.WORKERS][()].value == 2
    assert together[table.START_TIME][()].value == 200.0
    assert [sample.value for sample in together[table.BUILD_INFO].values()] == [1]


async def test_infinity_survives() -> None:
    one, other = worker(), worker()
    for metrics in (one, other):
        metrics.counter(table.MAX_FDS).value = math.inf
    figures = [figures for figures in one.figures() if figures.metric is table.MAX_FDS]
    read = await dumps.read(await dumps.dump(figures))
    assert merged(read, read)[table.MAX_FDS][()].value == math.inf


async def test_the_latest_example_is_kept() -> None:
    one, other = worker(), worker()
    one.histogram(table.OVERHEAD, "r", "p").observe(0.2, ("early", 1.0))
    other.histogram(table.OVERHEAD, "r", "p").observe(0.2, ("late", 2.0))
    other.histogram(table.OVERHEAD, "r", "p").observe(0.0, ("only", 1.0))
    for workers in ((one, other), (other, one)):
        together = merged(*[await dumped(each) for each in workers])
        examples = together[table.OVERHEAD]["r", "p"].exemplars
        assert [example[1][0] for example in examples if example] == ["only", "late"]


async def test_a_worker_without_examples_takes_none_away() -> None:
    one, other = worker(), worker()
    one.histogram(table.OVERHEAD, "r", "p").observe(0.2, ("only", 1.0))
    other.histogram(table.OVERHEAD, "r", "p").observe(0.2)
    together = merged(await dumped(other), await dumped(one))
    assert [e[1][0] for e in together[table.OVERHEAD]["r", "p"].exemplars if e] == ["only"]


async def test_what_a_dead_worker_counted_stays_and_what_it_held_goes() -> None:
    ended, living = worker(5), worker(1)
    ended.calls_in_flight("openai").value += 1
    kept = dumps.lasting(await dumped(ended))
    together = merged(kept, await dumped(living))
    (requests,) = together[table.REQUESTS].values()
    assert requests.value == 6
    assert together[table.UPSTREAM_IN_FLIGHT]["openai",].value == 0
    assert together[table.WORKERS][()].value == 1


async def test_merging_changes_no_dump() -> None:
    one, other = await dumped(worker(2)), await dumped(worker(3))
    first = merged(one, other)[table.REQUESTS]
    again = merged(one, other)[table.REQUESTS]
    assert first == again


@pytest.mark.parametrize("broken", [b"", b"\xc1", b"not a dump", b"\x81\xa1a\x93\x01"])
async def test_bytes_that_are_no_dump_are_refused(broken: bytes) -> None:
    with pytest.raises(ValueError):
        await dumps.read(broken)


@pytest.mark.parametrize(
    "sample", [Sample(("openai",), 1.0, [1, 2]), Sample(("openai", "idle"), 1.0, [0] * 14), Sample(("openai",), 1.0)]
)
async def test_a_gateway_with_other_buckets_or_labels_is_not_added_in(sample: Sample) -> None:
    written = await dumps.dump([Figures(table.POOL_WAIT, [sample])])
    with pytest.raises(ValueError, match="gateway_pool_wait_seconds"):
        await dumps.read(written)


async def test_a_metric_that_only_another_version_knows_is_left_out() -> None:
    newer = Metric("gateway_news_total", table.Kind.COUNTER, "News.")
    written = await dumps.dump([Figures(newer, [Sample((), 1)]), Figures(table.LOG_LINES_LOST, [Sample((), 2)])])
    assert list(await dumps.read(written)) == ["gateway_log_lines_lost_total"]

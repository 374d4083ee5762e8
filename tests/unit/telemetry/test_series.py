"""Kept children: cheap to add to, bounded in number, and the same that aioprometheus's collectors show."""

import math
import random
from collections.abc import Iterator

import pytest
from aioprometheus.collectors import Registry

from gateway.telemetry import metric_table as table
from gateway.telemetry.metric_table import OTHER
from gateway.telemetry.series import Distribution, Families


@pytest.fixture
def families() -> Families:
    return Families((table.SPANS, table.POOL_CONNECTIONS, table.POOL_WAIT, table.OVERFLOWS), most=3)


def test_a_value_belongs_to_the_first_bucket_that_reaches_it() -> None:
    seen = Distribution((0.1, 1.0))
    for value in (0.0, 0.1, 0.10001, 1.0, 1.5, math.inf):
        seen.observe(value)
    assert seen.counts == [2, 2, 2]
    assert seen.buckets == {0.1: 2, 1.0: 4, math.inf: 6}
    assert seen.observations == 6


def test_many_equal_values_count_as_each() -> None:
    seen = Distribution((0.1, 1.0))
    seen.observe_each(0.5, 40)
    assert (seen.counts, seen.sum) == ([0, 40, 0], 20.0)


def test_a_bucket_keeps_its_latest_example() -> None:
    seen = Distribution((0.1, 1.0))
    seen.observe(0.5, ("a", 1.0))
    seen.observe(0.6, ("b", 2.0))
    seen.observe(0.7)
    assert seen.exemplars == [None, (0.6, ("b", 2.0)), None]


@pytest.mark.parametrize("unit", [1, 10**9])
def test_many_values_together_count_as_each(unit: int) -> None:
    numbers = random.Random(7)
    bounds = (0.1, 0.2, 0.5, 1.0, 2.0)
    for _ in range(300):
        values = [numbers.choice((0.0, *bounds, 9.0, numbers.random() * 3)) for _ in range(numbers.randrange(1, 40))]
        one_by_one, together = Distribution(bounds), Distribution(bounds)
        for value in values:
            one_by_one.observe(value)
        if unit == 1:
            together.observe_all(values)
        else:
            together.observe_ns([round(value * unit) for value in values])
        assert together.counts == one_by_one.counts == [*_counted(values, bounds)]
        assert together.sum == pytest.approx(sum(values))
        assert together.exemplars == []


def test_values_are_added_to_those_that_were_there() -> None:
    seen = Distribution((0.1, 1.0))
    seen.observe(0.5)
    seen.observe_all([0.05, 0.5, 3.0])
    seen.observe_ns([50_000_000, 100_000_000, 100_000_001])
    assert (seen.counts, seen.sum) == ([3, 3, 1], pytest.approx(4.3))


def _counted(values: list[float], bounds: tuple[float, ...]) -> Iterator[int]:
    below = -math.inf
    for bound in (*bounds, math.inf):
        yield sum(below < value <= bound for value in values)
        below = bound


def test_a_bound_that_is_no_binary_fraction_still_holds_what_reaches_it() -> None:
    seen = Distribution((1.005,))
    seen.observe_ns([1_005_000_000, 1_005_000_001])
    assert seen.counts == [1, 1]


def test_of_many_values_each_bucket_shows_its_greatest_if_it_has_a_trace() -> None:
    seen = Distribution((0.1, 0.5, 1.0))
    seen.observe(0.01, ("early", 0.0))
    traces = [("a", 1.0), ("b", 2.0), None, ("c", 3.0), ("d", 4.0), ("e", 5.0)]
    seen.observe_ns([900_000_000, 200_000_000, 30_000_000, 20_000_000, 7_000_000_000, 300_000_000], traces.__getitem__)
    assert seen.exemplars == [(0.01, ("early", 0.0)), (0.3, ("e", 5.0)), (0.9, ("a", 1.0)), (7.0, ("d", 4.0))]


def test_a_sample_does_not_change_any_more() -> None:
    seen = Distribution((0.1,))
    seen.observe(0.05, ("a", 1.0))
    sample = seen.sample(())
    seen.observe(0.05, ("b", 2.0))
    assert (sample.counts, sample.exemplars) == ([1, 0], [(0.05, ("a", 1.0)), None])


def test_a_label_set_has_one_child(families: Families) -> None:
    assert families.count(table.SPANS, "sent") is families.count(table.SPANS, "sent")
    assert families.count(table.SPANS, "sent") is not families.count(table.SPANS, "failed")


def test_aioprometheus_reads_and_writes_the_same_children(families: Families) -> None:
    registry = families.registry
    assert isinstance(registry, Registry)
    kept = families.count(table.SPANS, "sent")
    kept.add(2)
    counter = registry.get("gateway_spans_total")
    counter.inc({"result": "sent"})
    counter.inc({"result": "failed"})
    assert kept.value == 3
    assert counter.get_all() == [({"result": "sent"}, 3), ({"result": "failed"}, 1)]

    gauge = registry.get("gateway_pool_connections")
    gauge.set({"provider": "openai", "state": "idle"}, 4)
    assert families.count(table.POOL_CONNECTIONS, "openai", "idle").value == 4

    histogram = registry.get("gateway_pool_wait_seconds")
    histogram.observe({"provider": "openai"}, 0.2)
    histogram.add({"provider": "openai"}, 0.3)
    assert families.distribution(table.POOL_WAIT, "openai").observations == 2
    assert histogram.get({"provider": "openai"})["sum"] == 0.5


def test_a_full_family_counts_the_rest_together(families: Families) -> None:
    for name in "abcdef":
        families.distribution(table.POOL_WAIT, name).observe(1)
    families.distribution(table.POOL_WAIT, "b").observe(1)
    figures = {each.metric: list(each.samples) for each in families.figures()}
    waits = {sample.labels: sum(sample.counts) for sample in figures[table.POOL_WAIT]}
    assert waits == {("a",): 1, ("b",): 2, ("c",): 1, (OTHER,): 3}
    assert [(s.labels, s.value) for s in figures[table.OVERFLOWS]] == [(("gateway_pool_wait_seconds",), 3)]


def test_hostile_values_stay_values(families: Families) -> None:
    hostile = ('a"} 1\nforged 1', "back\\slash", "\udc80surrogate\ud800")
    for name in hostile:
        families.count(table.SPANS, name).add()
        families.count(table.SPANS, name).add()
    (spans, *_) = families.figures()
    assert [(s.labels[0], s.value) for s in spans.samples] == [
        (hostile[0], 2),
        (hostile[1], 2),
        ("?surrogate?", 2),
    ]


def test_figures_are_in_the_tables_order(families: Families) -> None:
    assert [each.metric for each in families.figures()] == [
        table.SPANS,
        table.POOL_CONNECTIONS,
        table.POOL_WAIT,
        table.OVERFLOWS,
    ]

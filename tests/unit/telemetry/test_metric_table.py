"""The table keeps the conventions it speaks of."""

import re

import pytest

from gateway.telemetry import metric_table
from gateway.telemetry.metric_table import TABLE, Kind, Metric

UNITS = ("seconds", "bytes", "tokens")
RESERVED = ("_bucket", "_sum", "_count", "_created", "_total", "_info")


def named(metric: Metric) -> str:
    return metric.name


def test_every_metric_is_in_the_table_once() -> None:
    told = [value for value in vars(metric_table).values() if isinstance(value, Metric)]
    assert list(TABLE) == told
    assert len({metric.name for metric in TABLE}) == len(TABLE) > 40


@pytest.mark.parametrize("metric", TABLE, ids=named)
def test_a_name_ends_as_its_kind_and_unit_ask(metric: Metric) -> None:
    assert re.fullmatch(r"(gateway|http|gen_ai|process|python)_[a-z0-9_]+", metric.name)
    end = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(metric.kind, "")
    stem = metric.name.removesuffix(end)
    assert metric.name.endswith(end)
    assert not stem.endswith(RESERVED)
    if metric.unit:
        assert metric.unit in UNITS
        assert stem.endswith(f"_{metric.unit}")
    if metric.kind is Kind.HISTOGRAM and metric.unit:
        assert metric.unit == "seconds"


@pytest.mark.parametrize("metric", TABLE, ids=named)
def test_help_and_labels_are_words(metric: Metric) -> None:
    assert metric.about.endswith(".")
    assert '"' not in metric.about and "\n" not in metric.about
    assert len(set(metric.labels)) == len(metric.labels)
    for label in metric.labels:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", label)
        assert label not in ("le", "job", "instance", "quantile")


@pytest.mark.parametrize("metric", TABLE, ids=named)
def test_buckets_rise_and_only_histograms_have_them(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_buckets_are_those_of_the_conventions() -> None:
    seconds = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
    tokens = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
    http = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
    assert metric_table.OPERATION_DURATION.buckets == seconds
    assert metric_table.TIME_TO_FIRST_CHUNK.buckets == seconds
    assert set(seconds) < set(metric_table.TIME_PER_CHUNK.buckets)
    assert metric_table.TOKEN_USAGE.buckets == tokens
    assert http < set(metric_table.REQUEST_DURATION.buckets)
    assert metric_table.REQUEST_DURATION.buckets[-1] == 600

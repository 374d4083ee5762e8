"""The values behind a metric: one kept object per label set, cheap to add to, and never more of them than allowed.

Whoever counts often asks a `Family` for its child once and keeps it; counting is then an addition to an attribute.
The collectors are aioprometheus's, in a Registry of our own; they read and write the same children.

Rule 1: a family has no more label sets than its limit. One more goes to its overflow child, whose every label is
`_other`.
Rule 2: a child has one writer thread; without that, additions could be lost.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import msgspec
from aioprometheus.collectors import Counter, Gauge, Histogram, Registry
from aioprometheus.mypy_types import LabelsType

from gateway.telemetry.metric_table import OTHER, OVERFLOWS, Kind, Metric

Trace = tuple[str, float]  # trace id, Unix time
Exemplar = tuple[float, Trace]  # the value observed, and where
Example = Callable[[int], Trace | None]
Labels = tuple[str, ...]


class Sample(msgspec.Struct, array_like=True, gc=False):
    """A child's value at one moment. Of a histogram `value` is the sum, `counts` each bucket's own (not cumulative)."""

    labels: Labels
    value: int | float
    counts: list[int] = []
    exemplars: list[Exemplar | None] = []


class Count:
    """A counter's value, or a gauge's: add to `value`, or set it."""

    __slots__ = ("exemplar", "value")

    def __init__(self) -> None:
        self.value: int | float = 0
        self.exemplar: Exemplar | None = None

    def add(self, amount: int | float = 1) -> None:
        self.value += amount

    def sample(self, labels: Labels) -> Sample:
        return Sample(labels, self.value, [], [] if self.exemplar is None else [self.exemplar])


class Distribution:
    """A histogram's buckets. Many values cost less together than one by one."""

    __slots__ = ("_bounds_ns", "bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._bounds_ns = tuple([round(bound * 1e9) for bound in bounds])
        self.counts = [0] * (len(bounds) + 1)  # each bucket's own, not cumulative
        self.sum = 0.0
        self.exemplars: list[Exemplar | None] = []  # the latest of each bucket, none at all if there never was one

    def observe(self, value: float, trace: Trace | None = None) -> None:
        """`value` was seen; `trace` is told as the latest example of its bucket."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self._show(bucket, value, trace)

    def observe_each(self, value: float, times: int) -> None:
        """`value` was seen that many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def observe_all(self, values: Sequence[float]) -> None:
        """All of `values`, which are not none, were seen."""
        self._count(sorted(values), self.bounds)
        self.sum += sum(values)

    def observe_ns(self, values: Sequence[int], example: Example | None = None) -> None:
        """The same for nanoseconds, of what is told in seconds. `example` tells the trace of a value, by its index: of
        what falls into one bucket the greatest becomes its example.
        """
        ordered = sorted(values)
        greatest = self._count(ordered, self._bounds_ns)
        self.sum += sum(values) / 1e9
        if example is not None:
            for bucket, at in greatest:
                value = ordered[at]
                self._show(bucket, value / 1e9, example(values.index(value)))

    def _count(self, ordered: Sequence[float], bounds: Sequence[float]) -> list[tuple[int, int]]:
        """Count values in their order; each bucket they fall into, and the index of its greatest one."""
        greatest, counted, end = [], 0, len(ordered)
        while counted < end:
            bucket = bisect_left(bounds, ordered[counted])
            reached = bisect_right(ordered, bounds[bucket], counted) if bucket < len(bounds) else end
            self.counts[bucket] += reached - counted
            greatest.append((bucket, reached - 1))
            counted = reached
        return greatest

    def _show(self, bucket: int, value: float, trace: Trace | None) -> None:
        if trace is not None:
            if not self.exemplars:
                self.exemplars = [None] * len(self.counts)
            self.exemplars[bucket] = (value, trace)

    @property
    def observations(self) -> int:
        return sum(self.counts)

    @property
    def buckets(self) -> dict[float, int]:
        """Cumulative, as aioprometheus shows them."""
        cumulative, shown = 0, {}
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            cumulative += count
            shown[bound] = cumulative
        return shown

    def sample(self, labels: Labels) -> Sample:
        return Sample(labels, self.sum, self.counts.copy(), self.exemplars.copy())


Child = TypeVar("Child", bound=Count | Distribution)


class Family(Generic[Child]):
    """All children of one metric. `collector` is how aioprometheus sees them."""

    def __init__(
        self,
        metric: Metric,
        new: Callable[[], Child],
        collector: Counter | Gauge | Histogram,
        limit: "Limit",
    ) -> None:
        self.metric = metric
        self._new = new
        self._collector = collector
        self._limit = limit
        self._children: dict[Labels, Child] = {}

    def child(self, *labels: str) -> Child:
        """The child with these label values, in the metric's order; the overflow child if there is no room."""
        found = self._children.get(labels)
        return found if found is not None else self._take(tuple(map(_clean, labels)))

    def samples(self) -> list[Sample]:
        """Every child's value now."""
        return [child.sample(labels) for labels, child in self._children.items()]

    def _take(self, labels: Labels) -> Child:
        if len(labels) != len(self.metric.labels):
            raise ValueError(f"{self.metric.name} has the labels {self.metric.labels}")
        overflow = (OTHER,) * len(labels)
        if labels not in self._children and labels != overflow and len(self._children) >= self._limit.series:
            self._limit.exceeded(self.metric)
            labels = overflow
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._new()
            self._collector.values[dict(zip(self.metric.labels, labels, strict=True))] = child
        return child


@dataclass(frozen=True, slots=True)
class Limit:
    """How many label sets a metric may have, and who is told when one more was wanted."""

    series: int
    exceeded: Callable[[Metric], None]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a metric's children were at one moment. To be walked through once."""

    metric: Metric
    samples: Iterable[Sample]


class Families:
    """The families of a whole table, and the Registry that holds their collectors."""

    def __init__(self, table: Sequence[Metric], most: int) -> None:
        self.registry = Registry()
        self._counts: dict[str, Family[Count]] = {}
        self._distributions: dict[str, Family[Distribution]] = {}
        for metric in table:
            # The metric that counts overflows has one series a metric, and cannot overflow itself.
            limit = Limit(len(table) if metric is OVERFLOWS else most, self._exceeded)
            if metric.kind is Kind.HISTOGRAM:
                self._distributions[metric.name] = _distributions(metric, self.registry, limit)
            else:
                self._counts[metric.name] = _counts(metric, self.registry, limit)

    def count(self, metric: Metric, *labels: str) -> Count:
        """The child of a counter, a gauge or an info."""
        return self._counts[metric.name].child(*labels)

    def distribution(self, metric: Metric, *labels: str) -> Distribution:
        """The child of a histogram."""
        return self._distributions[metric.name].child(*labels)

    def figures(self) -> Iterator[Figures]:
        """Each metric as it is when it is asked for."""
        families: dict[str, Family[Any]] = {**self._counts, **self._distributions}
        for name in self.registry.collectors:
            yield Figures(families[name].metric, families[name].samples())

    def _exceeded(self, metric: Metric) -> None:
        self.count(OVERFLOWS, metric.name).add()


def _counts(metric: Metric, registry: Registry, limit: Limit) -> Family[Count]:
    kind = _Counter if metric.kind is Kind.COUNTER else _Gauge
    collector = kind(metric.name, metric.about, registry=registry)
    family = collector.family = Family(metric, Count, collector, limit)
    return family


def _distributions(metric: Metric, registry: Registry, limit: Limit) -> Family[Distribution]:
    bounds = tuple(float(bound) for bound in metric.buckets)
    collector = _Histogram(metric.name, metric.about, registry=registry, buckets=bounds)
    family = collector.family = Family(metric, lambda: Distribution(bounds), collector, limit)
    return family


class _Counts:
    """aioprometheus's own ways to read and write lead to the kept children."""

    family: Family[Count]

    def get_value(self, labels: LabelsType) -> int | float:
        return cast(int | float, self.values[labels].value)  # type: ignore[attr-defined]

    def set_value(self, labels: LabelsType, value: int | float) -> None:
        _child(self.family, labels).value = value


class _Counter(_Counts, Counter):  # type: ignore[misc]
    pass


class _Gauge(_Counts, Gauge):  # type: ignore[misc]
    pass


class _Histogram(Histogram):
    family: Family[Distribution]

    def add(self, labels: LabelsType, value: int | float) -> None:  # type: ignore[override]
        _child(self.family, labels).observe(value)

    observe = add  # type: ignore[assignment]


def _child(family: Family[Child], labels: LabelsType) -> Child:
    return family.child(*(str(labels[name]) for name in family.metric.labels))


def _clean(value: str) -> str:
    """`value` as text that UTF-8 can carry."""
    return value.encode("utf-8", "replace").decode("utf-8")

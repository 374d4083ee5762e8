"""Several processes' figures as one: each dumps its own, whoever is scraped merges them.

Counters and histograms are summed, gauges as the table says. How dumps travel is not decided here.
A worker that ended took part in the sums: keep the `lasting` part of its last dump and merge it from then on, or every
counter falls and Prometheus takes that for a restart of all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import msgspec

from gateway.telemetry.metric_table import TABLE, Kind, Merge, Metric
from gateway.telemetry.series import Exemplar, Figures, Labels, Sample
from gateway.telemetry.turn import Turn

Dump = Mapping[str, list[Sample]]

_GAUGES = (Kind.GAUGE, Kind.INFO)
# MessagePack, because it carries infinity and NaN as they are.
_encode = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.msgpack.Decoder(list[Sample]).decode
_JOINED: Mapping[Merge, Callable[[Iterable[float]], float]] = {Merge.SUM: sum, Merge.MAX: max, Merge.MIN: min}


async def dump(figures: Iterable[Figures]) -> bytes:
    """`figures` for another process."""
    packed: dict[str, msgspec.Raw] = {}
    turn = Turn()
    for each in figures:
        packed[each.metric.name] = msgspec.Raw(_encode(list(each.samples)))
        if turn.over():
            await turn.next()
    return _encode(packed)


async def read(dumped: bytes) -> Dump:
    """What `dump` wrote; ValueError for anything else, a dump with other labels or buckets included."""
    packed = _unpack(dumped)
    known: dict[str, list[Sample]] = {}
    turn = Turn()
    for metric in TABLE:
        if metric.name in packed:
            known[metric.name] = _checked(metric, _decode(packed[metric.name]))
        if turn.over():
            await turn.next()
    return known


def lasting(dumped: Dump) -> Dump:
    """What of a dump stays true when its process has ended: counters and histograms."""
    return {
        metric.name: dumped[metric.name] for metric in TABLE if metric.kind not in _GAUGES and metric.name in dumped
    }


def merge(dumps: Sequence[Dump]) -> Iterator[Figures]:
    """All dumps as one, joined as they are walked through; the dumps stay as they are."""
    for metric in TABLE:
        groups: dict[Labels, list[Sample]] = {}
        for each in dumps:
            for sample in each.get(metric.name, ()):
                groups.setdefault(sample.labels, []).append(sample)
        yield Figures(metric, (_joined(metric, samples) for samples in groups.values()))


def _checked(metric: Metric, samples: list[Sample]) -> list[Sample]:
    buckets = len(metric.buckets) + 1 if metric.kind is Kind.HISTOGRAM else 0
    for sample in samples:
        if len(sample.labels) != len(metric.labels) or len(sample.counts) != buckets:
            raise ValueError(f"{metric.name} is not the metric that is known here")
    return samples


def _joined(metric: Metric, samples: list[Sample]) -> Sample:
    if len(samples) == 1:
        return samples[0]
    join = _JOINED[metric.merge if metric.kind in _GAUGES else Merge.SUM]
    return Sample(
        samples[0].labels,
        join(sample.value for sample in samples),
        [sum(bucket) for bucket in zip(*(sample.counts for sample in samples), strict=True)],
        reduce(_latest, (sample.exemplars for sample in samples)),
    )


def _latest(one: list[Exemplar | None], other: list[Exemplar | None]) -> list[Exemplar | None]:
    if not one or not other:
        return one or other
    return [_later(mine, its) for mine, its in zip(one, other, strict=True)]


def _later(one: Exemplar | None, other: Exemplar | None) -> Exemplar | None:
    if one is None or other is None:
        return one or other
    return one if one[1][1] >= other[1][1] else other

"""All metrics of a process: what finished, what is open now, and what is read only when somebody asks.

Rule 1: no globals; one Registry, made here from the table.
Rule 2: other rooms get a handle (`counter`, `histogram`) or are asked at scrape time (`watch`); none of them imports
a metrics library.
"""

import asyncio
import gc
import logging
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aioprometheus.collectors import Registry

from gateway.telemetry import metric_table as table
from gateway.telemetry.finished import METHODS, FinishedExchanges
from gateway.telemetry.metric_table import OTHER, TABLE, Kind, Metric
from gateway.telemetry.process import Process
from gateway.telemetry.series import Count, Distribution, Families, Figures

MAX_SERIES = 500

logger = logging.getLogger("gateway")


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections to one provider now, and calls that wait for one."""

    provider: str
    in_use: int
    idle: int
    waiting: int = 0


class Metrics:
    """`providers` are the configured ones with the models to be known by name, `projects` the mounted ones.

    `gen_ai_names` tells a provider's `gen_ai.provider.name` where that is not its configured name. A metric has at
    most `max_series` label sets; further ones are counted together, every label `_other`.
    """

    def __init__(
        self,
        providers: Mapping[str, Collection[str]],
        projects: Collection[str] = (),
        *,
        gen_ai_names: Mapping[str, str] = MappingProxyType({}),
        version: str = "",
        commit: str = "",
        max_series: int = MAX_SERIES,
    ) -> None:
        self._families = families = Families(TABLE, max_series)
        finished = FinishedExchanges(families, providers, projects, gen_ai_names)
        self.view, self._settle = finished.view, finished.settle
        self._active = {method: families.count(table.ACTIVE_REQUESTS, method) for method in METHODS}
        self._active["_OTHER"] = families.count(table.ACTIVE_REQUESTS, "_OTHER")
        self._calls_open = {provider: families.count(table.UPSTREAM_IN_FLIGHT, provider) for provider in providers}
        self._readers: list[Callable[[], None]] = []
        self._process = Process()
        self._told: set[Callable[[], None]] = set()
        for metric in TABLE:
            self._start_at_zero(metric)
        families.count(table.BUILD_INFO, version, commit, platform.python_version()).value = 1
        families.count(table.WORKERS).value = 1

    @property
    def registry(self) -> Registry:
        """aioprometheus's Registry, with a collector for each metric of the table."""
        self._settle()
        return self._families.registry

    def calls_in_flight(self, provider: str) -> Count:
        """The number of calls to `provider` that are open, for whoever opens and closes them."""
        found = self._calls_open.get(provider)
        return self._families.count(table.UPSTREAM_IN_FLIGHT, OTHER) if found is None else found

    def counter(self, metric: Metric, *labels: str) -> Count:
        """The count that others keep and `add` to; label values from closed sets only. Of gauges too."""
        return self._families.count(metric, *labels)

    def histogram(self, metric: Metric, *labels: str) -> Distribution:
        """The distribution that others keep and let `observe`."""
        return self._families.distribution(metric, *labels)

    def watch(self, metric: Metric, labels: tuple[str, ...], read: Callable[[], int | float]) -> None:
        """Let a counter or gauge be what `read` says whenever somebody asks. `read` must not block."""
        count = self._families.count(metric, *labels)

        def refresh() -> None:
            count.value = read()

        self._readers.append(refresh)

    def watch_each(self, metric: Metric, read: Callable[[], Mapping[str, int]]) -> None:
        """The same for a counter with one label, of whose values, from a closed set, `read` tells those there are."""

        def refresh() -> None:
            for value, count in read().items():
                self._families.count(metric, value).value = count

        self._readers.append(refresh)

    def watch_pools(self, read: Callable[[], Iterable[PoolUse]]) -> None:
        """The same for connections to the providers."""
        count = self._families.count

        def refresh() -> None:
            for pool in read():
                count(table.POOL_CONNECTIONS, pool.provider, "in_use").value = pool.in_use
                count(table.POOL_CONNECTIONS, pool.provider, "idle").value = pool.idle
                count(table.POOL_WAITING, pool.provider).value = pool.waiting

        self._readers.append(refresh)

    def watch_open(self, methods: Callable[[], Iterable[str]]) -> None:
        """The same for the exchanges that are open, of which `methods` tells each one's."""
        active = self._active

        def refresh() -> None:
            for count in active.values():
                count.value = 0
            for method in methods():
                active[method if method in active else "_OTHER"].value += 1

        self._readers.append(refresh)

    def before_reading(self, settle: Callable[[], None]) -> None:
        """Call `settle` whenever somebody asks, so that what has just happened is counted."""
        self._readers.append(settle)

    async def refresh(self) -> None:
        """Read what is not counted as it happens. To be awaited before `figures`."""
        for reader in self._readers:
            self._refresh(reader)
        for generation, run in enumerate(gc.get_stats()):
            self.counter(table.GC_COLLECTIONS, str(generation)).value = run["collections"]
            self.counter(table.GC_COLLECTED, str(generation)).value = run["collected"]
        # In a thread: to count twenty thousand descriptors takes an older kernel 50 ms.
        for metric, value in (await asyncio.to_thread(self._process.read)).items():
            self.counter(metric).value = value

    async def gathered(self) -> Iterator[Figures]:
        """The figures as they are now."""
        await self.refresh()
        return self.figures()

    def figures(self) -> Iterator[Figures]:
        """Each metric as it is at the moment it is yielded."""
        self._settle()
        return self._families.figures()

    def _refresh(self, reader: Callable[[], None]) -> None:
        try:
            reader()
        except Exception:
            self.counter(table.READ_FAILURES).add()
            if reader not in self._told:
                self._told.add(reader)
                logger.exception("a figure could not be read; further failures of it are only counted")

    def _start_at_zero(self, metric: Metric) -> None:
        """A series that appears with its first event hides that event from `rate()`."""
        if not metric.labels and metric.kind is Kind.HISTOGRAM:
            self._families.distribution(metric)
        elif not metric.labels and metric.kind is Kind.COUNTER:
            self._families.count(metric)

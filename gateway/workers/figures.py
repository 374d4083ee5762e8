"""The figures of all workers as one, whichever of them is scraped.

The supervisor keeps each worker's latest dump: those that a scrape asked for, and one every few seconds besides. So a
worker that dies unheard takes along no figure that anybody was shown, and of the others its last seconds' at most.

Rule: sums never fall. A worker that answers too late is told as it last was; one that ended is told for good.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from gateway.telemetry import dumps
from gateway.telemetry.metric_table import LATE_FIGURES, Metric
from gateway.telemetry.series import Figures, Sample
from gateway.workers.line import LineBroken

PATIENCE: Final = 0.2
POLL_SECONDS: Final = 2.0
MOST_DEPARTED: Final = 8

Fresh = Callable[[], Awaitable[bytes]]


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Dumps of those that run, and last dumps of those that do not."""

    running: list[bytes]
    departed: list[bytes]


async def merged(told: Told) -> Iterable[Figures]:
    """All as one. A dump in other words than ours (of another release, for the time of a restart) is left out."""
    known = []
    for dumped in told.running:
        known += await _read(dumped)
    for dumped in told.departed:
        known += [dumps.lasting(each) for each in await _read(dumped)]
    return dumps.merge(known)


class Tally:
    """What the supervisor knows of everybody's figures. An async context manager, within which it keeps asking."""

    def __init__(self, own: Mapping[Metric, Callable[[], int]] | None = None) -> None:
        self.late = 0
        self._own: dict[Metric, Callable[[], int]] = {**(own or {}), LATE_FIGURES: lambda: self.late}
        self._last: dict[int, bytes] = {}
        self._fresh: dict[int, Fresh] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._departed: list[bytes] = []
        self._folding: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Tally":
        self._polling = asyncio.create_task(self._poll(), name="figures")
        return self

    async def __aexit__(self, *_: object) -> None:
        ending = [task for task in (self._polling, self._folding, *self._asking.values()) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending)

    def joined(self, worker: int, fresh: Fresh) -> None:
        """Ask `worker` for its figures from now on."""
        self._fresh[worker] = fresh

    def told(self, worker: int, dumped: bytes) -> None:
        """These are the figures of `worker` now."""
        if worker in self._fresh:
            self._last[worker] = dumped

    def left(self, worker: int) -> None:
        """`worker` has ended; its counts stay."""
        self._fresh.pop(worker, None)
        last = self._last.pop(worker, None)
        if last is not None:
            self._departed.append(last)
        if len(self._departed) > MOST_DEPARTED and (self._folding is None or self._folding.done()):
            self._folding = asyncio.create_task(self._fold(), name="figures of the departed")

    async def gathered(self) -> Told:
        """Everybody's figures as they are now, or were last."""
        asking = [self._asked(worker) for worker in self._fresh]
        if asking:
            _, late = await asyncio.wait(asking, timeout=PATIENCE)
            self.late += len(late)
        own = await dumps.dump(Figures(metric, [Sample((), read())]) for metric, read in self._own.items())
        return Told([own, *self._last.values()], self._departed.copy())

    def _asked(self, worker: int) -> asyncio.Task[None]:
        """The one question to `worker` that is open; those who want to know meanwhile share the answer."""
        asking = self._asking.get(worker)
        if asking is None:
            asking = asyncio.create_task(self._ask(worker, self._fresh[worker]), name="figures of a worker")
            asking.add_done_callback(partial(self._answered, worker))
            self._asking[worker] = asking
        return asking

    def _answered(self, worker: int, _: asyncio.Task[None]) -> None:
        del self._asking[worker]

    async def _ask(self, worker: int, fresh: Fresh) -> None:
        with suppress(LineBroken):  # what it last told stands
            self.told(worker, await fresh())

    async def _poll(self) -> None:
        while True:
            await self.gathered()
            await asyncio.sleep(POLL_SECONDS)

    async def _fold(self) -> None:
        """Make one dump of many, so that a gateway whose workers die for years keeps as few."""
        folding = self._departed.copy()
        figures = await merged(Told([], folding))
        self._departed[: len(folding)] = [await dumps.dump(figures)]


async def _read(dumped: bytes) -> list[dumps.Dump]:
    try:
        return [await dumps.read(dumped)]
    except ValueError:
        return []

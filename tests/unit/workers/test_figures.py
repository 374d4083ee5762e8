"""Everybody's figures, whoever has died, is late, or speaks of what nobody here knows."""

import asyncio
from collections.abc import Iterable

from gateway.telemetry import dumps
from gateway.telemetry.metric_table import LATE_FIGURES, VIEW_FAILURES, WORKER_DEATHS, WORKERS, Metric
from gateway.telemetry.series import Figures, Sample
from gateway.workers import figures
from gateway.workers.figures import MOST_DEPARTED, Fresh, Tally, Told, merged
from gateway.workers.line import LineBroken


async def dumped(failures: int) -> bytes:
    """Of a worker: a counter and a gauge."""
    return await dumps.dump([Figures(VIEW_FAILURES, [Sample((), failures)]), Figures(WORKERS, [Sample((), 1)])])


def says(failures: int) -> Fresh:
    async def fresh() -> bytes:
        return await dumped(failures)

    return fresh


async def gone() -> bytes:
    raise LineBroken


def value(told: Iterable[Figures], metric: Metric) -> float:
    return sum(sample.value for each in told if each.metric is metric for sample in each.samples)


async def sums(tally: Tally) -> tuple[float, float]:
    told = list(await merged(await tally.gathered()))
    return value(told, VIEW_FAILURES), value(told, WORKERS)


async def test_all_who_run_are_summed_with_what_is_counted_here() -> None:
    async with Tally({WORKER_DEATHS: lambda: 5}) as tally:
        tally.joined(1, says(3))
        tally.joined(2, says(4))
        assert await sums(tally) == (7, 2)
        assert value(await merged(await tally.gathered()), WORKER_DEATHS) == 5


async def test_counts_of_one_that_ended_stay_and_its_gauges_go() -> None:
    async with Tally() as tally:
        tally.joined(1, says(3))
        tally.joined(2, says(4))
        await tally.gathered()
        tally.told(1, await dumped(10))
        tally.left(1)
        assert await sums(tally) == (14, 1)
        tally.told(1, await dumped(100))  # it has left
        assert await sums(tally) == (14, 1)


async def test_however_many_end_few_dumps_are_kept() -> None:
    async with Tally() as tally:
        for worker in range(100):
            tally.joined(worker, says(1))
            await tally.gathered()
            tally.left(worker)
        async with asyncio.timeout(5):
            while len((await tally.gathered()).departed) > MOST_DEPARTED + 1:
                await asyncio.sleep(0.01)
        assert await sums(tally) == (100, 0)


async def test_one_that_is_late_or_unheard_is_told_as_it_was() -> None:
    async with Tally() as tally:
        tally.joined(1, says(3))
        tally.joined(2, says(4))
        await tally.gathered()
        never = asyncio.Event()

        async def late() -> bytes:
            await never.wait()
            return await dumped(50)

        tally.joined(1, late)
        tally.joined(2, gone)
        assert await sums(tally) == (7, 2)
        assert tally.late == 1
        assert value(await merged(await tally.gathered()), LATE_FIGURES) == 2
        never.set()
        async with asyncio.timeout(5):
            while await sums(tally) != (54, 2):
                await asyncio.sleep(0.01)


async def test_those_who_want_to_know_at_once_share_one_answer() -> None:
    asked = 0

    async def fresh() -> bytes:
        nonlocal asked
        asked += 1
        return await dumped(1)

    async with Tally() as tally:
        await asyncio.sleep(0)
        tally.joined(1, fresh)
        await asyncio.gather(*(tally.gathered() for _ in range(10)))
        assert asked == 1


async def test_they_are_asked_now_and_then_unasked() -> None:
    asked = asyncio.Event()

    async def fresh() -> bytes:
        asked.set()
        return await dumped(1)

    async with Tally() as tally:
        tally.joined(1, fresh)
        await asyncio.wait_for(asked.wait(), figures.POLL_SECONDS + 5)


async def test_a_dump_of_another_release_is_left_out() -> None:
    told = list(await merged(Told([await dumped(1), b"nonsense"], [await dumped(2)])))
    assert value(told, VIEW_FAILURES) == 3

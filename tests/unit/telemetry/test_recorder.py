"""Every finished exchange is shown to every view, and a view that fails hurts nobody."""

import asyncio
import logging

import pytest

from gateway.errors import Drained
from gateway.telemetry.exchange import Exchange, Facts, Outcome
from gateway.telemetry.recorder import LATEST, MOST_AT_ONCE, Recorder
from tests.made_exchanges import call, exchange


async def test_a_view_that_fails_is_counted_told_once_and_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Exchange] = []

    def failing(_: Exchange) -> None:
        raise ValueError("a bug")

    recorder = Recorder([failing, seen.append])
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            made = exchange()
            recorder.opened(made)
            recorder.closed(made)
        recorder.show_all()
    assert len(seen) == 3
    assert recorder.view_failures == 3
    assert len(caplog.records) == 1


async def test_what_has_ended_is_shown_soon_and_no_later_than_the_end() -> None:
    seen: list[Exchange] = []
    async with Recorder([seen.append]) as recorder:
        made = exchange()
        recorder.show(made)
        assert seen == []
        async with asyncio.timeout(5):
            while not seen:
                await asyncio.sleep(LATEST)
        recorder.show(made)
    assert seen == [made, made]


async def test_many_are_shown_before_there_are_too_many() -> None:
    shown: list[str] = []
    recorder = Recorder([lambda _: shown.append("first"), lambda _: shown.append("second")])
    for _ in range(MOST_AT_ONCE):
        recorder.show(exchange())
    assert shown == ["first"] * MOST_AT_ONCE + ["second"] * MOST_AT_ONCE


async def test_the_facts_are_read_once_and_before_any_view_looks() -> None:
    reads: list[Facts] = []

    def read() -> Facts:
        reads.append(Facts(request_model="m"))
        return reads[0]

    made = exchange(call())
    made.calls[0].unread = read
    seen: list[str | None] = []
    async with Recorder([lambda each: seen.append(each.calls[0].facts.request_model)]) as recorder:
        recorder.show(made)
    made.learn()
    assert (seen, len(reads)) == (["m"], 1)


async def test_all_closed_waits_for_what_is_open() -> None:
    recorder, made = Recorder([]), exchange()
    assert await recorder.all_closed(0.01)
    recorder.opened(made)
    assert not await recorder.all_closed(0.01)
    asyncio.get_running_loop().call_soon(recorder.closed, made)
    assert await recorder.all_closed(5)


async def test_ending_all_cancels_each_task_and_says_why() -> None:
    recorder, made, opened = Recorder([]), exchange(), asyncio.Event()

    async def serve() -> None:
        recorder.opened(made)
        opened.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(serve())
    await opened.wait()
    assert recorder.end_all() == 1
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (made.outcome, made.error) == (Outcome.DRAINED, Drained.code)

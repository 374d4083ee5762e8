"""Long work lets others run in between."""

import asyncio
import time

from gateway.telemetry.turn import SECONDS, Turn


async def test_a_turn_is_over_after_its_time_and_the_next_begins_anew() -> None:
    turn = Turn()
    time.sleep(SECONDS)
    assert turn.over()
    async with asyncio.timeout(5):
        while turn.over():  # a busy machine may take longer than a turn to come back here
            await turn.next()


async def test_between_two_turns_everything_that_is_ready_runs() -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await Turn().next()
    assert ran.is_set()

"""How fast those who die are replaced; what workers really do is walked through in `walk/test_workers.py`."""

import asyncio

from gateway.workers.supervisor import LONGEST_PAUSE, either, pause_after


def test_who_dies_young_again_and_again_is_replaced_more_and_more_slowly() -> None:
    pauses = [pause_after(failures) for failures in range(1, 20)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[1] < 1
    assert pauses[-1] == LONGEST_PAUSE


async def test_either_event_or_the_time_ends_a_wait() -> None:
    one, other = asyncio.Event(), asyncio.Event()
    await asyncio.wait_for(either(one, other, seconds=0), 5)
    other.set()
    await asyncio.wait_for(either(one, other), 5)

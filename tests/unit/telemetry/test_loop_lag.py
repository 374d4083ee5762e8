"""A held event loop is seen, a free one as well."""

import asyncio
import time

from gateway.telemetry.loop_lag import LoopLag
from gateway.telemetry.series import Distribution


async def observed(lag: Distribution, times: int) -> None:
    async with asyncio.timeout(5):
        while lag.observations < times:
            await asyncio.sleep(0.001)


async def test_a_held_loop_is_seen() -> None:
    lag = Distribution((0.05, 0.1))
    async with LoopLag(lag, interval=0.005):
        await observed(lag, 1)
        time.sleep(0.2)  # what no code of the gateway may do
        await observed(lag, lag.observations + 1)
    assert lag.sum > 0.1
    assert lag.counts[-1] == 1


async def test_it_ends_with_its_block() -> None:
    lag = Distribution((0.05,))
    async with LoopLag(lag, interval=0.001):
        await observed(lag, 3)
    seen = lag.observations
    await asyncio.sleep(0.02)
    assert lag.observations == seen

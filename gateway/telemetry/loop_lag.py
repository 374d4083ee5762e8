"""How late the event loop is: a timer that measures its own delay, and so everything that held the loop up."""

import asyncio
from types import TracebackType

from gateway.telemetry.series import Distribution

INTERVAL = 0.1  # seconds


class LoopLag:
    """Observes the lag of the running loop while its block runs."""

    def __init__(self, lag: Distribution, interval: float = INTERVAL) -> None:
        self._lag = lag
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "LoopLag":
        self._wait(asyncio.get_running_loop())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + self._interval
        self._timer = loop.call_at(due, self._ring, loop, due)

    def _ring(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lag.observe(max(0.0, loop.time() - due))
        self._wait(loop)

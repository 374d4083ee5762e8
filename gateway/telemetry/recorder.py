"""Opens and closes exchanges, and shows each finished one to every view.

Finished exchanges are shown some at a time, a view after the other: each view's code and data are then at hand, which
halves what it costs, and none of it is done while a client waits.

A view's failure is counted and told once; it reaches neither the client nor the other views.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from gateway.errors import Drained, GatewayError
from gateway.telemetry.exchange import Exchange

View = Callable[[Exchange], None]

MOST_AT_ONCE: Final = 32  # which takes about a millisecond
LATEST: Final = 0.005  # seconds after an exchange has ended

logger = logging.getLogger("gateway")


class Recorder:
    """Knows every exchange that is open now, with the task that serves it.

    An async context manager, after which nothing is left to be shown.
    """

    def __init__(self, views: Sequence[View]) -> None:
        # What the calls' bodies tell is read first, so that all views know it.
        self._views: tuple[View, ...] = (Exchange.learn, *views)
        self._finished: list[Exchange] = []
        self._timer: asyncio.TimerHandle | None = None
        self._open: dict[Exchange, asyncio.Task[Any] | None] = {}
        self._empty: asyncio.Event | None = None
        self.view_failures = 0
        self._told: set[View] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show_all()

    @property
    def open_exchanges(self) -> int:
        return len(self._open)

    def open_methods(self) -> Iterable[str]:
        """The methods of the exchanges that are open."""
        return [exchange.method for exchange in self._open]

    def opened(self, exchange: Exchange, task: "asyncio.Task[Any] | None" = None) -> None:
        """`exchange` is being served by `task`, or the current one."""
        self._open[exchange] = asyncio.current_task() if task is None else task

    def closed(self, exchange: Exchange) -> None:
        """`exchange` is finished; nothing is written on it after this."""
        self._open.pop(exchange, None)
        if self._empty is not None and not self._open:
            self._empty.set()
        self.show(exchange)

    def show(self, exchange: Exchange) -> None:
        """Show a finished exchange to every view, soon; one that was never open, too."""
        finished = self._finished
        finished.append(exchange)
        if len(finished) >= MOST_AT_ONCE:
            self.show_all()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATEST, self.show_all)

    def show_all(self) -> None:
        """Show what has not been shown yet, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        finished, self._finished = self._finished, []
        for view in self._views:
            for exchange in finished:
                try:
                    view(exchange)
                except Exception:
                    self._failed(view)

    async def all_closed(self, seconds: float) -> bool:
        """Wait until no exchange is open, at most so long; whether none is."""
        self._empty = asyncio.Event()
        if self._open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
        return not self._open

    def end_all(self, error: GatewayError | None = None) -> int:
        """End every open exchange visibly, as `error` (Drained); the number of them."""
        ending = error or Drained()
        for exchange, task in self._open.items():
            exchange.failed(ending)
            if task is not None:
                task.cancel()
        return len(self._open)

    def _failed(self, view: View) -> None:
        """To be called while the failure is handled."""
        self.view_failures += 1
        if view not in self._told:
            self._told.add(view)
            logger.exception("a view failed; further failures of it are only counted")

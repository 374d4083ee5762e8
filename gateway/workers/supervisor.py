"""The process that serves no request: it keeps as many workers as were asked for, and passes on what it is told.

Rule 1: who dies unasked is replaced; who dies young again and again, more and more slowly.
Rule 2: new code and a new configuration are tried by one worker before they take the place of the old.
Rule 3: nothing hangs on one worker: each order has a time limit, and who does not end is ended.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from signal import SIGKILL, SIGTERM
from time import monotonic
from typing import Final

from gateway.workers import orders
from gateway.workers.hub import Hub, Worker
from gateway.workers.line import LineBroken
from gateway.workers.sockets import CannotServe

START_SECONDS: Final = 30.0
RELOAD_SECONDS: Final = 10.0
HURRY_SECONDS: Final = 5.0
HEALTHY_SECONDS: Final = 10.0
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
START_TRIES: Final = 3

logger = logging.getLogger("gateway")


class Supervisor:
    """Keeps `count` workers of `hub`. What signals do are its methods.

    `reopen` follows a rotated log. `let_go` closes the supervisor's own listening sockets, and tells whether another
    gateway goes on with them.
    """

    def __init__(self, count: int, hub: Hub, *, reopen: Callable[[], None], let_go: Callable[[], bool]) -> None:
        self.deaths = 0
        self._numbers = range(1, count + 1)
        self._hub = hub
        self._reopen = reopen
        self._let_go = let_go
        self._alive: set[Worker] = set()
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rolling: asyncio.Task[None] | None = None
        self._served = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurried = asyncio.Event()
        self._hopeless = ""

    async def run(self, serving: Callable[[], None]) -> None:
        """Start everybody, call `serving` when somebody serves, and return when all have ended after `stop`.

        Raises CannotServe if nobody can start.
        """
        for number in self._numbers:
            self._keep(number)
        try:
            await either(self._served, self._stopping)
            if self._served.is_set():
                serving()
            await self._stopping.wait()
            if self._hopeless:
                raise CannotServe(f"no worker can start: {self._hopeless}")
        finally:
            await self._end()

    def stop(self) -> None:
        """Let everybody finish and end; a second time: at once, and visibly."""
        (self._hurried if self._stopping.is_set() else self._stopping).set()

    def reload(self) -> None:
        """Let everybody have log files, keys, scopes and limits as they are now."""
        self._do(self._reload())

    def roll(self) -> None:
        """Let fresh processes take the place of all workers, one after the other."""
        if self._rolling is not None and not self._rolling.done():
            logger.warning("workers are being replaced already")
        elif not self._stopping.is_set():
            self._rolling = self._do(self._roll())

    # Who is born, who dies

    def _keep(self, number: int, worker: Worker | None = None) -> None:
        """Have somebody of that number from here on, `worker` to begin with."""
        before, self._keepers[number] = self._keepers.get(number), self._do(self._kept(number, worker))
        if before is not None:
            before.cancel()

    async def _kept(self, number: int, worker: Worker | None) -> None:
        failures = 0
        while True:
            born, ending = monotonic(), ""
            try:
                worker = worker or await self._hired(number)
            except OSError as error:
                ending = f"has no process: {error}"
                logger.error("worker %d %s", number, ending)
            else:
                await worker.gone.wait()
                born, ending = worker.born, worker.ending
            failures = failures + 1 if monotonic() - born < HEALTHY_SECONDS else 1
            if failures >= START_TRIES and not self._served.is_set():
                self._hopeless = f"worker {number} {ending}, {failures} times in a row"
                self._stopping.set()
                return
            worker, pause = None, pause_after(failures)
            if pause:
                logger.error("worker %d died young %d times in a row; next try in %g s", number, failures, pause)
            await asyncio.sleep(pause)

    async def _hired(self, number: int) -> Worker:
        worker = await self._hub.hired(number)
        self._alive.add(worker)
        self._do(self._watch(worker))
        return worker

    async def _watch(self, worker: Worker) -> None:
        """From its birth to its grave."""
        late = asyncio.get_running_loop().call_later(START_SECONDS, self._give_up_on, worker)
        self._do(self._welcome(worker))
        worker.ending = await worker.ended()
        late.cancel()
        self._hub.tally.left(worker.pid)
        self._alive.discard(worker)
        if not worker.leaving:
            self.deaths += 1
            logger.error("worker %d, pid %d, %s", worker.number, worker.pid, worker.ending)
        worker.gone.set()
        worker.settled.set()

    async def _welcome(self, worker: Worker) -> None:
        await worker.settled.wait()
        if worker.serves:
            logger.info("worker %d serves, pid %d", worker.number, worker.pid)
            self._served.set()

    def _give_up_on(self, worker: Worker) -> None:
        if not worker.serves:
            logger.error("worker %d, pid %d, does not come to serve", worker.number, worker.pid)
            worker.signal(SIGKILL)

    # What is ordered

    async def _reload(self) -> None:
        self._reopen()
        # One that is still starting may have read what stood there before.
        await asyncio.gather(*(worker.settled.wait() for worker in self._alive))
        asked = [worker for worker in self._alive if worker.serves]
        checked = await asyncio.gather(*(_checked(worker) for worker in asked))
        problems = dict.fromkeys(problem for problems, _ in checked for problem in problems)
        for problem in problems:
            logger.error("reload refused: %s", problem)
        if problems:
            return
        await asyncio.gather(*(worker.told(orders.RELOAD) for worker in asked))
        for warning in dict.fromkeys(warning for _, warnings in checked for warning in warnings):
            logger.warning("reload: %s", warning)
        logger.info("reloaded keys, scopes and limits")

    async def _roll(self) -> None:
        for number in self._numbers:
            successor = await self._hired(number)
            await successor.settled.wait()
            if not successor.serves:
                logger.error("a new worker %d does not serve; nobody is replaced by it, or after it", number)
                return
            self._keep(number, successor)
            for worker in self._others(number, successor):
                self._do(self._part(worker, orders.RETIRE))
        logger.info("replaced all workers")

    def _others(self, number: int, successor: Worker) -> Iterable[Worker]:
        return [worker for worker in self._alive if worker.number == number and worker is not successor]

    async def _part(self, worker: Worker, how: str) -> None:
        """See `worker` off; kill it if it does not end."""
        if not worker.leaving:
            worker.leaving = True
            if not worker.serves:
                worker.signal(SIGTERM)
            elif not await worker.told(how):
                logger.warning("worker %d, pid %d, does not hear that it is to end", worker.number, worker.pid)
        await either(worker.gone, self._hurried, seconds=worker.patience)
        if self._hurried.is_set() and not worker.gone.is_set():
            await worker.told(orders.HURRY)
            await either(worker.gone, seconds=HURRY_SECONDS)
        if not worker.gone.is_set():
            logger.error("killing worker %d, pid %d: it did not end when told to", worker.number, worker.pid)
            worker.signal(SIGKILL)
            await worker.gone.wait()

    async def _end(self) -> None:
        for task in (*self._keepers.values(), self._rolling):
            if task is not None:
                task.cancel()
        how = orders.RETIRE if self._let_go() else orders.DRAIN
        await asyncio.gather(*(self._part(worker, how) for worker in self._alive))

    def _do(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def pause_after(failures: int) -> float:
    """Seconds before another is started: none after a first death, then more and more."""
    return 0.0 if failures < 2 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 2))


async def either(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for one of `events`, or for so long."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _checked(worker: Worker) -> tuple[list[str], list[str]]:
    """The problems that keep `worker` from a reload, and warnings that go with one."""
    try:
        problems, warnings = await worker.ask(orders.CHECK, RELOAD_SECONDS)
    except LineBroken as broken:
        return [f"worker {worker.number}, pid {worker.pid}: {broken}"], []
    return [str(problem) for problem in problems], [str(warning) for warning in warnings]

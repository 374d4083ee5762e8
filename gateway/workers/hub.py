"""What a supervisor keeps for all workers: whoever it starts inherits it, and asks it over a line."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

import msgspec

from gateway.access.rate_arbiter import Arbiter
from gateway.access.tickets import TicketStore
from gateway.errors import Overloaded
from gateway.workers import orders
from gateway.workers.figures import Tally
from gateway.workers.line import Line, LineBroken
from gateway.workers.sockets import Sockets

DUMP_SECONDS: Final = 10.0
EXIT_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.01


class Worker:
    """One process, as its supervisor sees it. `settled` when it serves or is gone; `leaving` when it was told to end.

    `patience` is what it needs at most to end, in seconds.
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes]) -> None:
        self.number = number
        self.pid = process.pid
        self.born = monotonic()
        self.patience = EXIT_SECONDS
        self.serves = self.leaving = False
        self.settled = asyncio.Event()
        self.gone = asyncio.Event()
        self.ending = ""  # how it ended
        self._process = process
        self._line: Line | None = None

    def listen(self, line: Line) -> None:
        """Talk over `line` from here on."""
        self._line = line

    async def ask(self, what: str, seconds: float = orders.ENOUGH_SECONDS) -> Any:
        """Its answer. Raises LineBroken."""
        if self._line is None:
            raise LineBroken("there is no line yet")
        return await self._line.ask(what, seconds=seconds)

    async def told(self, what: str) -> bool:
        """Whether it heard the order."""
        try:
            return bool(await self.ask(what))
        except LineBroken:
            return False

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> str:
        """Wait for its end; how that came. The line's end is the sign; who lives on without one is killed."""
        if self._line is not None:
            await self._line.ended()
            await self._line.close()
        until = monotonic() + EXIT_SECONDS
        while self._process.poll() is None:
            if monotonic() > until:
                self.signal(signal.SIGKILL)
            await asyncio.sleep(LOOK_SECONDS)
        code = self._process.returncode
        return f"ended with exit code {code}" if code >= 0 else f"was killed by signal {-code}"


class Hub:
    """`command`, with the number of a descriptor behind it, is a worker's; `bequest` lacks only what is each one's own.

    Who hangs up is `tally.left`; that is the supervisor's to tell.
    """

    def __init__(
        self,
        command: Sequence[str],
        bequest: orders.Bequest,
        sockets: Sockets,
        *,
        arbiter: Arbiter,
        tally: Tally,
        tickets: TicketStore,
    ) -> None:
        self.tally = tally
        self._command = command
        self._bequest = bequest
        self._sockets = sockets
        self._arbiter = arbiter
        self._tickets = tickets

    async def hired(self, number: int) -> Worker:
        """A new worker, a fresh process of whatever code is there now. Raises OSError."""
        ours, line = socket.socketpair()
        answered, limits = socket.socketpair()
        with line, limits:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            await self._arbiter.answer(answered)
            bequest = msgspec.structs.replace(self._bequest, limits=limits.fileno())
            inherited = (line.fileno(), limits.fileno(), *(each.fileno() for each in self._sockets))
            try:
                process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own command; it only waits for the exec
                    [*self._command, str(line.fileno())], stdin=subprocess.DEVNULL, pass_fds=inherited
                )
            except OSError:
                writer.close()
                raise
        worker = Worker(number, process)
        worker.listen(Line(reader, writer, partial(self._answer, worker, bequest)))
        return worker

    async def _answer(self, worker: Worker, bequest: orders.Bequest, about: str, content: Any) -> Any:
        if about == orders.HELLO:
            return bequest
        if about == orders.READY:
            worker.patience, worker.serves = float(content), True
            worker.settled.set()
            self.tally.joined(worker.pid, partial(worker.ask, orders.DUMP, DUMP_SECONDS))
        elif about == orders.LAST_FIGURES:
            self.tally.told(worker.pid, content)
        elif about == orders.FIGURES:
            return await self.tally.gathered()
        elif about == orders.PUT_TICKET:
            return await self._put(*content)
        elif about == orders.TAKE_TICKET:
            return await self._tickets.take(content)
        return True

    async def _put(self, id: str, payload: bytes, seconds: float) -> bool:
        with suppress(Overloaded):
            await self._tickets.put(id, payload, seconds)
            return True
        return False

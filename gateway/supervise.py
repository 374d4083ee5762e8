"""Several workers as one gateway: what is made once for all of them, and the signals."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import uvloop

from gateway.access.rate_arbiter import Arbiter
from gateway.access.tickets import MemoryStore
from gateway.configuration import Configuration
from gateway.telemetry import logs
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.metric_table import LOG_LINES_LOST, WORKER_DEATHS
from gateway.workers.figures import Tally
from gateway.workers.file_watch import watched
from gateway.workers.handover import Handover, inherited
from gateway.workers.hub import Hub
from gateway.workers.orders import Bequest
from gateway.workers.sockets import Sockets, close, listening
from gateway.workers.supervisor import Supervisor

logger = logging.getLogger("gateway")

Announce = Callable[[str], None]


def supervise(configuration: Configuration, command: Sequence[str], announce: Announce) -> int:
    """Keep as many workers as are configured until SIGTERM or SIGINT; the exit code. Raises CannotServe.

    `command`, with the number of a descriptor behind it, starts one; `announce` is told the address once it is served.
    """
    with LogWriter(configuration.settings.log.file) as writer:
        logs.through(writer, configuration.settings.log)
        uvloop.run(_supervise(configuration, command, announce, writer))
    return 0


async def _supervise(
    configuration: Configuration, command: Sequence[str], announce: Announce, writer: LogWriter
) -> None:
    server = configuration.settings.server
    async with AsyncExitStack() as stack:
        mock = await _mock(stack) if configuration.is_embedded_default else ""
        sockets = listening(configuration.settings, inherited(server.handover))
        stack.callback(close, sockets)
        handover = Handover(server.handover, sockets)
        tally = Tally({WORKER_DEATHS: lambda: supervisor.deaths, LOG_LINES_LOST: lambda: writer.lost})
        hub = Hub(
            command,
            _bequest(configuration, sockets, mock),
            sockets,
            arbiter=await stack.enter_async_context(Arbiter()),
            tally=await stack.enter_async_context(tally),
            tickets=MemoryStore(),
        )

        def let_go() -> bool:
            succeeded = handover.is_succeeded
            handover.close()
            close(sockets)
            return succeeded

        def serving() -> None:
            handover.open()
            logger.info("serving on %s", sockets.address)
            announce(sockets.address)

        supervisor = Supervisor(server.workers, hub, reopen=writer.reopen, let_go=let_go)
        _listen_to_signals(supervisor)
        if configuration.keys_file is not None:
            await stack.enter_async_context(watched(configuration.keys_file, supervisor.reload))
        await supervisor.run(serving)
    logger.info("stopped")


async def _mock(stack: AsyncExitStack) -> str:
    """The base URL of the mock upstream that is served from here on."""
    from gateway.mock_upstream import DEMO, mock_app, serving

    return str(await stack.enter_async_context(serving(mock_app(DEMO))))


def _bequest(configuration: Configuration, sockets: Sockets, mock: str) -> Bequest:
    return Bequest(
        clients=[each.fileno() for each in sockets.clients],
        metrics=[each.fileno() for each in sockets.metrics],
        limits=-1,
        ticket_secret=secrets.token_bytes(32),
        demo_key=configuration.demo_key.reveal() if configuration.demo_key else "",
        mock=mock,
    )


def _listen_to_signals(supervisor: Supervisor) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    loop.add_signal_handler(signal.SIGUSR2, supervisor.roll)

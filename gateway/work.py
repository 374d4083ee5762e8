"""One of several workers, from start to stop: it serves what its supervisor listens for, and does what that says."""

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from socket import socket
from typing import Final

import uvloop
from yarl import URL

from gateway.app import Gateway, InCommon
from gateway.configuration import NOT_BY_RELOAD, Configuration
from gateway.serve import LAST_WORDS_SECONDS, Farewell, Reload, drain, opened, raise_descriptor_limit
from gateway.settings import SettingsError
from gateway.telemetry import dumps, logs
from gateway.telemetry.log_writer import LogWriter
from gateway.workers import orders
from gateway.workers.handover import taken_over
from gateway.workers.line import LineBroken
from gateway.workers.link import Link, Obey, SharedFigures, SharedTickets
from gateway.workers.sockets import CannotServe, Sockets

CLEAN_UP_SECONDS: Final = 10.0
LISTENER_BY_RESTART: Final = (
    "GATEWAY_METRICS_ACCESS: a listener of its own is not opened or closed by a reload; restart"
)

logger = logging.getLogger("gateway")


def work(configuration: Configuration, reload: Reload, end: socket) -> int:
    """Serve until the supervisor at the other `end` says that it is enough, or is gone; the exit code.

    Raises CannotServe, and SettingsError if the configuration is not one that the others' place can be taken with.
    """
    raise_descriptor_limit()
    with LogWriter(configuration.settings.log.file) as writer:
        logs.through(writer, configuration.settings.log)
        try:
            uvloop.run(_work(configuration, reload, end, writer))
        except LineBroken as broken:
            raise CannotServe(f"a worker has no supervisor: {broken}") from broken
    return 0


async def _work(configuration: Configuration, reload: Reload, end: socket, writer: LogWriter) -> None:
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link(end))
        bequest = await link.hello()
        configuration = _heir(configuration, bequest)
        farewell = _listen_to_signals()
        sockets = Sockets(_adopted(bequest.clients), _adopted(bequest.metrics))
        common = InCommon(
            socket(fileno=bequest.limits),
            SharedTickets(link),
            bequest.ticket_secret,
            bequest.via_name,
            SharedFigures(link).gathered,
        )
        gateway, listener = await stack.enter_async_context(opened(configuration, writer, sockets, common))
        link.obey = Orders(gateway, configuration, reload, writer, farewell).all()
        server = configuration.settings.server
        patience = server.drain_delay + server.drain_timeout + LAST_WORDS_SECONDS + CLEAN_UP_SECONDS
        await link.ask(orders.READY, patience)
        orphaned = asyncio.create_task(_orphaned(link, farewell))
        await farewell.asked.wait()
        if orphaned.done():
            logger.error("the supervisor is gone; this worker ends, too")
            server = replace(server, drain_delay=0.0)  # whoever takes its place wants the port
        await drain(gateway, listener, server, farewell)
        orphaned.cancel()
        with suppress(LineBroken):
            await link.ask(orders.LAST_FIGURES, await dumps.dump(await gateway.metrics.gathered()))


class Orders:
    """What a worker does when it is told to."""

    def __init__(
        self, gateway: Gateway, configuration: Configuration, reload: Reload, writer: LogWriter, farewell: Farewell
    ) -> None:
        self._gateway = gateway
        self._reload = reload
        self._read = configuration
        self._writer = writer
        self._farewell = farewell

    def all(self) -> Mapping[str, Obey]:
        return {
            orders.DUMP: self._dump,
            orders.CHECK: self._check,
            orders.RELOAD: self._take_over,
            orders.DRAIN: self._drain,
            orders.RETIRE: self._retire,
            orders.HURRY: self._hurry,
        }

    async def _dump(self) -> bytes:
        return await dumps.dump(await self._gateway.metrics.gathered())

    async def _check(self) -> tuple[Sequence[str], Sequence[str]]:
        self._writer.reopen()
        try:
            self._read = self._reload()
        except SettingsError as error:
            return error.problems, ()
        return (), self._read.warnings

    async def _take_over(self) -> bool:
        self._gateway.take_over(self._read)
        return True

    async def _drain(self) -> bool:
        self._farewell.asked.set()
        return True

    async def _retire(self) -> bool:
        self._farewell.quiet = not self._farewell.asked.is_set()
        return await self._drain()

    async def _hurry(self) -> bool:
        self._farewell.hurried.set()
        return True


def _heir(configuration: Configuration, bequest: orders.Bequest) -> Configuration:
    """The configuration with what is the same for all workers. Raises SettingsError if that does not go together."""
    if configuration.is_embedded_default != bool(bequest.demo_key):
        raise SettingsError([NOT_BY_RELOAD])
    if configuration.settings.metrics.on_own_listener != bool(bequest.metrics):
        raise SettingsError([LISTENER_BY_RESTART])
    if not bequest.demo_key:
        return configuration
    return configuration.with_demo_key(bequest.demo_key).with_mock(URL(bequest.mock))


def _adopted(descriptors: list[int]) -> list[socket]:
    return [taken_over(descriptor) for descriptor in descriptors]


def _listen_to_signals() -> Farewell:
    """A farewell that SIGTERM asks for. What a terminal sends to all its processes is the supervisor's to heed."""
    loop, farewell = asyncio.get_running_loop(), Farewell()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, farewell.asked.set)
    return farewell


async def _orphaned(link: Link, farewell: Farewell) -> None:
    await link.ended()
    farewell.asked.set()

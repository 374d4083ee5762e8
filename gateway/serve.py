"""A process that serves, from start to stop: the loop, the connections, the signals, the drain."""

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from socket import socket
from time import monotonic_ns

import uvloop
from aiohttp import web

from gateway.app import Gateway, InCommon, build
from gateway.configuration import Configuration
from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.metrics_app import Gathered, metrics_app
from gateway.downstream.refusal import Malformed
from gateway.downstream.runner import GuardedRunner, GuardedServer
from gateway.mock_upstream import DEMO, mock_app, serving
from gateway.settings import Limits, Server, SettingsError
from gateway.settings.metrics import MetricsSettings
from gateway.telemetry import logs
from gateway.telemetry.exchange import Exchange, Outcome
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.metric_table import LOG_LINES_LOST, LOG_LINES_OMITTED, MALFORMED_REQUESTS
from gateway.telemetry.trace_context import Sampler, open_trace
from gateway.workers.file_watch import watched
from gateway.workers.handover import Handover, inherited
from gateway.workers.sockets import BACKLOG, Sockets, listening

LAST_WORDS_SECONDS = 3.0
IDLE_SECONDS = 1.0
"""So long a connection has to have been idle to be closed while the gateway drains: clients that use theirs more often
are answered once more on it, and told that it was the last time."""

LOOK_SECONDS = 0.05
COLLECT_AFTER = 50_000  # allocations; collecting more often costs a tenth of all time

logger = logging.getLogger("gateway")

Reload = Callable[[], Configuration]
Announce = Callable[[str], None]


def serve(configuration: Configuration, reload: Reload, announce: Announce) -> int:
    """Serve in this process until SIGTERM or SIGINT; the exit code. Raises CannotServe.

    `reload` reads the configuration anew, for SIGHUP; `announce` is told the address once it is served.
    """
    raise_descriptor_limit()
    with LogWriter(configuration.settings.log.file) as writer:
        logs.through(writer, configuration.settings.log)
        uvloop.run(_serve(configuration, reload, announce, writer))
    return 0


async def _serve(configuration: Configuration, reload: Reload, announce: Announce, writer: LogWriter) -> None:
    settings = configuration.settings
    async with AsyncExitStack() as stack:
        if configuration.is_embedded_default:
            mock = await stack.enter_async_context(serving(mock_app(DEMO)))
            configuration = configuration.with_mock(mock)
        sockets = listening(settings, inherited(settings.server.handover))
        handover = Handover(settings.server.handover, sockets)
        gateway, listener = await stack.enter_async_context(opened(configuration, writer, sockets))
        farewell = listen_to_signals(lambda: reread(gateway, reload, writer))
        if configuration.keys_file is not None:
            await stack.enter_async_context(watched(configuration.keys_file, lambda: reread(gateway, reload, writer)))
        handover.open()
        logger.info("serving on %s", sockets.address)
        announce(sockets.address)
        await farewell.asked.wait()
        farewell.quiet = handover.is_succeeded
        handover.close()
        await drain(gateway, listener, settings.server, farewell)
    logger.info("stopped")


@asynccontextmanager
async def opened(
    configuration: Configuration, writer: LogWriter, sockets: Sockets, common: InCommon | None = None
) -> AsyncIterator[tuple[Gateway, "Listener"]]:
    """A gateway that serves on `sockets` while the block runs."""
    settings = configuration.settings
    access_view = logs.AccessView(settings.log, writer)
    gateway = build(configuration, (access_view,), common)
    gateway.metrics.watch(LOG_LINES_LOST, (), lambda: writer.lost)
    gateway.metrics.watch(LOG_LINES_OMITTED, (), lambda: access_view.omitted)
    async with Listener(gateway, sockets.clients, settings.limits) as listener:
        async with metrics_listener(gateway.figures, settings.metrics, sockets.metrics):
            spare_collections()
            yield gateway, listener


@asynccontextmanager
async def metrics_listener(
    gathered: Gathered, settings: MetricsSettings, sockets: Sequence[socket]
) -> AsyncIterator[None]:
    """Serve `/metrics`, and nothing else, where scrapers can reach it and clients cannot."""
    runner = web.AppRunner(metrics_app(gathered, settings), access_log=None)
    await runner.setup()
    try:
        for each in sockets:
            await web.SockSite(runner, each).start()
        yield
    finally:
        await runner.cleanup()


def raise_descriptor_limit() -> None:
    """Take as many descriptors as this process may: a connection is one, and shells give out a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # not every system lets a process have what it says is the most
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def spare_collections() -> None:
    """Keep what start-up made out of every later garbage collection, and have fewer of them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)


class Listener:
    """The sockets a gateway listens on and the connections that came through them. An async context manager."""

    def __init__(self, gateway: Gateway, sockets: Sequence[socket], limits: Limits) -> None:
        self._gateway = gateway
        self._sockets = sockets
        self._sites: list[web.SockSite] = []
        self._runner = GuardedRunner(
            gateway.app,
            bounds=ConnectionBounds(
                head_timeout=limits.head_timeout,
                body_timeout=limits.body_timeout,
                keepalive_timeout=limits.keepalive_timeout,
                max_head_bytes=limits.max_header_bytes,
                max_target_bytes=limits.max_target_bytes,
                # The parser's one error for both is told apart by the bound, so the two must differ.
                max_field_bytes=limits.max_field_bytes + (limits.max_field_bytes == limits.max_target_bytes),
                max_fields=limits.max_fields,
                min_body_rate=limits.min_body_rate,
                send_timeout=limits.send_timeout,
                max_connections=limits.max_connections,
            ),
            on_malformed=self._malformed,
            fallbacks=gateway.fallbacks,
            trusts=gateway.trusts,
        )

    async def __aenter__(self) -> "Listener":
        await self._runner.setup()
        self._sites = [web.SockSite(self._runner, each, backlog=BACKLOG) for each in self._sockets]
        for site in self._sites:
            await site.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def _server(self) -> GuardedServer:
        server = self._runner.server
        assert isinstance(server, GuardedServer)
        return server

    def last_call(self) -> None:
        """Let the next answer on each connection be its last."""
        self._server.last_call = True

    async def close(self) -> None:
        """Take no new connections."""
        for site in self._sites:
            await site.stop()
        self._sites.clear()

    def close_idle(self, seconds: float) -> int:
        """Close the connections that have been idle for so long; how many are left."""
        return self._server.close_idle(seconds)

    def _malformed(self, malformed: Malformed) -> None:
        self._gateway.metrics.counter(MALFORMED_REQUESTS).add()
        if malformed.begun:
            return
        now = monotonic_ns()
        exchange = Exchange(
            id=malformed.request_id,
            method="-",
            path="-",
            trace=open_trace(None, None, Sampler(0)),
            route="malformed",
            status=malformed.status,
            outcome=Outcome.REFUSED,
            error=malformed.code,
            peer=malformed.peer,
            bytes_out=malformed.bytes_out,
            started=now,
            ended=now,
        )
        self._gateway.recorder.show(exchange)


@dataclass(slots=True)
class Farewell:
    """How a process was asked to stop. `quiet`: others go on in its place, on the same sockets."""

    quiet: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """Stop; who is asked twice is in a hurry."""
        (self.hurried if self.asked.is_set() else self.asked).set()

    async def hurried_within(self, seconds: float) -> bool:
        """Whether there is a hurry; waits that long for one."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.hurried.wait(), seconds)
        return self.hurried.is_set()


def listen_to_signals(on_hangup: Callable[[], None]) -> Farewell:
    """A farewell that SIGTERM or SIGINT asks for."""
    loop, farewell = asyncio.get_running_loop(), Farewell()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, farewell.ask)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    loop.add_signal_handler(signal.SIGUSR2, logger.warning, "SIGUSR2 replaces workers, and GATEWAY_WORKERS is 1")
    return farewell


def reread(gateway: Gateway, reload: Reload, writer: LogWriter) -> None:
    """Take over keys, scopes and limits as they are configured now; keep what is if that cannot be used."""
    writer.reopen()
    try:
        fresh = reload()
    except SettingsError as error:
        for problem in error.problems:
            logger.error("reload refused: %s", problem)
        return
    gateway.take_over(fresh)
    for warning in fresh.warnings:
        logger.warning("reload: %s", warning)
    logger.info("reloaded keys, scopes and limits")


async def drain(gateway: Gateway, listener: Listener, server: Server, farewell: Farewell) -> None:
    """Stop without cutting what can still finish: not ready, then not listening, then ended visibly.

    Where others go on in this process's place it stays ready: who asks here would take them for gone, too.
    """
    gateway.lifecycle.draining = not farewell.quiet
    listener.last_call()
    logger.info("draining %d exchanges", gateway.recorder.open_exchanges)
    if not farewell.quiet:
        await farewell.hurried_within(server.drain_delay)
    await listener.close()
    if not await _all_served(gateway, listener, server.drain_timeout, farewell):
        logger.warning("ending %d exchanges that did not finish in time", gateway.recorder.end_all())
        await gateway.recorder.all_closed(LAST_WORDS_SECONDS)


async def _all_served(gateway: Gateway, listener: Listener, seconds: float, farewell: Farewell) -> bool:
    """Wait until nobody is served, and nobody could still be about to ask; whether that was in time."""
    loop = asyncio.get_running_loop()
    until, patience = loop.time() + seconds, seconds if farewell.quiet else min(seconds, IDLE_SECONDS)
    while listener.close_idle(patience) or gateway.recorder.open_exchanges:
        if loop.time() >= until or await farewell.hurried_within(LOOK_SECONDS):
            return not gateway.recorder.open_exchanges
    return True

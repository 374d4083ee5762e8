"""A worker from start to stop: the loop, the sockets, the signals, the drain."""

import asyncio
import gc
import logging
import resource
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic_ns

import uvloop
from aiohttp import web

from gateway.app import Gateway, build
from gateway.configuration import Configuration
from gateway.downstream.connection import ConnectionBounds
from gateway.downstream.metrics_app import metrics_app
from gateway.downstream.refusal import Malformed
from gateway.downstream.runner import GuardedRunner
from gateway.mock_upstream import DEMO, mock_app, serving
from gateway.settings import Limits, Server, SettingsError
from gateway.settings.metrics import MetricsSettings
from gateway.telemetry import logs
from gateway.telemetry.exchange import Exchange, Outcome
from gateway.telemetry.log_writer import LogWriter
from gateway.telemetry.metric_table import LOG_LINES_LOST, MALFORMED_REQUESTS
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.trace_context import Sampler, open_trace

BACKLOG = 4096
LAST_WORDS_SECONDS = 3.0
COLLECT_AFTER = 50_000  # allocations; collecting more often costs a tenth of all time

logger = logging.getLogger("gateway")

Reload = Callable[[], Configuration]
Announce = Callable[[str], None]


class PortTaken(Exception):
    """The address cannot be listened on."""


def serve(configuration: Configuration, reload: Reload, announce: Announce) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit code.

    `reload` reads the configuration anew, for SIGHUP; `announce` is told the address once it is served.
    """
    raise_descriptor_limit()
    with LogWriter(configuration.settings.log.file) as writer:
        logs.through(writer, configuration.settings.log)
        try:
            uvloop.run(_serve(configuration, reload, announce, writer))
        except PortTaken as taken:
            print(f"gateway: {taken}", file=sys.stderr)  # noqa: T201 - there is nobody else to tell
            return 1
    return 0


async def _serve(configuration: Configuration, reload: Reload, announce: Announce, writer: LogWriter) -> None:
    async with AsyncExitStack() as stack:
        if configuration.is_embedded_default:
            mock = await stack.enter_async_context(serving(mock_app(DEMO)))
            configuration = configuration.with_mock(mock)
        settings = configuration.settings
        gateway = build(configuration, (logs.access_view(settings.log, writer),))
        gateway.metrics.watch(LOG_LINES_LOST, (), lambda: writer.lost)
        listener = await stack.enter_async_context(Listener(gateway, settings.server, settings.limits))
        if settings.metrics.on_own_listener:
            await stack.enter_async_context(metrics_listener(gateway.metrics, settings.metrics))
        stopping = listen_to_signals(lambda: reread(configuration, reload, writer))
        spare_collections()
        logger.info("serving on %s", listener.address)
        announce(listener.address)
        await stopping.wait()
        await drain(gateway, listener, settings.server)
    logger.info("stopped")


@asynccontextmanager
async def metrics_listener(metrics: Metrics, settings: MetricsSettings) -> AsyncIterator[None]:
    """Serve `/metrics`, and nothing else, where scrapers can reach it and clients cannot."""
    runner = web.AppRunner(metrics_app(metrics, settings), access_log=None)
    await runner.setup()
    try:
        await listen(web.TCPSite(runner, settings.host, settings.port), "GATEWAY_METRICS_HOST, GATEWAY_METRICS_PORT")
        yield
    finally:
        await runner.cleanup()


async def listen(site: web.TCPSite, settings: str) -> None:
    """Start `site`. Raises PortTaken, which names the `settings` that say where."""
    try:
        await site.start()
    except OSError as error:
        where = site.name.removeprefix("http://")
        raise PortTaken(f"cannot listen on {where}: {error.strerror or error} (see {settings})") from error


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
    """The socket a gateway listens on and the connections that came through it. An async context manager."""

    def __init__(self, gateway: Gateway, server: Server, limits: Limits) -> None:
        self._gateway = gateway
        self._server = server
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
        )
        self._site: web.TCPSite | None = None

    async def __aenter__(self) -> "Listener":
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self._server.host, self._server.port, backlog=BACKLOG)
        try:
            await listen(self._site, "GATEWAY_HOST, GATEWAY_PORT")
        except PortTaken:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """The base URL that is served."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Take no new connections; those that are idle close, those at work close when they are done."""
        if self._site is not None:
            await self._site.stop()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()

    def _malformed(self, malformed: Malformed) -> None:
        self._gateway.metrics.counter(MALFORMED_REQUESTS).add()
        if malformed.begun:
            return
        exchange = Exchange(
            id=f"req_{secrets.token_hex(12)}",
            method="-",
            path="-",
            trace=open_trace(None, None, Sampler(0)),
            route="malformed",
            status=malformed.status,
            outcome=Outcome.REFUSED,
            error=malformed.code,
            peer=malformed.peer,
            ended=monotonic_ns(),
        )
        self._gateway.recorder.show(exchange)


def listen_to_signals(on_hangup: Callable[[], None]) -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    return stopping


def reread(configuration: Configuration, reload: Reload, writer: LogWriter) -> None:
    """Take over keys and scopes as they are configured now; keep what is if that cannot be used."""
    writer.reopen()
    try:
        configuration.clients.replace(reload().clients)
    except SettingsError as error:
        for problem in error.problems:
            logger.error("reload refused: %s", problem)
    else:
        logger.info("reloaded keys and scopes")


async def drain(gateway: Gateway, listener: Listener, server: Server) -> None:
    """Stop without cutting what can still finish: not ready, then not listening, then ended visibly."""
    gateway.lifecycle.draining = True
    logger.info("draining %d exchanges", gateway.recorder.open_exchanges)
    await asyncio.sleep(server.drain_delay)
    await listener.close()
    if not await gateway.recorder.all_closed(server.drain_timeout):
        logger.warning("ending %d exchanges that did not finish in time", gateway.recorder.end_all())
        await gateway.recorder.all_closed(LAST_WORDS_SECONDS)

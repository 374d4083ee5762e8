"""The mock on a socket, served as an upstream should be: bodies as they came, handlers that hear a client leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from yarl import URL

_LAST_SECONDS = 0.1


@asynccontextmanager
async def serving(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[URL]:
    """Serve `app` while the block runs, on any free port unless one is given; its base URL. Raises OSError."""
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=_LAST_SECONDS
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield URL.build(scheme="http", host=host, port=runner.addresses[0][1])
    finally:
        await runner.cleanup()

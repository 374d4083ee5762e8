"""A gateway as production runs it, in this process, for tests that walk whole requests through it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
from aiohttp import ClientSession

from gateway.app import Gateway, build
from gateway.configuration import load
from gateway.serve import Listener
from gateway.telemetry.exchange import Exchange
from gateway.workers.sockets import listening

KEY = "gw_alice-3f9c1e7a5b2d4860-9e8d7c6b5a4f3e2d"
OTHER_KEY = "gw_bob-71d0c2b3a4958677-0f1e2d3c4b5a6978"
PROVIDER_KEY = "sk-provider-8c6f1f2e3d4b5a69"
DIALECTS = ("openai", "anthropic", "gemini")


@dataclass
class Running:
    """A gateway that serves, and what its views are shown."""

    gateway: Gateway
    url: str
    session: ClientSession
    seen: list[Exchange]

    @property
    def exchanges(self) -> list[Exchange]:
        """Those that are closed."""
        self.gateway.recorder.show_all()
        return self.seen

    async def exchange(self, count: int = 1) -> Exchange:
        """The exchange number `count`, once it is closed."""
        async with asyncio.timeout(5):
            while len(self.exchanges) < count:
                await asyncio.sleep(0.005)
        return self.exchanges[count - 1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


Start = Callable[..., Awaitable[Running]]


def environ(url: str, **more: str) -> dict[str, str]:
    """A configuration with a provider of each dialect, all of them at `url`."""
    names = {"GATEWAY_API_KEYS": f"alice={KEY},bob={OTHER_KEY};providers=anthropic", "GATEWAY_PORT": "0"}
    names["GATEWAY_VIA_NAME"] = "llm-gateway"
    for name in DIALECTS:
        names[f"GATEWAY_PROVIDER_{name.upper()}_BASE_URL"] = url
        names[f"GATEWAY_PROVIDER_{name.upper()}_API_KEY"] = PROVIDER_KEY
    return {**names, **more}


async def run_gateway(stack: AsyncExitStack, names: dict[str, str]) -> Running:
    """Serve the configuration in `names` until `stack` is left."""
    configuration = load(names)
    seen: list[Exchange] = []
    gateway = build(configuration, (seen.append,))
    settings = configuration.settings
    sockets = listening(settings)
    await stack.enter_async_context(Listener(gateway, sockets.clients, settings.limits))
    session = await stack.enter_async_context(
        ClientSession(
            sockets.address,
            headers={"X-API-Key": KEY},
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "Accept", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=20),
        )
    )
    return Running(gateway, sockets.address, session, seen)

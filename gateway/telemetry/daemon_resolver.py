"""Looks names up in threads that nobody waits for.

An event loop's own resolver works in a pool that the process joins before it exits: a silent name server would hold an
exit up for as long as the system's resolver is patient.
"""

import asyncio
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_Infos = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]


class DaemonResolver(AbstractResolver):
    """Raises OSError for what cannot be found, as every resolver of aiohttp does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Infos] = loop.create_future()
        threading.Thread(target=_look_up, args=(loop, answer, host, port, family), name="resolver", daemon=True).start()
        return [_found(host, port, family, address[0]) for family, _, _, _, address in await answer]

    async def close(self) -> None:
        pass


def _look_up(
    loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[_Infos]", host: str, port: int, family: int
) -> None:
    try:
        infos: Any = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError) as error:
        infos = error if isinstance(error, OSError) else OSError(f"{host} is no name")
    try:
        loop.call_soon_threadsafe(_tell, answer, infos)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more


def _tell(answer: "asyncio.Future[_Infos]", infos: Any) -> None:
    if answer.done():
        return
    if isinstance(infos, OSError):
        answer.set_exception(infos)
    else:
        answer.set_result(infos)


def _found(host: str, port: int, family: int, address: str) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=socket.IPPROTO_TCP, flags=flags)

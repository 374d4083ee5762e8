"""Several workers from outside: who they are, who of them has which connection, and clients that do not stop asking."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.process import Process
from tests.running import KEY

CHAT = "/provider/openai/v1/chat/completions"
HEADERS = {"X-API-Key": KEY}

_SERVES = re.compile(rb"worker (\d+) serves, pid (\d+)")


def workers(process: Process) -> dict[int, int]:
    """The process id of each worker's latest holder, by the worker's number."""
    return {int(number): int(pid) for number, pid in _SERVES.findall(process.written)}


async def until_all_serve(process: Process, count: int = 2, *, instead_of: Collection[int] = ()) -> dict[int, int]:
    """Wait until so many workers serve, none of them one `instead_of` whom they were started."""

    def all_serve() -> bool:
        there = workers(process)
        return len(there) == count and not set(instead_of) & set(there.values())

    await process.until(all_serve)
    return workers(process)


def owner(response: aiohttp.ClientResponse, pids: Collection[int]) -> int:
    """Which of `pids` has the gateway's end of the connection that `response` comes over."""
    assert response.connection is not None
    assert response.connection.transport is not None
    transport = response.connection.transport
    inode = _inode(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("nobody has this connection")


def _inode(here: tuple[str, int], there: tuple[str, int]) -> str:
    """Of the socket at `here` that is connected to `there`."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == [_as_the_kernel_writes(here), _as_the_kernel_writes(there)]:
            return fields[9]
    raise AssertionError("there is no such connection")


def _as_the_kernel_writes(address: tuple[str, int]) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address[0].split("."))) + f":{address[1]:04X}"


@asynccontextmanager
async def asking(url: str, clients: int = 6) -> AsyncIterator[Counter[object]]:
    """Clients that ask without a pause while the block runs, half of them on one connection each; what they got.

    A request that got no answer is counted as what it got instead.
    """
    got: Counter[object] = Counter()
    stop = asyncio.Event()

    async def ask(*, anew: bool) -> None:
        connector = aiohttp.TCPConnector(force_close=anew)
        async with aiohttp.ClientSession(url, headers=HEADERS, connector=connector) as session:
            while not stop.is_set():
                try:
                    async with session.post(CHAT, json={"model": "m"}) as response:
                        await response.read()
                        got[response.status] += 1
                except aiohttp.ClientError as error:
                    got[repr(error)] += 1

    tasks = [asyncio.create_task(ask(anew=bool(number % 2))) for number in range(clients)]
    try:
        yield got
    finally:
        stop.set()
        await asyncio.gather(*tasks)

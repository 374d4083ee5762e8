"""An upstream in a process of its own: it keeps streams open, and lets events out of them that say when they left.

By itself, because a process that had both ends of ten thousand streams would need more descriptors than it may have.
The first line it writes is its port; for each line it reads, a number, it lets events out for so many seconds.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from load import CHUNK_OF, Streams, Upstream, chunk

EVENTS_A_SECOND = 400  # over all streams: well below what either subject can do
EVENT = b'data: {%s,"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"sent":%d}\n\n'


class Paced(Upstream):
    """The first event of a stream leaves at once, others when they are told to."""

    def send(self) -> None:
        if self._sent:
            self._transport.write(chunk(EVENT % (CHUNK_OF, time.monotonic_ns())))
        else:
            super().send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._streams.open.pop(self._stream, None)


class PacedUpstream:
    """The process, seen from the one that measures."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def pace(self, seconds: float) -> None:
        """Let events out of the open streams, in turn; back when the last has left."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"%f\n" % seconds)
        await self._process.stdout.readline()


@asynccontextmanager
async def paced_upstream() -> AsyncIterator[PacedUpstream]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        yield PacedUpstream(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


async def main() -> None:
    loop, streams = asyncio.get_running_loop(), Streams()
    server = await loop.create_server(lambda: Paced(streams), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        began = time.monotonic()
        for number, stream in enumerate(itertools.cycle(tuple(streams.open))):
            due = number / EVENTS_A_SECOND
            if due > float(line):
                break
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            streams.open[stream]()
        print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(main())

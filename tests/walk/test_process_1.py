"""The gateway as process 1 of a PID namespace, as in a container: signals without a handler are dropped there."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.needing import ROOT, missing, program
from tests.process import free_port

SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


@asynccontextmanager
async def process_1(folder: Path, **variables: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """`unshare`, whose child the gateway is; and the number under which it is known out here."""
    if os.geteuid():
        missing("a PID namespace needs root")
    process = await asyncio.create_subprocess_exec(
        *(program("unshare", "util-linux"), "--pid", "--fork", "--kill-child", sys.executable, "-m", "gateway"),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "GATEWAY_PORT": str(free_port()), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(20):
            while not (children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
                await asyncio.sleep(0.001)
        yield process, int(children[0])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def catches_sigterm(pid: int) -> None:
    """Wait for it."""
    async with asyncio.timeout(20):
        while True:
            (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line]
            if int(caught.split()[1], 16) & SIGTERM_BIT:
                return
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_is_heeded_before_anything_slow_is_imported(tmp_path: Path, workers: str) -> None:
    async with process_1(tmp_path, GATEWAY_WORKERS=workers) as (process, pid):
        await catches_sigterm(pid)
        assert "uvloop" not in Path(f"/proc/{pid}/maps").read_text()
        os.kill(pid, signal.SIGTERM)
        written = await ended(process)
    assert (process.returncode, written) == (128 + signal.SIGTERM, b"")


@pytest.mark.parametrize("after", [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_ends_it_whenever_it_comes_while_it_starts(tmp_path: Path, workers: str, after: float) -> None:
    async with process_1(tmp_path, GATEWAY_WORKERS=workers) as (process, pid):
        await catches_sigterm(pid)
        await asyncio.sleep(after)  # into another part of the start each time
        os.kill(pid, signal.SIGTERM)
        written = await ended(process)
    assert process.returncode in (0, 128 + signal.SIGTERM), written
    assert b"Traceback" not in written, written


async def ended(process: asyncio.subprocess.Process) -> bytes:
    async with asyncio.timeout(20):
        return (await process.communicate())[0]

"""The gateway as a process of its own: started by a test, stopped by it, everything it writes kept."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import orjson
from coverage import Coverage

ROOT = Path(__file__).parents[1]


# Below those that the kernel gives to connections: one of another test could take it before it is listened on.
PORTS = range(10_000, 32_768)


def free_port() -> int:
    """A port on which nobody listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def measured() -> dict[str, str]:
    """Variables by which coverage measures a child of this process too, where it measures this one."""
    coverage = Coverage.current()
    if coverage is None:
        return {}
    file = Path(str(coverage.get_option("run:data_file"))).absolute()
    return {"COVERAGE_PROCESS_START": str(ROOT / "setup.cfg"), "COVERAGE_FILE": str(file)}


class Process:
    """`python -m gateway serve` with exactly these variables. An async context manager."""

    def __init__(self, folder: Path, variables: Mapping[str, str], *arguments: str) -> None:
        self.port = int(variables.get("GATEWAY_PORT", 0)) or free_port()
        self.folder = folder
        self._variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_PORT": str(self.port),
            **measured(),
            **variables,
        }
        self._arguments = arguments or ("serve",)
        self.written = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        await self.until(lambda: b"serving on" in self.written)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *self._arguments,
            cwd=self.folder,
            env=self._variables,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())

    async def ended(self, seconds: float = 20.0) -> int:
        """The exit code, once the process has ended and all that it wrote is in."""
        code = await asyncio.wait_for(self._process.wait(), seconds)
        await self._reader
        return code

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def until(self, true: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for something to be written; AssertionError with all that was, if it is not."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    if self._reader.done():
                        raise AssertionError(f"the process ended early:\n{self.written.decode()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited in vain; written was:\n{self.written.decode()}") from None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of the log, whole ones."""
        whole = self.written[: self.written.rfind(b"\n") + 1].splitlines()
        return [orjson.loads(line) for line in whole if line.startswith(b"{")]

    @property
    def exchanges(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "exchange"]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := await self._process.stdout.read(65536):
            self.written += piece

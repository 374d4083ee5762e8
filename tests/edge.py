"""A real nginx with the files of `nginx/`, in which only addresses, certificates and what a test names are replaced."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import needing
from tests.process import free_port

DEADLINE = 10.0


@dataclass(frozen=True)
class Edge:
    """An nginx that serves."""

    process: asyncio.subprocess.Process
    port: int
    url: str
    directory: Path

    def workers(self) -> set[int]:
        """The processes that serve now, those that only finish included."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(child) for child in children}

    async def reload(self) -> None:
        """Read the configuration anew; back when new workers serve."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(DEADLINE):
            while not self.workers() - before:
                await asyncio.sleep(0.01)

    def log(self) -> str:
        """Everything nginx wrote."""
        return (self.directory / "log").read_text()

    async def line(self, number: int = 1) -> dict[str, Any]:
        """The access log's line of this number, once it is there."""
        async with asyncio.timeout(DEADLINE):
            while True:
                lines = [text for text in self.log().splitlines() if text.startswith("{")]
                if len(lines) >= number:
                    line: dict[str, Any] = json.loads(lines[number - 1])
                    return line
                await asyncio.sleep(0.01)

    def scratch(self) -> list[Path]:
        """Files in which nginx keeps bodies."""
        return [path for place in self.directory.glob("run/scratch_*") for path in place.rglob("*") if path.is_file()]


@asynccontextmanager
async def nginx(
    directory: Path, gateways: Iterable[int], certificate: Path | None = None, **replaced: str
) -> AsyncIterator[Edge]:
    """An nginx before the gateways at these loopback ports; `proxy="..."` puts other text into `proxy.conf`.

    With a `certificate` (a directory with fullchain.pem and privkey.pem) it speaks TLS.
    """
    program, port = needing.program("nginx"), free_port()
    files = {
        "upstream": _upstream((needing.ROOT / "nginx/upstream.conf").read_text(), gateways),
        "listen": _listen(port, certificate),
        **replaced,
    }
    _lay_out(directory, files)
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            *("-p", f"{directory}/run/", "-c", f"{directory}/conf/nginx.conf", "-e", "stderr"),
            # The worker stays who it is: the test's directories are nobody else's.
            *("-g", "daemon off;" + ("user root;" if os.geteuid() == 0 else "")),
            stdout=log,
            stderr=log,
        )
        try:
            await accepting(port, process, directory / "log")
            scheme = "http" if certificate is None else "https"
            yield Edge(process, port, f"{scheme}://127.0.0.1:{port}", directory)
        finally:
            await stop(process)


async def accepting(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until `process` takes connections; if it ends instead, tell why."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process that this test started."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(DEADLINE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _upstream(shipped: str, gateways: Iterable[int]) -> str:
    line = "server gateway:8080 max_fails=1 fail_timeout=2s;"
    assert line in shipped
    return shipped.replace(line, "\n".join(line.replace("gateway:8080", f"127.0.0.1:{port}") for port in gateways))


def _listen(port: int, certificate: Path | None) -> str:
    """The shipped file, on loopback alone."""
    shipped = (needing.ROOT / f"nginx/listen{'' if certificate else '-plain'}.conf").read_text()
    text = re.sub(r"listen \[::\]:.*;\n", "", shipped)
    text, changed = re.subn(r"listen \d+", f"listen 127.0.0.1:{port}", text)
    assert changed == 1
    return text.replace("/run/tls", str(certificate))


def _lay_out(directory: Path, files: Mapping[str, str]) -> None:
    (directory / "conf").mkdir(parents=True)
    (directory / "run").mkdir()
    for shipped in (needing.ROOT / "nginx").glob("*.conf"):
        (directory / "conf" / shipped.name).symlink_to(shipped)
    for name, text in files.items():
        path = directory / "conf" / f"{name}.conf"
        path.unlink()
        path.write_text(text)

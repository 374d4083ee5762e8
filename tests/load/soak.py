"""Everything at once, for minutes, and then a look at what is left: a gateway must be as it was, and mix nothing up.

    .venv/bin/python -m tests.load.soak                            three minutes
    .venv/bin/python -m tests.load.soak --seconds 20 --workers 2   less of it, over more processes

A gateway of its own before the bundled mock upstream, both as processes; nothing else is touched. The exit code is 1 if
anything was wrong. README.md beside this file says what is checked. What an answer has to be is in `soak_clients.py`.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from tests.load.soak_clients import KINDS, Tally, go_on_asking
from tests.process import ROOT, Process, free_port
from tests.running import KEY

INSIDE = Path(__file__).parent / "inside"
WARM_UP = 0.2
"""Share of the time after which what a gateway takes for good has been taken: the first look is then."""

SETTLE_SECONDS = 30.0
GROWTH_BLOCKS = 5000
"""By which Python's blocks of memory, garbage collected, may differ from look to look, in each process: an object that
every request leaves behind is more in a short soak, too."""

GROWTH_BYTES = 16 << 20
"""By which a process may have grown in all: pages that are in use in part come and go by megabytes."""

MIB = 1 << 20


def main() -> int:
    asked = _arguments()
    return asyncio.run(soak(asked.seconds, asked.workers, asked.clients))


async def soak(seconds: float, workers: int, clients: int) -> int:
    """Run it; the exit code."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        async with mock_upstream(Path(folder)) as upstream, gateway(Path(folder), upstream, workers) as running:
            print(f"{running.url}: {workers} workers, {clients} clients, {seconds:g} s", file=sys.stderr)
            await load(running, tally, clients, seconds * WARM_UP)
            before = await settled(running, upstream)
            await load(running, tally, clients, seconds * (1 - WARM_UP))
            after = await settled(running, upstream, as_before=before)
            wrong = [*tally.wrong, *differences(before, after)]
            running.process.signal(signal.SIGTERM)
            code = await running.process.ended(60)
        wrong += [f"the gateway ended with exit code {code}"] if code else []
        wrong += log_complaints(Path(folder) / "log", tally)
    print(summary(tally, before, after, wrong))
    return 1 if wrong else 0


# What runs


@dataclass
class Running:
    """A gateway, from outside."""

    process: Process
    folder: Path

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]


@asynccontextmanager
async def mock_upstream(folder: Path) -> AsyncIterator[str]:
    """The bundled mock as a process; its base URL."""
    port = free_port()
    command = ("-m", "gateway.mock_upstream", "--port", str(port), "--pace", "0.002")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await answers(f"{url}/health")
        yield url
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def gateway(folder: Path, upstream: str, workers: int) -> AsyncIterator[Running]:
    """A gateway in front of `upstream`, as impatient as a soak of seconds wants it."""
    variables = {
        "PYTHONPATH": f"{INSIDE}:{ROOT}",
        "SOAK_FOLDER": str(folder),
        "GATEWAY_API_KEYS": f"alice={KEY}",
        "GATEWAY_PROVIDER_MOCK_BASE_URL": upstream,
        "GATEWAY_PROVIDER_MOCK_DIALECT": "openai",
        "GATEWAY_PROVIDER_MOCK_API_KEY": "any",
        "GATEWAY_RATE_LIMITS": "key: 10000000 requests/minute, 10000000000 tokens/minute, 10000 concurrent",
        "GATEWAY_WORKERS": str(workers),
        "GATEWAY_FIRST_BYTE_TIMEOUT": "2",
        "GATEWAY_IDLE_TIMEOUT": "2",
        "GATEWAY_BODY_TIMEOUT": "1",
        "GATEWAY_SEND_TIMEOUT": "2",
        "GATEWAY_LOG_FILE": str(folder / "log"),
    }
    process = Process(folder, variables)
    await process.start()
    try:
        await answers(f"{process.url}/readyz")
        await asyncio.sleep(1 if workers > 1 else 0)  # those that serve later than the first are looked at, too
        yield Running(process, folder)
    finally:
        await process.__aexit__()


async def answers(url: str) -> None:
    """Wait until somebody does, at `url`."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def load(running: Running, tally: Tally, clients: int, seconds: float) -> None:
    """Let `clients` ask for so long, and tell how it goes."""
    until = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(running.url, connector=connector, timeout=timeout) as session:
        asking = [asyncio.create_task(go_on_asking(session, tally, number, until)) for number in range(clients)]
        while any(not task.done() for task in asking):
            await asyncio.wait(asking, timeout=max(1.0, min(5.0, seconds / 4)))
            left = max(0.0, until - time.monotonic())
            memory = sum(map(_memory, running.pids)) / MIB
            print(f"  {left:4.0f} s left, {tally.line()}, {memory:.0f} MiB", file=sys.stderr)
        await asyncio.gather(*asking)


# What is looked at


@dataclass(frozen=True)
class Look:
    """What a gateway takes, its processes together."""

    processes: int
    memory: int
    descriptors: int
    tasks: int
    blocks: int
    served: int
    called: int

    def is_more_than(self, other: "Look") -> bool:
        """In what is counted exactly."""
        return any(getattr(self, name) > getattr(other, name) for name in EXACT)


EXACT = {"processes": "processes", "descriptors": "open descriptors", "tasks": "asyncio tasks"} | {
    "served": "exchanges open",
    "called": "requests the upstream still answers",
}
BLOCKS = "Python's blocks of memory"


async def settled(running: Running, upstream: str, as_before: Look | None = None) -> Look:
    """How it is when nothing has changed any more, or when it is as before: at most after half a minute."""
    until, latest = time.monotonic() + SETTLE_SECONDS, await look(running, upstream)
    while time.monotonic() < until:
        await asyncio.sleep(1)
        earlier, latest = latest, await look(running, upstream)
        is_quiet = not latest.served and not latest.called and not earlier.is_more_than(latest)
        if not latest.is_more_than(as_before) if as_before else is_quiet:
            break
    return latest


async def look(running: Running, upstream: str) -> Look:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{upstream}/mock/open") as response:
            called = (await response.json())["open"] - 1  # this one is answered, too
        async with session.get(f"{running.url}/metrics", headers={"Connection": "close"}) as response:
            figures = await response.text()
    pids = running.pids
    told = [await _told(running.folder, pid) for pid in pids]
    return Look(
        processes=len(pids),
        memory=sum(map(_memory, pids)),
        descriptors=sum(map(_descriptors, pids))
        - _figure(figures, 'gateway_pool_connections{provider="mock",state="idle"}'),
        tasks=sum(tasks for tasks, _ in told),
        blocks=sum(blocks for _, blocks in told),
        served=_figure(figures, "http_server_active_requests") - 1,
        called=max(0, called),
    )


def differences(before: Look, after: Look) -> list[str]:
    """What is not as it was."""
    wrong = [
        f"{words}: {getattr(before, name)} before, {getattr(after, name)} after"
        for name, words in EXACT.items()
        if getattr(after, name) > getattr(before, name)
    ]
    if after.blocks - before.blocks > GROWTH_BLOCKS * before.processes:
        wrong.append(f"{BLOCKS}: {before.blocks} before, {after.blocks} after")
    if after.memory - before.memory > GROWTH_BYTES * before.processes:
        wrong.append(f"memory: {before.memory / MIB:.1f} MiB before, {after.memory / MIB:.1f} MiB after")
    return wrong


def log_complaints(log: Path, tally: Tally) -> list[str]:
    """What the gateway itself found wrong; and whether each request has its line."""
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    wrong = [f"the log: {line['message']}" for line in lines if line["event"] == "log" and line["level"] == "error"]
    exchanges = sum(line["event"] == "exchange" and line["path"].startswith("/provider/") for line in lines)
    if exchanges != tally.asked:
        wrong.append(f"{tally.asked} requests have {exchanges} lines in the log")
    return wrong


def summary(tally: Tally, before: Look, after: Look, wrong: list[str]) -> str:
    """What it was, for people."""
    lines = [f"{'':24}{'asked':>9}{'whole':>9}{'errors':>9}{'left':>9}"]
    lines += [f"{kind:24}{''.join(f'{count:9}' for count in tally.counts(kind))}" for kind in KINDS]
    lines += ["", f"{'':40}{'before':>12}{'after':>12}"]
    lines += [f"{BLOCKS:40}{before.blocks:12}{after.blocks:12}"]
    lines += [f"{'memory, MiB':40}{before.memory / MIB:12.1f}{after.memory / MIB:12.1f}"]
    lines += [f"{words:40}{getattr(before, name):12}{getattr(after, name):12}" for name, words in EXACT.items()]
    lines += ["", *(f"wrong: {what}" for what in wrong[:20])]
    lines += [f"... and {len(wrong) - 20} more"] if len(wrong) > 20 else []
    return "\n".join([*lines, f"{len(wrong)} things are wrong" if wrong else "all is well"])


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def _told(folder: Path, pid: int) -> tuple[int, int]:
    """What the process says of itself (`inside/sitecustomize.py`): tasks and blocks of memory."""
    told = folder / f"told-{pid}"
    told.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    async with asyncio.timeout(10):
        while not told.exists():
            await asyncio.sleep(0.01)
    tasks, blocks = map(int, told.read_text().split())
    return tasks, blocks


def _figure(figures: str, series: str) -> int:
    return round(sum(float(line.rpartition(" ")[2]) for line in figures.splitlines() if line.startswith(series)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180.0, help="how long (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=1, help="GATEWAY_WORKERS (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=40, help="asking at once (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

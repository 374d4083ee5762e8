"""Measure the gateway beside nginx, in alternation, and print one table of ratios.

A third subject is the gateway's own relay without any feature, by which it is told what all of them cost together.
Each round asks all for the same, and gives a ratio; the table has the medians over all rounds. CPU time is what the
kernel says that all threads of the process ran (/proc/PID/task/*/schedstat): waiting is no part of it, so a slow load
generator makes a run longer and no figure wrong.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop
from load import Client, Streams, Upstream, close, connect, latency, requests, streams_of
from scrapes import PROVIDERS, fill, lag
from subjects import KEY, NotStarted, Subject, apart, bare_relay, gateway, plain_nginx

CONNECTIONS = 16
REQUESTS = 4000
ONE_BY_ONE_SHARE = 10  # of the requests, one in so many
STREAM_CONNECTIONS = 8
STREAMS_SHARE = 125
HELD = 300
SCRAPED_SECONDS = 2.0


@dataclass
class Measured:
    """Figures of one subject by what was measured, one for each round."""

    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, figure: float) -> None:
        self.figures.setdefault(what, []).append(figure)

    def median(self, what: str) -> float:
        return statistics.median(self.figures[what])


Tell = Callable[[str], None]

CPU_REQUEST, RATE = "CPU per request, us", "requests per second on one core"
FEATURES = "of which all features, us"
CPU_EVENT, ADDED = "CPU per event of a stream, us", "added median latency, us"
MEMORY, START = "memory per open stream, KiB", "start to first connection, s"
LAG, LAG_SCRAPED = "event loop's lag, up to, ms", "the same while scraped, up to, ms"


async def bench(rounds: int, count: int, tell: Tell) -> dict[str, Measured]:
    """Measure both, in alternation; then the gateway while it is scraped."""
    streams = Streams()
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(streams), "127.0.0.1", 0, backlog=4096)
    upstream = server.sockets[0].getsockname()[1]
    try:
        with tempfile.TemporaryDirectory() as folder:
            measured = await beside_nginx(streams, Path(folder), upstream, rounds, count, tell)
            await while_scraped(streams, Path(folder), upstream, rounds, measured["gateway"], tell)
            return measured
    finally:
        server.close()


async def beside_nginx(
    streams: Streams, folder: Path, upstream: int, rounds: int, count: int, tell: Tell
) -> dict[str, Measured]:
    subjects = [
        await plain_nginx(folder, upstream),
        await gateway(folder, upstream),
        await bare_relay(folder, upstream),
    ]
    try:
        apart(subjects)
        direct = await connect(streams, upstream, "/v1/chat/completions", KEY)
        measured = {subject.name: Measured() for subject in subjects}
        for subject in subjects:
            measured[subject.name].add(START, subject.started_in)
            await warm_up(streams, subject, count // 4)
        for number in range(rounds):
            for subject in subjects:
                tell(f"round {number + 1} of {rounds}: {subject.name}")
                await one_round(streams, subject, direct, count, measured[subject.name])
        for subject in subjects:
            tell(f"{HELD} open streams: {subject.name}")
            measured[subject.name].add(MEMORY, await memory_of_streams(streams, subject))
        return measured
    finally:
        for subject in subjects:
            await subject.stop()


async def while_scraped(
    streams: Streams, folder: Path, upstream: int, rounds: int, measured: Measured, tell: Tell
) -> None:
    """The gateway alone, with as many providers as a metric may have series."""
    tell(f"{PROVIDERS} series in each metric")
    subject = await gateway(folder, upstream, **providers(upstream))
    try:
        apart([subject])
        await fill(streams, subject)
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}: scraped")
            for what, scraped in ((LAG, False), (LAG_SCRAPED, True)):
                measured.add(what, await lag(streams, subject, SCRAPED_SECONDS, scraped=scraped))
    finally:
        await subject.stop()


def providers(upstream: int) -> dict[str, str]:
    """Settings of so many providers that metrics have all the series they may have."""
    return {f"GATEWAY_PROVIDER_P{n}_BASE_URL": f"http://127.0.0.1:{upstream}" for n in range(PROVIDERS)}


async def warm_up(streams: Streams, subject: Subject, count: int) -> None:
    clients = [await connect(streams, subject.port, subject.path, KEY) for _ in range(CONNECTIONS)]
    await requests(clients, count)
    await streams_of(clients, 1)
    close(clients)


async def one_round(streams: Streams, subject: Subject, direct: Client, count: int, measured: Measured) -> None:
    clients = [await connect(streams, subject.port, subject.path, KEY) for _ in range(CONNECTIONS)]
    before = subject.cpu()
    await requests(clients, count)
    each = (subject.cpu() - before) / count
    measured.add(CPU_REQUEST, each)
    measured.add(RATE, 1e6 / each)

    before = subject.cpu()
    events = await streams_of(clients[:STREAM_CONNECTIONS], count // STREAM_CONNECTIONS // STREAMS_SHARE or 1)
    measured.add(CPU_EVENT, (subject.cpu() - before) / events)

    one_by_one = count // ONE_BY_ONE_SHARE
    through = await latency(clients[0], one_by_one)
    measured.add(ADDED, through - await latency(direct, one_by_one))
    close(clients)


async def memory_of_streams(streams: Streams, subject: Subject) -> float:
    before = subject.memory()
    clients = [await connect(streams, subject.port, subject.path, KEY) for _ in range(HELD)]
    await asyncio.gather(*(client.ask(stream=True, hold_at=2) for client in clients))
    after = subject.memory()
    close(clients)
    return (after - before) / HELD


def table(measured: dict[str, Measured], markdown: bool) -> str:
    """One row for each thing that was measured."""
    nginx, ours, bare = measured["nginx"], measured["gateway"], measured["bare"]
    rows = [("", "nginx", "gateway", "ratio")]
    for what in (CPU_REQUEST, RATE, CPU_EVENT, ADDED, MEMORY, START):
        pairs = [b / a for a, b in zip(nginx.figures[what], ours.figures[what], strict=True)]
        rows.append((what, shown(nginx.median(what)), shown(ours.median(what)), f"{statistics.median(pairs):.2f}"))
    pairs = [b - a for a, b in zip(bare.figures[CPU_REQUEST], ours.figures[CPU_REQUEST], strict=True)]
    rows.insert(2, (FEATURES, "", shown(statistics.median(pairs)), ""))
    rows += [(what, "", shown(ours.median(what)), "") for what in (LAG, LAG_SCRAPED)]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|---|--:|--:|--:|", *lines[1:]])
    return "\n".join(f"{name:34}{a:>12}{b:>12}{ratio:>9}" for name, a, b, ratio in rows)


def shown(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 1 else f"{figure:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often both are asked (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="in each round (default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    asked = parser.parse_args()
    began = time.monotonic()
    tell: Tell = partial(print, file=sys.stderr, flush=True)
    try:
        measured = uvloop.run(bench(asked.rounds, asked.requests, tell))
    except NotStarted as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    print(table(measured, asked.markdown))
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure how cost, memory and delay grow, and write a page of tables and plots.

Where it can be, a point is a ratio: to nginx, or to the first point of its own line. Both are running and are asked for
the same in turn, after a round that does not count. Medians over all rounds.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import uvloop
from growth import Ground, bodies, configured, events, open_streams, two_workers
from load import Streams, Upstream
from plot import Chart
from subjects import ROOT

STREAMS = (500, 2_000, 10_000)
SECONDS, ROUNDS = 1.0, 3
ENOUGH_DESCRIPTORS = 65_536

HEAD = """\
# Scale

How cost, memory and delay grow with what the gateway has to carry. `scripts/scale` wrote this page: {rounds} rounds,
the gateway with everything switched on (keys, log, metrics, usage, spans), nginx with one worker that only relays, each
on one core and the load on another. A ratio is the median over the rounds; below a tenth nothing is established. Memory
and delay are absolute, one measurement each.
"""


async def measured(asked: argparse.Namespace, tell: Callable[[str], None]) -> list[Chart]:
    """Every chart, in the order of the page."""
    sections: Sequence[Callable[[Ground], Awaitable[list[Chart]]]] = (
        two_workers,
        bodies,
        events,
        configured,
        partial(open_streams, counts=asked.streams),
    )
    streams = Streams()
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(streams), "127.0.0.1", 0, backlog=4096)
    upstream = server.sockets[0].getsockname()[1]
    charts: list[Chart] = []
    try:
        for section in sections:
            with tempfile.TemporaryDirectory() as folder:
                async with AsyncExitStack() as stack:
                    charts += await section(
                        Ground(streams, Path(folder), upstream, asked.rounds, asked.seconds, asked.points, stack, tell)
                    )
    finally:
        server.close()
    return charts


def page(charts: Sequence[Chart], rounds: int) -> str:
    return "\n".join([HEAD.format(rounds=rounds), *(chart.section() for chart in charts)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/scale", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is asked (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load for a figure (default: %(default)s)")
    parser.add_argument("--points", type=int, default=10, help="of each line, from the least (default: all)")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="that are open at once")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="where the page goes (default: docs)")
    asked = parser.parse_args()
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {what}", file=sys.stderr, flush=True)

    with suppress(ValueError, OSError):  # who may not have more says so on the page
        resource.setrlimit(resource.RLIMIT_NOFILE, (ENOUGH_DESCRIPTORS, ENOUGH_DESCRIPTORS))
    charts = uvloop.run(measured(asked, tell))
    asked.to.mkdir(parents=True, exist_ok=True)
    text = page(charts, asked.rounds)
    (asked.to / "scale.md").write_text(text, encoding="utf-8")
    for chart in charts:
        if chart.lines:
            (asked.to / f"{chart.file}.svg").write_text(chart.plot(), encoding="utf-8")
    print(text)
    tell(f"written to {asked.to}")
    for chart in charts:
        for remark in chart.remarks:
            tell(f"{chart.title}: {remark}")
    return 0 if all(chart.lines for chart in charts) else 1


if __name__ == "__main__":
    sys.exit(main())

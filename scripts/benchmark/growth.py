"""What grows, and what of it is measured: each section gives one chart or two."""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from load import Client, Streams, close, connect
from paced import PacedUpstream, paced_upstream
from plot import Chart, Points, short
from subjects import KEY, ROOT, NotStarted, Subject, apart, gateway, plain_nginx

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
EVENTS = (10, 100, 1_000, 10_000)
KEYS = (10, 100, 1_000, 10_000, 100_000)
PROVIDERS = (1, 10, 100, 500)
PROJECTS = (1, 10, 100)
CONNECTIONS = 8
AT_ONCE = 200  # streams that are being opened
DESCRIPTORS = 200  # that a subject needs beside two for each stream

PROJECT_BODY = b'{"text":"Why is the sky blue?"}'

Ask = Callable[[Subject], Awaitable[float]]


@dataclass(frozen=True)
class Ground:
    """Where a section measures, with so many points to a line; what it starts ends with `stack`."""

    streams: Streams
    folder: Path
    upstream: int
    rounds: int
    seconds: float
    points: int
    stack: AsyncExitStack
    tell: Callable[[str], None]

    async def nginx(self) -> Subject:
        return self._kept(await plain_nginx(self._place(), self.upstream))

    async def gateway(self, **more: str) -> Subject:
        return self._kept(await gateway(self._place(), self.upstream, **more))

    def _place(self) -> Path:
        place = self.folder / str(len(list(self.folder.iterdir())))
        place.mkdir()
        return place

    def _kept(self, subject: Subject) -> Subject:
        self.stack.push_async_callback(subject.stop)
        return subject

    async def ratios(self, of: Sequence[Subject], ask: Ask) -> list[float]:
        """What is asked of each in turn, divided by what the first gave in the same round: medians."""
        _, *rounds = [[await ask(subject) for subject in of] for _ in range(self.rounds + 1)]
        return [statistics.median(figure / first for first, figure in each) for each in _paired(rounds)]

    async def cost(self, subject: Subject, path: str = "", body: bytes = b"", **asked: int) -> float:
        """Microseconds of CPU for a request."""
        clients = await self.clients(subject, path, body)
        await asyncio.gather(*(client.ask(**asked) for client in clients))  # the first of a connection costs more
        before, until = subject.cpu(), time.monotonic() + self.seconds
        counts = await asyncio.gather(*(_ask_until(client, until, asked) for client in clients))
        spent = subject.cpu() - before
        close(clients)
        return spent / sum(counts)

    async def clients(self, subject: Subject, path: str = "", body: bytes = b"") -> list[Client]:
        return [await connect(self.streams, subject.port, path or subject.path, KEY, body) for _ in range(CONNECTIONS)]


NO_ROOM = "The load takes as much as a worker: with fewer than four cores a second one gains nothing"


async def two_workers(ground: Ground) -> list[Chart]:
    """Not pinned: two workers and the load share the cores there are."""
    chart = Chart("scale-workers", "One worker and two", "workers", "times one worker")
    ground.tell("workers: 1")
    subjects = [await ground.gateway()]
    try:
        ground.tell("workers: 2")
        subjects.append(await ground.gateway(GATEWAY_WORKERS="2"))
    except NotStarted as refused:
        chart.remarks.append(f"Not measured: {str(refused).splitlines()[-1]}")
        return [chart]
    for name, ask in (("requests a second", partial(_rate, ground)), ("CPU per request", ground.cost)):
        ground.tell(f"workers: {name}")
        chart.lines[name] = list(zip((1.0, 2.0), await ground.ratios(subjects, ask), strict=True))
    if len(os.sched_getaffinity(0)) < 4:
        chart.remarks.append(NO_ROOM)
    return [chart]


async def bodies(ground: Ground) -> list[Chart]:
    chart = Chart("scale-bodies", "Bodies", "bytes of text", "CPU per request, times nginx")
    subjects = [await ground.nginx(), await ground.gateway()]
    apart(subjects)
    for name, kind in (("in the answer", "answer"), ("in the request", "size")):
        points: Points = []
        for size in SIZES[: ground.points]:
            ground.tell(f"{short(size)} bytes {name}")
            _, ours = await ground.ratios(subjects, partial(ground.cost, **{kind: size}))
            points.append((size, ours))
        chart.lines[name] = points
    return [chart]


async def events(ground: Ground) -> list[Chart]:
    chart = Chart("scale-events", "Events of a stream", "events", "CPU per event, times nginx")
    subjects = [await ground.nginx(), await ground.gateway()]
    apart(subjects)
    usual, points = ground.streams.events, []
    for count in EVENTS[: ground.points]:
        ground.tell(f"{short(count)} events in each stream")
        ground.streams.events = count
        _, ours = await ground.ratios(subjects, partial(_cost_of_event, ground))
        points.append((float(count), ours))
    ground.streams.events = usual
    chart.lines["gateway"] = points
    return [chart]


async def configured(ground: Ground) -> list[Chart]:
    """All gateways of a line run at once; those that are not asked do nothing."""
    chart = Chart("scale-configured", "What is configured", "how many", "CPU per request, times the first")
    for name, counts, variables, path, body in (
        ("keys", KEYS, _keys, "", b""),
        ("providers", PROVIDERS, _providers, "/provider/p0/v1/chat/completions", b""),
        ("projects", PROJECTS, _projects, "/projects/p0/answer", PROJECT_BODY),
    ):
        subjects, counts = [], counts[: ground.points]
        for count in counts:
            ground.tell(f"{name}: {short(count)}")
            subjects.append(await ground.gateway(**variables(ground, count)))
        apart(subjects)
        ground.tell(f"{name}: asking each in turn")
        found = await ground.ratios(subjects, partial(ground.cost, path=path, body=body))
        chart.lines[name] = list(zip(map(float, counts), found, strict=True))
        for subject in subjects:
            await subject.stop()
    return [chart]


async def open_streams(ground: Ground, counts: Sequence[int]) -> list[Chart]:
    memory = Chart("scale-memory", "Memory of open streams", "open streams", "KiB per stream")
    delay = Chart("scale-delay", "Delay of events while streams are open", "open streams", "milliseconds")
    bounds = {"GATEWAY_POOL_SIZE": "20000", "GATEWAY_MAX_CONCURRENT": "20000"}
    may_open = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    upstream = await ground.stack.enter_async_context(paced_upstream())
    ground = replace(ground, upstream=upstream.port)
    for asked in counts[: ground.points]:
        count = min(asked, (may_open - DESCRIPTORS) // 2)
        if count < asked:
            memory.remarks.append(f"{may_open} descriptors, all that a process may have here, are too few for {asked}")
        for name, start in (("nginx", ground.nginx), ("gateway", partial(ground.gateway, **bounds))):
            ground.tell(f"{count} open streams: {name}")
            subject = await start()
            apart([subject])
            kib, late = await _held(ground, subject, upstream, count)
            memory.lines.setdefault(name, []).append((count, kib))
            for what, figure in late.items():
                delay.lines.setdefault(f"{name}, {what}", []).append((count, figure))
            await subject.stop()
    return [memory, delay]


async def _held(
    ground: Ground, subject: Subject, upstream: PacedUpstream, count: int
) -> tuple[float, Mapping[str, float]]:
    """KiB for each of so many streams, and how many milliseconds an event on any of them took."""
    first = await ground.clients(subject)
    await asyncio.gather(*(client.ask() for client in first))  # what is needed once is not the streams' own
    close(first)
    before = subject.memory()
    clients: list[Client] = []
    while len(clients) < count:
        more = [
            await connect(ground.streams, subject.port, subject.path, KEY)
            for _ in range(min(AT_ONCE, count - len(clients)))
        ]
        await asyncio.gather(*(client.ask(stream=True, hold_at=1) for client in more))
        clients += more
    kib = (subject.memory() - before) / count
    await upstream.pace(3 * ground.seconds)
    await asyncio.sleep(0.2)  # for the last ones
    late = sorted(1000 * each for client in clients for each in client.late)
    close(clients)
    return kib, {"median": late[len(late) // 2], "99th of 100": late[len(late) * 99 // 100]}


async def _cost_of_event(ground: Ground, subject: Subject) -> float:
    """Microseconds of CPU for an event; no stream is cut, so a slice may take longer."""
    clients = await ground.clients(subject)
    before, until = subject.cpu(), time.monotonic() + ground.seconds
    counts = await asyncio.gather(*(_ask_until(client, until, {"stream": True}) for client in clients))
    spent = subject.cpu() - before
    close(clients)
    return spent / (sum(counts) * ground.streams.events)


async def _rate(ground: Ground, subject: Subject) -> float:
    """Requests a second."""
    clients = await ground.clients(subject)
    began = time.monotonic()
    counts = await asyncio.gather(*(_ask_until(client, began + ground.seconds, {}) for client in clients))
    close(clients)
    return sum(counts) / (time.monotonic() - began)


async def _ask_until(client: Client, until: float, asked: Mapping[str, Any]) -> int:
    """At least once."""
    count = 0
    while not count or time.monotonic() < until:
        await client.ask(**asked)
        count += 1
    return count


def _paired(rounds: list[list[float]]) -> Iterator[list[tuple[float, float]]]:
    """For each subject, what the first and what it itself gave in each round."""
    for place in range(len(rounds[0])):
        yield [(figures[0], figures[place]) for figures in rounds]


def _keys(ground: Ground, count: int) -> dict[str, str]:
    """So many keys in a file, ours the last."""
    file = ground.folder / f"keys-{count}"
    others = (f"k{n}=sha256:{sha256(b'gw_%d' % n).hexdigest()}" for n in range(count - 1))
    file.write_text("\n".join([*others, f"bench={KEY}"]))
    return {"GATEWAY_API_KEYS": "", "GATEWAY_API_KEYS_FILE": str(file)}


def _providers(ground: Ground, count: int) -> dict[str, str]:
    return {f"GATEWAY_PROVIDER_P{n}_BASE_URL": f"http://127.0.0.1:{ground.upstream}" for n in range(count)}


def _projects(ground: Ground, count: int) -> dict[str, str]:
    """So many projects, as an installed distribution would bring them."""
    names = [f"p{n}" for n in range(count)]
    place = ground.folder / f"projects-{count}"
    about = place / "many-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: many\nVersion: 1\n")
    points = "\n".join(f"{name} = many_projects:{name}" for name in names)
    (about / "entry_points.txt").write_text(f"[gateway.projects]\n{points}\n")
    return {
        "PYTHONPATH": f"{ROOT}:{Path(__file__).parent}:{place}",
        "GATEWAY_PROJECTS": ",".join(names),
        **{f"GATEWAY_PROJECT_{name.upper()}_ROLE_WRITER": "openai/bench" for name in names},
    }

"""Brings encoded spans to Phoenix: a bounded box, one request at a time, and no more patience than was agreed.

Rule 1: whoever hands spans in never waits; what does not fit is dropped, the newest first, and counted.
Rule 2: after a failure nothing is sent for a pause that doubles from one failure to the next: the circuit is open and
the box fills. What was offered ATTEMPTS times in vain, or refused for good, is given up and counted.
Rule 3: at exit there is one last attempt, within STOP_SECONDS, whatever Phoenix does.

aiohttp's client sends, on the event loop: one request for hundreds of spans, within a total time that also ends the
silence of a name server and an answer that trickles. The exporter that `phoenix.otel` sets up posts the same, but it
blocks a thread, repeats on terms of its own, cannot be stopped within a bound, and takes 0.6 s to import.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self
from uuid import uuid4

import aiohttp

from gateway import __version__
from gateway.settings.tracing import TracingSettings
from gateway.telemetry import names, otlp
from gateway.telemetry.daemon_resolver import DaemonResolver

SCOPE = "gateway"
BATCH_BYTES = 1 << 20
WRITE_BYTES = 1 << 16  # at a time: memory for megabytes comes from the system anew each time, page by page
LINGER_SECONDS = 0.5  # for spans to share a request
ATTEMPTS = 3
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STOP_SECONDS = 1.5
CLOSE_SECONDS = 0.2
CONTENT_TYPE = "application/x-protobuf"

_TRY_AGAIN = frozenset({429, 502, 503, 504})  # the list of the OTLP specification

logger = logging.getLogger("gateway")


@dataclass(slots=True)
class SpanCounts:
    """What became of spans: `sent` were taken, `failed` were offered in vain, `dropped` were never offered."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


class Batch:
    """Spans that are sent together; `pieces` by Phoenix project, each as `otlp.scope_spans` wrote it."""

    __slots__ = ("pieces", "size", "spans")

    def __init__(self) -> None:
        self.pieces: dict[str, list[bytes]] = {}
        self.size = 0  # bytes
        self.spans = 0


class Answer(NamedTuple):
    """How a request ended: `why` it failed in a word or two, "" if it did not, and whether to repeat it."""

    why: str = ""
    again: bool = False
    retry_after: float = 0.0


class SpanExport:
    """Sends from start-up to clean-up. An async context manager. `room` is for so many bytes more."""

    def __init__(self, settings: TracingSettings, counts: SpanCounts) -> None:
        if settings.endpoint is None:
            raise ValueError("there is no collector to send spans to")
        self._endpoint = settings.endpoint
        self._settings = settings
        self._counts = counts
        self.room = settings.queue_bytes
        self._box: deque[Batch] = deque()
        self._open: Batch | None = None  # the last one in the box
        self._failures = 0
        self._resource = {
            **settings.resource,
            names.SERVICE_NAME: settings.service,
            names.SERVICE_VERSION: __version__,
            names.SERVICE_INSTANCE: settings.resource.get(names.SERVICE_INSTANCE) or str(uuid4()),
            names.SDK_LANGUAGE: "python",
            names.SDK_NAME: __name__,
            names.SDK_VERSION: __version__,
        }
        self._something = asyncio.Event()
        self._enough = asyncio.Event()  # for a whole batch, or to stop for
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def offer(self, project: str, spans: int, data: bytes) -> None:
        """Take so many spans for a Phoenix project, or drop them if there is no room."""
        if self.room <= 0:
            self._counts.dropped += spans
            return
        batch, size = self._open, len(data)
        if batch is None or batch.size + size > BATCH_BYTES:
            batch = self._open = Batch()
            self._box.append(batch)
            self._something.set()
        pieces = batch.pieces.get(project)
        if pieces is None:
            pieces = batch.pieces[project] = []
        pieces.append(data)
        batch.size += size
        batch.spans += spans
        self.room -= size
        if batch.size >= BATCH_BYTES or len(self._box) > 1:
            self._enough.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_forever(), name="span-export")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._something.set()
        self._enough.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        self._counts.dropped += sum(batch.spans for batch in self._box)
        self._box.clear()

    async def _send_forever(self) -> None:
        async with self._session() as session:
            while not self._stopping.is_set() or self._box:
                await self._something.wait()
                await self._gather()
                if self._box:
                    await self._deliver(session, self._take())
                if not self._box:
                    self._something.clear()

    async def _gather(self) -> None:
        """Wait until there is a whole batch, or the first spans have waited long enough."""
        has_whole = len(self._box) > 1 or any(batch.size >= BATCH_BYTES for batch in self._box)
        if has_whole or self._stopping.is_set():
            return
        self._enough.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._enough.wait()

    def _take(self) -> Batch:
        batch = self._box.popleft()
        self.room += batch.size
        if batch is self._open:
            self._open = None
        return batch

    async def _deliver(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        pieces = self._request(batch)
        answer = Answer("not sent", again=True)
        try:
            for _ in range(ATTEMPTS):
                if self._failures:
                    await self._pause(max(answer.retry_after, _pause_after(self._failures)))
                answer = await self._post(session, pieces)
                self._learn(answer)
                if not answer.again or self._stopping.is_set():
                    break
        finally:
            if answer.why:
                self._counts.failed += batch.spans
            else:
                self._counts.sent += batch.spans

    async def _post(self, session: aiohttp.ClientSession, pieces: Sequence[bytes]) -> Answer:
        length = {"content-length": str(sum(map(len, pieces)))}
        try:
            # The head says it all: what follows, an empty message mostly, is not waited for.
            async with session.post(
                self._endpoint, data=_joined(pieces), headers=length, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return Answer()
                return Answer(f"status {response.status}", response.status in _TRY_AGAIN, _retry_after(response))
        except Exception as error:  # whatever it is, it costs an attempt and not the export
            return Answer(type(error).__name__, again=True)

    def _learn(self, answer: Answer) -> None:
        """Open or close the circuit; the log tells when it changes, not each time."""
        if answer.why:
            self._failures += 1
            if self._failures == 1:
                logger.warning("Phoenix does not take spans (%s); requests are served all the same", answer.why)
        elif self._failures:
            self._failures = 0
            logger.info("Phoenix takes spans again")

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the moment of stopping."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _request(self, batch: Batch) -> list[bytes]:
        """An OTLP request, in pieces: a resource for each Phoenix project, and its spans."""
        pieces: list[bytes] = []
        for project, spans in batch.pieces.items():
            resource = {**self._resource, names.PHOENIX_PROJECT: project}
            pieces += otlp.resource_spans(resource, SCOPE, __version__, spans)
        return pieces

    def _session(self) -> aiohttp.ClientSession:
        fields = {name: value.reveal() for name, value in self._settings.fields.items()}
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, resolver=DaemonResolver()),
            timeout=aiohttp.ClientTimeout(total=self._settings.export_timeout),
            headers={**fields, "content-type": CONTENT_TYPE, "user-agent": f"llm-gateway/{__version__}"},
            skip_auto_headers=("accept-encoding",),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )


async def _joined(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, about WRITE_BYTES of them at a time, or what one piece has."""
    together = len(pieces) * WRITE_BYTES // (sum(map(len, pieces)) or 1) or 1
    for first in range(0, len(pieces), together):
        yield b"".join(pieces[first : first + together])


def _pause_after(failures: int) -> float:
    """Doubling, and never quite the same: several workers must not knock at once."""
    pause = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE)
    return pause * random.uniform(0.8, 1.2)  # noqa: S311


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Whole seconds that a refusal asks for, within reason."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_PAUSE) if asked.isascii() and asked.isdigit() else 0.0

"""View: the spans of each sampled exchange, for Phoenix.

The spans of an exchange are written as the views go over a batch of them, six microseconds for two spans: the record is
still at hand then, and nobody waits for it any more. Where content is captured an exchange may take milliseconds: the
view appends it to a queue, and encoding goes on behind it, on the event loop, in slices of a fraction of a millisecond
with pauses between them. `span_export` sends.

Measured beside a stream of small requests: a thread that encodes in bursts takes the interpreter's lock for its 5 ms
again and again (a hundredth of the requests waited 3 ms longer, a thousandth 10 ms); a process of its own costs as much
to feed as the encoding itself; slices showed no difference to no encoding at all, but what has waited for them has to
be fetched into the processor's caches again, which costs as much as the encoding.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

from gateway.settings.tracing import Capture, TracingSettings
from gateway.telemetry.content import ContentRules
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.span_export import SpanCounts, SpanExport
from gateway.telemetry.span_tree import SpanTree
from gateway.telemetry.trace_context import Sampler

MOST_WAITING = 4096  # exchanges
GATHER_SECONDS = 0.02
SLICE_SECONDS, GAP_SECONDS = 0.000_25, 0.001_5
LAST_SLICE_SECONDS = 0.2  # at exit

logger = logging.getLogger("gateway")


def sampler_of(settings: TracingSettings) -> Sampler:
    """Without a collector no trace begins here; those of clients are passed on as they are."""
    return Sampler(settings.sample_ratio if settings.endpoint is not None else 0.0)


class Tracing:
    """Give `view` to the recorder; an async context manager, left within 2 s. `counts` may be read at any time.

    `vendors` tells the `llm.provider` of a configured provider where that is not its name.
    """

    def __init__(self, settings: TracingSettings, vendors: Mapping[str, str] | None = None) -> None:
        self.counts = SpanCounts()
        self._settings = settings
        self._project = settings.phoenix_project(None)
        self._without_key = settings.without_key
        self._tree = SpanTree(ContentRules(settings.content), vendors or {})
        self._export = SpanExport(settings, self.counts)
        self._waiting: deque[Exchange] = deque()
        self._weight = 0
        self._weighs = settings.content.capture is not Capture.OFF
        self._wake = asyncio.Event()
        self._stopping = False
        self._told = False

    def view(self, exchange: Exchange) -> None:
        """Take a finished exchange, or count its spans as dropped where too much is waiting already."""
        if not exchange.trace.sampled or (exchange.client is None and not self._without_key):
            return
        if self._stopping or self._export.room <= 0 or (self._weighs and self._too_much_waits()):
            self.counts.dropped += _spans_of(exchange)
        elif self._weighs:
            self._weight += _weight_of(exchange)
            self._waiting.append(exchange)
            self._wake.set()
        else:
            self._encode(exchange)

    async def __aenter__(self) -> Self:
        await self._export.__aenter__()
        self._task = asyncio.create_task(self._encode_forever(), name="span-encoding")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._task.cancel()
        await asyncio.wait({self._task})
        self._encode_for(LAST_SLICE_SECONDS)
        self.counts.dropped += sum(map(_spans_of, self._waiting))
        self._waiting.clear()
        await self._export.__aexit__(kind, error, trace)

    async def _encode_forever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._wake.clear()
            while self._waiting:
                self._encode_for(SLICE_SECONDS)
                await asyncio.sleep(GAP_SECONDS)

    def _encode_for(self, seconds: float) -> None:
        until = perf_counter() + seconds
        while self._waiting and perf_counter() < until:
            exchange = self._waiting.popleft()
            self._weight -= _weight_of(exchange)
            self._encode(exchange)

    def _encode(self, exchange: Exchange) -> None:
        try:
            data = self._tree.encoded(exchange)
        except Exception as error:  # a bug of ours: it costs these spans, and neither the others nor the process
            self.counts.failed += _spans_of(exchange)
            if not self._told:
                self._told = True
                logger.error(
                    "spans of an exchange could not be written (%s); further ones are only counted", type(error)
                )
            return
        project = exchange.project
        shown_in = self._project if project is None else self._settings.phoenix_project(project)
        self._export.offer(shown_in, _spans_of(exchange), data)

    def _too_much_waits(self) -> bool:
        return len(self._waiting) >= MOST_WAITING or self._weight >= self._settings.queue_bytes


def _spans_of(exchange: Exchange) -> int:
    return 1 + (exchange.workflow_span_id is not None) + len(exchange.calls)


def _weight_of(exchange: Exchange) -> int:
    """About the bytes that a record with messages holds on to."""
    return exchange.bytes_in + sum([call.bytes_sent + call.bytes_received for call in exchange.calls])

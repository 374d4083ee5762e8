"""A workflow under way, as frames.

The workflow runs in one task of its own from its first line to its last, so that its timeouts and groups hold, while
whoever takes the frames may wait, ping or leave. Leaving stops the workflow, and with it every call it has open.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any

import msgspec
from aiohttp import ClientError
from opentelemetry import context, trace

from gateway.errors import DeadlineExceeded, GatewayError, UpstreamTimeout, UpstreamUnreachable
from gateway.projects.project import Endpoint
from gateway.schema.frames import CallUsage, DeltaFrame, DoneFrame, Frame, ReplyFrame, StepFrame, UsageFrame
from gateway.telemetry.exchange import Exchange, Outcome
from gateway.upstream.chat import Chat, Tell

AHEAD = 8
"""Deltas that may wait to be taken; after that the workflow waits, and so do its providers."""
STOP_SECONDS = 2.0
"""What a workflow gets to stop in; a well-behaved one needs no time at all."""

logger = logging.getLogger("gateway")

OpenChat = Callable[[Exchange, Tell], Chat]


class Run:
    """One request's run of a workflow. An async context manager, and an iterator over the frames of the answer.

    The frames end with a ReplyFrame, a UsageFrame and a DoneFrame. Otherwise the iteration raises what ended it: a
    GatewayError, DeadlineExceeded among them, or an exception that nobody foresaw.
    """

    def __init__(self, endpoint: Endpoint, open_chat: OpenChat, exchange: Exchange, asked: Any) -> None:
        self._endpoint = endpoint
        self._open_chat = open_chat
        self._exchange = exchange
        self._asked = asked
        self._frames: asyncio.Queue[Frame | Exception] = asyncio.Queue()
        self._room = asyncio.Semaphore(AHEAD)
        self._task: asyncio.Task[None] | None = None
        self.over = False

    async def __aenter__(self) -> "Run":
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        if not self._task.done():
            logger.error("%s does not stop when it is told to", self._endpoint.workflow.__qualname__)

    async def next(self, patience: float | None = None) -> Frame | None:
        """The next frame; None if there is none for `patience` seconds. Raises what ended the workflow."""
        if self._frames.empty() and patience is not None:
            try:
                async with asyncio.timeout(patience):
                    frame = await self._frames.get()
            except TimeoutError:
                return None
        else:
            frame = await self._frames.get()
        if isinstance(frame, Exception):
            raise frame
        if isinstance(frame, DeltaFrame):
            self._room.release()
        self.over = isinstance(frame, DoneFrame)
        return frame

    async def opening(self, patience: float | None = None, *, own_words: bool = False) -> list[Frame]:
        """The frames up to the first that says something; fewer if that takes longer than `patience` seconds.

        An answer's status stands when its first frame is sent. So a workflow that fails before it has said anything
        fails here, and its steps by themselves are not yet an answer; nor, where only its `own_words` are shown, is
        what others say.
        """
        opening: list[Frame] = []
        try:
            async with asyncio.timeout(patience):
                while not opening or _is_aside(opening[-1], own_words):
                    opening.append(await self.__anext__())
        except TimeoutError:
            pass
        return opening

    async def reply(self) -> Any:
        """The reply, whatever is said on the way."""
        while not isinstance(frame := await self.next(), ReplyFrame):
            pass
        return frame.reply

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        frame = None if self.over else await self.next()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def _work(self) -> None:
        try:
            _enter_trace(self._exchange)
            reply = await self._reply()
            if self._exchange.content is not None:
                self._exchange.content.output_value = msgspec.json.encode(reply).decode()
            for frame in (ReplyFrame(reply), _usage(self._exchange), DoneFrame()):
                self._frames.put_nowait(frame)
        except Exception as error:
            self._frames.put_nowait(_as_told(error))

    async def _reply(self) -> Any:
        deadline = asyncio.timeout(self._endpoint.deadline)
        try:
            async with deadline, self._open_chat(self._exchange, self._frames.put_nowait) as chat:
                async with aclosing(self._endpoint.workflow(chat, self._asked)) as items:
                    async for item in items:
                        if isinstance(item, self._endpoint.operation.response):
                            return item
                        await self._say(item)
        except TimeoutError as error:
            if deadline.expired():
                raise self._too_late() from error
            raise
        raise RuntimeError(f"{self._endpoint.workflow.__qualname__} ended without its reply")

    def _too_late(self) -> DeadlineExceeded:
        late = DeadlineExceeded(f"The workflow did not end within its {self._endpoint.deadline:g} seconds.")
        for call in self._exchange.calls:
            if call.outcome is Outcome.CLIENT_GONE:  # stopped just now, and by no client
                call.failed(late)
        return late

    async def _say(self, item: Any) -> None:
        match item:
            case str():
                delta = DeltaFrame(item)
            case DeltaFrame():
                delta = item
            case _:
                kind, workflow = type(item).__name__, self._endpoint.workflow.__qualname__
                raise TypeError(f"{workflow} yielded {kind}; a workflow yields str, Delta and, last, its reply")
        if delta.text:
            await self._room.acquire()
            self._frames.put_nowait(delta)


def _is_aside(frame: Frame, own_words: bool) -> bool:
    """Whether the answer has not begun with `frame`."""
    return isinstance(frame, StepFrame) or (own_words and isinstance(frame, DeltaFrame) and bool(frame.source))


def _enter_trace(exchange: Exchange) -> None:
    """Make the workflow's span the current one for OpenTelemetry, for libraries that a workflow may use."""
    span = trace.SpanContext(
        trace_id=int(exchange.trace.trace_id, 16),
        span_id=int(exchange.workflow_span_id or exchange.trace.span_id, 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(exchange.trace.flags),
    )
    context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))


def _as_told(error: Exception) -> Exception:
    """`error`, or our word for what a workflow's own HTTP calls fail at."""
    match error:
        case GatewayError():
            return error
        case TimeoutError():
            told: GatewayError = UpstreamTimeout("A call of this workflow took too long.")
        case ClientError() | ConnectionError():
            told = UpstreamUnreachable("A call of this workflow failed.")
        case _:
            return error
    told.__cause__ = error
    return told


def _usage(exchange: Exchange) -> UsageFrame:
    exchange.learn()
    calls = [
        CallUsage(
            step=call.step or "",
            provider=call.provider,
            model=call.facts.response_model or call.facts.request_model or "",
            seconds=round(((call.ended or call.started) - call.started) / 1e9, 6),
            input_tokens=call.facts.usage.input_tokens if call.facts.usage else None,
            output_tokens=call.facts.usage.output_tokens if call.facts.usage else None,
        )
        for call in exchange.calls
    ]
    return UsageFrame(
        sum(call.input_tokens or 0 for call in calls), sum(call.output_tokens or 0 for call in calls), calls
    )

"""A run gives a workflow's frames as they come, ends in one of a few ways, and stops when it is left."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from opentelemetry import trace

from gateway.errors import DeadlineExceeded, GatewayError, UpstreamTimeout, UpstreamUnreachable
from gateway.projects import Chat, Delta, Endpoint, Operation, running
from gateway.projects.running import AHEAD, Run
from gateway.schema.frames import DeltaFrame, DoneFrame, Frame, ReplyFrame, StepFrame, UsageFrame
from gateway.telemetry.exchange import Content, Exchange, Facts, TraceIds, UpstreamCall, Usage
from gateway.upstream.chat import Tell


class Asked(msgspec.Struct):
    text: str = "hello"


class Said(msgspec.Struct):
    text: str


Workflow = Callable[[Chat, Asked], AsyncGenerator[Any, None]]


@pytest.fixture
def exchange() -> Exchange:
    trace_ids = TraceIds(trace_id="a" * 32, span_id="b" * 16)
    return Exchange("req_1", "POST", "/projects/demo/say", trace_ids, workflow_span_id="c" * 16)


def run(workflow: Workflow, exchange: Exchange, *, deadline: float = 30.0) -> Run:
    def open_chat(exchange: Exchange, tell: Tell) -> Chat:
        chat = Chat(None, exchange, {}, http=no_session, tell=tell)  # type: ignore[arg-type]
        chat.tell = tell  # type: ignore[attr-defined]
        return chat

    operation = Operation("POST", "/say", "Say", request=Asked, response=Said)
    return Run(Endpoint(operation, workflow, deadline), open_chat, exchange, Asked())


def no_session(exchange: Exchange) -> aiohttp.ClientSession:
    raise AssertionError("these workflows call nobody")


async def test_text_comes_first_and_the_reply_last(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str | Delta | Said, None]:
        yield asked.text
        yield ""
        yield Delta("aside", source="other")
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        assert [frame async for frame in frames] == [
            DeltaFrame("hello"),
            DeltaFrame("aside", "other"),
            ReplyFrame(Said("bye")),
            UsageFrame(0, 0, []),
            DoneFrame(),
        ]


async def test_usage_is_the_sum_of_the_calls_that_told_it(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
        for provider, usage in (("openai", Usage(3, 5)), ("mock", None), ("gemini", Usage(2, None))):
            call = UpstreamCall(provider, "POST", "/", "d" * 16, step="points", started=0, ended=2_000_000_000)
            call.facts = Facts(request_model="m", usage=usage)
            exchange.calls.append(call)
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        (usage,) = [frame async for frame in frames if isinstance(frame, UsageFrame)]
    assert (usage.input_tokens, usage.output_tokens) == (5, 5)
    assert [(call.provider, call.input_tokens, call.output_tokens) for call in usage.calls] == [
        ("openai", 3, 5),
        ("mock", None, None),
        ("gemini", 2, None),
    ]
    assert usage.calls[0].seconds == 2.0


async def test_the_reply_is_told_when_the_workflow_has_cleaned_up(exchange: Exchange) -> None:
    cleaned = False

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
        nonlocal cleaned
        try:
            yield Said("bye")
        finally:
            await asyncio.sleep(0)
            cleaned = True

    async with run(workflow, exchange) as frames:
        assert await frames.next() == ReplyFrame(Said("bye"))
        assert cleaned


@pytest.mark.parametrize("says", [5, None, b"bytes", Asked()])
async def test_what_is_neither_text_nor_the_reply_is_a_fault(exchange: Exchange, says: Any) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Any, None]:
        yield says

    async with run(workflow, exchange) as frames:
        with pytest.raises(TypeError, match=f"yielded {type(says).__name__}"):
            await frames.next()


async def test_a_workflow_that_never_replies_is_a_fault(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        yield "well"

    async with run(workflow, exchange) as frames:
        assert await frames.next() == DeltaFrame("well")
        with pytest.raises(RuntimeError, match="ended without its reply"):
            await frames.next()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (UpstreamUnreachable("gone"), UpstreamUnreachable),
        (TimeoutError(), UpstreamTimeout),
        (aiohttp.ServerTimeoutError(), UpstreamTimeout),
        (aiohttp.ClientConnectionError("secret.example refused"), UpstreamUnreachable),
        (ConnectionResetError(), UpstreamUnreachable),
        (ZeroDivisionError(), ZeroDivisionError),
    ],
)
async def test_failures_are_raised_in_our_words_where_we_have_some(
    exchange: Exchange, failure: Exception, told: type[Exception]
) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Any, None]:
        yield "so far"
        raise failure

    async with run(workflow, exchange) as frames:
        await frames.next()
        with pytest.raises(told) as raised:
            await frames.next()
    assert "secret.example" not in str(raised.value)
    assert raised.value is failure or (isinstance(raised.value, GatewayError) and raised.value.__cause__ is failure)


async def test_a_workflow_that_runs_out_of_time_is_ended(exchange: Exchange) -> None:
    ended = asyncio.Event()

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        try:
            yield "begin"
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with run(workflow, exchange, deadline=0.05) as frames:
        await frames.next()
        with pytest.raises(DeadlineExceeded, match=r"0\.05 seconds"):
            await frames.next()
        assert ended.is_set()


async def test_the_deadline_also_ends_a_workflow_that_nobody_listens_to(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        while True:
            yield "and"

    async with run(workflow, exchange, deadline=0.05) as frames:
        with pytest.raises(DeadlineExceeded):
            while True:
                await asyncio.sleep(0.02)
                await frames.next()


async def test_leaving_stops_the_workflow_wherever_it_is(exchange: Exchange) -> None:
    ended = asyncio.Event()

    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        try:
            yield
        finally:
            ended.set()

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        async with connection():
            while True:
                yield "and"

    async with run(workflow, exchange) as frames:
        await frames.next()
        assert not ended.is_set()
    assert ended.is_set()


async def test_a_listener_that_is_cancelled_takes_the_workflow_along(exchange: Exchange) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        yield "never"

    async def listen() -> None:
        async with run(workflow, exchange) as frames:
            await frames.next()

    listener = asyncio.create_task(listen())
    await began.wait()
    listener.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener
    assert ended.is_set()


async def test_a_workflow_waits_for_a_slow_listener(exchange: Exchange) -> None:
    said = 0

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        nonlocal said
        while True:
            said += 1
            yield str(said)

    async with run(workflow, exchange) as frames:
        for taken in range(1, 4):
            assert await frames.next() == DeltaFrame(str(taken))
            for _ in range(50):
                await asyncio.sleep(0)
            assert said <= taken + AHEAD + 1


async def test_the_opening_ends_with_the_first_words_and_has_the_steps_before_them(exchange: Exchange) -> None:
    async def workflow(chat: Any, asked: Asked) -> AsyncGenerator[str | Said, None]:
        chat.tell(StepFrame("points", "started"))
        await asyncio.sleep(0.01)
        chat.tell(StepFrame("points", "finished"))
        yield "first"
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        assert await frames.opening() == [
            StepFrame("points", "started"),
            StepFrame("points", "finished"),
            DeltaFrame("first"),
        ]
        assert isinstance(await frames.next(), ReplyFrame)


async def test_a_workflow_that_fails_before_its_first_words_fails_in_the_opening(exchange: Exchange) -> None:
    async def workflow(chat: Any, asked: Asked) -> AsyncGenerator[str, None]:
        chat.tell(StepFrame("points", "started"))
        raise UpstreamUnreachable
        yield "never"

    async with run(workflow, exchange) as frames:
        with pytest.raises(UpstreamUnreachable):
            await frames.opening(patience=30)


async def test_the_opening_waits_only_so_long(exchange: Exchange) -> None:
    async def workflow(chat: Any, asked: Asked) -> AsyncGenerator[str, None]:
        chat.tell(StepFrame("points", "started"))
        await asyncio.sleep(3600)
        yield "never"

    async with run(workflow, exchange) as frames:
        assert await frames.opening(patience=0.05) == [StepFrame("points", "started")]
        assert await frames.next(patience=0.01) is None


async def test_a_timeout_of_the_workflows_own_may_span_what_it_yields(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[str | Said, None]:
        async with asyncio.timeout(30):
            yield "one"
            await asyncio.sleep(0)
            yield "two"
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        heard: list[Frame] = [frame async for frame in frames]
    assert heard[:2] == [DeltaFrame("one"), DeltaFrame("two")] and heard[-1] == DoneFrame()


async def test_libraries_find_the_workflows_span_as_the_current_one(exchange: Exchange) -> None:
    found: list[trace.SpanContext] = []

    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
        found.append(trace.get_current_span().get_span_context())
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        await frames.next()
    assert found[0].trace_id == int("a" * 32, 16) and found[0].span_id == int("c" * 16, 16)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_workflow_that_will_not_stop_is_left_behind_and_told(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "STOP_SECONDS", 0.05)
    let_go = asyncio.Event()

    async def stubborn(chat: Chat, asked: Asked) -> AsyncGenerator[str, None]:
        yield "begin"
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with caplog.at_level(logging.ERROR, "gateway"):
        async with run(stubborn, exchange) as frames:
            await frames.next()
            await asyncio.sleep(0)  # into its wait
    assert "stubborn does not stop when it is told to" in caplog.text
    let_go.set()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


async def test_the_reply_is_kept_for_traces_where_content_is_wanted(exchange: Exchange) -> None:
    async def workflow(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
        yield Said("bye")

    async with run(workflow, exchange) as frames:
        await frames.reply()
    assert exchange.content is None
    exchange.content = Content(input_value="{}")
    async with run(workflow, exchange) as frames:
        await frames.reply()
    assert exchange.content.output_value == '{"text":"bye"}'

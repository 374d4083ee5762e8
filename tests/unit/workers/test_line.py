"""Two ends of a line: both ask, both answer, and neither waits for one that is gone."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.workers.line import LONGEST, Answers, Line, LineBroken


async def silence(about: str, content: Any) -> Any:
    return None


async def line_over(end: socket.socket, answers: Answers) -> Line:
    return Line(*await asyncio.open_unix_connection(sock=end), answers)


@asynccontextmanager
async def connected(one: Answers = silence, other: Answers = silence) -> AsyncIterator[tuple[Line, Line]]:
    here, there = socket.socketpair()
    lines = await line_over(here, one), await line_over(there, other)
    yield lines
    for line in lines:
        await line.close()


async def test_both_ends_ask_and_are_answered_in_whatever_order() -> None:
    may_go_on = asyncio.Event()

    async def echo(about: str, content: Any) -> Any:
        if content == 0:
            await may_go_on.wait()
        return [about, content]

    async with connected(echo, echo) as (one, other):
        slow = asyncio.create_task(one.ask("a", 0, seconds=5))
        assert await one.ask("b", b"\x00" * 1_000_000, seconds=5) == ["b", b"\x00" * 1_000_000]
        assert await other.ask("c", 2, seconds=5) == ["c", 2]
        may_go_on.set()
        assert await slow == ["a", 0]


async def test_who_gets_no_answer_in_time_is_told_and_the_line_stays() -> None:
    async def late(about: str, content: Any) -> Any:
        if about == "late":
            await asyncio.sleep(0.05)
        return about

    async with connected(other=late) as (one, _):
        with pytest.raises(LineBroken, match="late"):
            await one.ask("late", seconds=0.01)
        assert await one.ask("now", seconds=5) == "now"


async def test_who_waits_for_one_that_hangs_up_is_told_at_once() -> None:
    async def hang(about: str, content: Any) -> Any:
        await asyncio.Event().wait()

    async with connected(other=hang) as (one, other):
        waiting = asyncio.create_task(one.ask("x", seconds=60))
        await asyncio.sleep(0)
        await other.close()
        with pytest.raises(LineBroken):
            await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(one.ended(), 5)
        with pytest.raises(LineBroken):
            await one.ask("y", seconds=60)


async def test_an_answer_that_fails_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(about: str, content: Any) -> Any:
        if about == "fail":
            raise ZeroDivisionError
        return about

    async with connected(other=fail) as (one, _):
        with pytest.raises(LineBroken):
            await one.ask("fail", seconds=0.1)
        assert await one.ask("more", seconds=5) == "more"
    assert "a question between processes (fail) failed" in caplog.text


@pytest.mark.parametrize("nonsense", [b"\x00\x00\x00\x02hi", (LONGEST + 1).to_bytes(4, "big")])
async def test_what_is_no_message_ends_the_line(nonsense: bytes, caplog: pytest.LogCaptureFixture) -> None:
    here, there = socket.socketpair()
    line = await line_over(here, silence)
    there.sendall(nonsense)
    await asyncio.wait_for(line.ended(), 5)
    there.close()
    await line.close()
    assert "carried what is no message" in caplog.text

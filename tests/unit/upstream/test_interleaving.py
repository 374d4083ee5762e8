"""Several streams run at once, and none outlives the block that opened them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.upstream.interleaving import Interleaved


class Source:
    """A stream that says what it is told to, and remembers whether it is open."""

    def __init__(self) -> None:
        self.open = False
        self._said: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    def say(self, *deltas: str | Exception | None) -> "Source":
        for delta in deltas:
            self._said.put_nowait(delta)
        return self

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[AsyncIterator[str]]:
        self.open = True
        try:
            yield self._deltas()
        finally:
            self.open = False

    async def _deltas(self) -> AsyncIterator[str]:
        while (said := await self._said.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said


async def test_deltas_come_as_they_are_said_whoever_says_them() -> None:
    left, right = Source(), Source()
    async with Interleaved({"left": left.stream(), "right": right.stream()}) as deltas:
        heard = []
        for source, said in ((left, "a"), (right, "b"), (left, "c")):
            source.say(said)
            heard.append(await asyncio.wait_for(anext(deltas), 5))
    assert heard == [("left", "a"), ("right", "b"), ("left", "c")]


async def test_it_ends_when_the_last_stream_has_ended() -> None:
    streams = {1: Source().say("a", "b", None).stream(), 2: Source().say(None).stream()}
    async with Interleaved(streams) as deltas:
        assert [delta async for delta in deltas] == [(1, "a"), (1, "b")]


async def test_the_failure_of_one_is_raised_and_stops_the_others() -> None:
    bad, good = Source().say("a", ValueError("broken")), Source()
    with pytest.raises(ValueError, match="broken"):
        async with Interleaved({"bad": bad.stream(), "good": good.stream()}) as deltas:
            async for _ in deltas:
                assert good.open
    assert not good.open and not bad.open


async def test_leaving_the_block_closes_every_stream() -> None:
    sources = [Source().say("a"), Source(), Source()]
    async with Interleaved({n: source.stream() for n, source in enumerate(sources)}) as deltas:
        assert await anext(deltas) == (0, "a")
        assert all(source.open for source in sources)
    assert not any(source.open for source in sources)


async def test_a_reader_that_takes_nothing_makes_the_streams_wait() -> None:
    source = Source().say(*"abcdefghijklmnopqrstuvwxyz", None)
    async with Interleaved({"all": source.stream()}) as deltas:
        assert await anext(deltas) == ("all", "a")
        for _ in range(100):
            await asyncio.sleep(0)
        assert source._said.qsize() > 10  # the rest was not taken
        assert len([delta async for delta in deltas]) == 25


async def test_nothing_to_open_is_nothing_to_say() -> None:
    async with Interleaved({}) as deltas:
        assert [delta async for delta in deltas] == []

"""Pace and faults, as they show on the wire, in every API's streams."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from gateway.mock_upstream import Behaviour, mock_app, serving
from tests.unit.mock_upstream.conftest import Mock

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
STREAMS: Any = {
    "chat": ("/v1/chat/completions", CHAT, "[DONE]", '"content":"'),
    "completions": ("/v1/completions", {"model": "m", "prompt": "Hello", "stream": True}, "[DONE]", '"text":"'),
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "Hello", "stream": True},
        "response.completed",
        '"delta":',
    ),
    "messages": ("/v1/messages", CHAT | {"max_tokens": 99}, "message_stop", "text_delta"),
    "gemini": (
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        {"contents": [{"parts": [{"text": "Hello"}]}]},
        "finishReason",
        '"text":"',
    ),
}
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


def timeless(text: str) -> str:
    """A stream without the second it was made in."""
    return re.sub(r'"created(_at)?":\d+', "", text)


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any], str, str]:
    """Path and body of a streamed request, its terminal marker, and what each delta holds."""
    return STREAMS[request.param]


async def test_a_stream_ends_with_its_marker_unless_told_otherwise(mock: Mock, stream: Any) -> None:
    path, body, marker, _ = stream
    whole = timeless(await (await mock.post(path, json=body)).text())
    unmarked = timeless(await (await mock.post(path, json=body, headers={"x-mock-unmarked": ""})).text())
    assert marker not in unmarked
    assert whole.startswith(unmarked)
    assert marker in whole[len(unmarked) :]


async def test_a_cut_stream_ends_in_the_open_after_so_many_deltas(mock: Mock, stream: Any) -> None:
    path, body, marker, delta = stream
    received = ""
    headers = {"x-mock-cut-after": "3"}
    async with mock.session.post(path, json=body, headers=headers) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            async for chunk in response.content.iter_any():
                received += chunk.decode()
    deltas = [event for event in received.split("\n\n") if delta in event and '"content":""' not in event]
    assert len(deltas) == 3
    assert marker not in received
    assert mock.journal.arrivals[-1].left is False


@pytest.mark.parametrize("after", [0, 2])
async def test_a_stalled_stream_says_no_more_until_its_client_leaves(
    mock: Mock, stream: Any, after: int, eventually: Eventually
) -> None:
    path, body, _, _ = stream
    async with mock.session.post(path, json=body, headers={"x-mock-stall-after": str(after)}) as response:
        assert response.status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await response.read()
        assert mock.journal.open == 1
    await eventually(lambda: mock.journal.open == 0)
    assert mock.journal.arrivals[-1].left is True


async def test_a_document_can_be_cut_in_its_middle(mock: Mock) -> None:
    async with mock.session.post("/v1/chat/completions", json=CHAT | {"model": "m+json+cut-after=1"}) as response:
        assert response.content_length
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_document_can_stall_in_its_middle(mock: Mock, eventually: Eventually) -> None:
    async with mock.session.get("/v1/files/bytes-1000/content", headers={"x-mock-stall-after": "0"}) as response:
        assert await response.content.readexactly(500) == (bytes(range(256)) * 2)[:500]
    await eventually(lambda: mock.journal.open == 0)
    assert mock.journal.arrivals[-1].left is True


async def test_a_document_is_answered_although_a_stream_was_asked_for(mock: Mock, stream: Any) -> None:
    path, body, _, _ = stream
    response = await mock.post(path, json=body, headers={"x-mock-json": "1"})
    assert response.content_type == "application/json"
    assert isinstance(await response.json(), dict)


async def test_a_stream_can_be_written_in_the_smallest_pieces(mock: Mock, stream: Any) -> None:
    path, body, _, _ = stream
    whole = await (await mock.post(path, json=body, headers={"x-mock-words": "6"})).text()
    async with mock.session.post(path, json=body, headers={"x-mock-split": "7", "x-mock-words": "6"}) as response:
        pieces = [piece async for piece, _ in response.content.iter_chunks()]
    assert max(map(len, pieces)) <= 7
    assert timeless(b"".join(pieces).decode()) == timeless(whole)


async def test_deltas_come_at_their_pace(mock: Mock) -> None:
    times = []
    body = CHAT | {"model": "m+words=4+pace=0.05+delay=0.1"}
    asked = time.monotonic()
    async with mock.session.post("/v1/chat/completions", json=body) as response:
        assert time.monotonic() - asked >= 0.1
        async for line in response.content:
            if b'"content":"' in line:
                times.append(time.monotonic())
    _role, *deltas = times
    assert len(deltas) == 4
    assert all(0.03 < later - earlier < 1 for earlier, later in pairwise(deltas))


async def test_a_default_pace_holds_where_a_request_has_none() -> None:
    async with serving(mock_app(Behaviour(pace=0.05))) as url, aiohttp.ClientSession(url) as session:
        asked = time.monotonic()
        async with session.post("/v1/chat/completions", json=CHAT | {"model": "m+words=5"}) as response:
            await response.read()
        assert time.monotonic() - asked >= 0.2


async def test_a_request_has_its_own_way_whatever_the_default_is() -> None:
    async with serving(mock_app(Behaviour(pace=60))) as url, aiohttp.ClientSession(url) as session:
        async with (
            asyncio.timeout(5),
            session.post("/v1/chat/completions", json=CHAT | {"model": "m+pace=0"}) as response,
        ):
            assert "[DONE]" in await response.text()


async def test_a_slow_reader_slows_the_mock(mock: Mock, eventually: Eventually) -> None:
    body = CHAT | {"model": "m+words=100000+width=1000"}
    async with mock.session.post("/v1/chat/completions", json=body) as response:
        await response.content.readany()
        arrival = mock.journal.arrivals[-1]
        sent = -1
        async with asyncio.timeout(5):
            while sent != arrival.sent:  # until it stands still
                sent = arrival.sent
                await asyncio.sleep(0.1)
        assert 0 < sent < 50_000_000
    await eventually(lambda: arrival.left)


async def test_a_failure_tells_when_to_come_again(mock: Mock) -> None:
    for model, told in (("m+fail=429", "1"), ("m+fail=503+retry-after=0.5", "0.5"), ("m+fail=500", None)):
        response = await mock.post("/v1/chat/completions", json=CHAT | {"model": model})
        assert response.headers.get("Retry-After") == told


async def test_attempts_with_different_keys_fail_apart(mock: Mock) -> None:
    statuses = []
    for key in ("a", "a", "", "a", "", ""):
        headers = {"x-mock-fail": "500", "x-mock-times": "2", "x-mock-key": key}
        statuses.append((await mock.get("/v1/models", headers=headers)).status)
    assert statuses == [500, 500, 500, 200, 500, 200]

"""What the mock tells of the requests it got."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from aiohttp import web
from yarl import URL

from gateway.mock_upstream import JOURNAL, mock_app
from tests.unit.mock_upstream.conftest import Mock

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


async def raw(mock: Mock, request: bytes) -> bytes:
    """What comes back for these bytes, up to the connection's end."""
    reader, writer = await asyncio.open_connection(mock.url.host, mock.url.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_is_told_as_it_arrived(mock: Mock) -> None:
    before = time.time()
    answer = await raw(
        mock,
        b"POST /mock/echo/%2e%2e/a+b?x=1&x=&%C3%BC HTTP/1.1\r\nHost: here\r\nX-Twice: 1\r\nx-twice: \xe9\r\n"
        b"Authorization: Bearer secret\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    (told,) = (await (await mock.get("/mock/requests")).json())["requests"]
    assert (told["method"], told["target"]) == ("POST", "/mock/echo/%2e%2e/a+b?x=1&x=&%C3%BC")
    assert told["headers"] == [
        ["Host", "here"],
        ["X-Twice", "1"],
        ["x-twice", "é"],
        ["Authorization", "Bearer secret"],
        ["Connection", "close"],
        ["Content-Length", "5"],
    ]
    assert (told["body_length"], told["body_sha256"]) == (5, hashlib.sha256(b"hello").hexdigest())
    assert before <= told["arrived"] <= told["ended"] <= time.time()
    assert (told["status"], told["left"]) == (200, False)
    assert told["sent"] == len(answer.partition(b"\r\n\r\n")[2])


async def test_an_echo_is_the_request_itself(mock: Mock) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(65_536)

    url = URL(f"{mock.url.origin()}/mock/echo/any%20path?q=%2B", encoded=True)
    async with mock.session.put(url, data=upload(), headers={"X-One": "1"}) as response:
        told = await response.json()
    assert (told["method"], told["target"]) == ("PUT", "/mock/echo/any%20path?q=%2B")
    assert ["X-One", "1"] in told["headers"]
    assert told["body_length"] == 64 * 65_536
    assert told["body_sha256"] == hashlib.sha256(bytes(64 * 65_536)).hexdigest()


async def test_an_echo_can_fail_too(mock: Mock) -> None:
    assert (await mock.get("/mock/echo", headers={"x-mock-fail": "418"})).status == 418


async def test_a_compressed_body_is_told_as_it_came(mock: Mock) -> None:
    headers = {"Content-Encoding": "gzip"}
    response = await mock.post("/mock/echo", data=b"this is not gzip at all", headers=headers, compress=False)
    assert (await response.json())["body_length"] == 23


async def test_only_the_last_requests_are_kept_until_they_are_to_be_forgotten(mock: Mock) -> None:
    for _ in range(502):
        await mock.get("/health")
    numbers = [told["number"] for told in (await (await mock.get("/mock/requests")).json())["requests"]]
    assert numbers == list(range(3, 503))
    assert (await mock.request("DELETE", "/mock/requests")).status == 204
    assert (await (await mock.get("/mock/requests")).json()) == {"requests": []}


async def test_open_requests_are_counted_and_asking_is_none(mock: Mock, eventually: Eventually) -> None:
    async def count() -> int:
        return int((await (await mock.get("/mock/open")).json())["open"])

    assert await count() == 0
    waiting = [asyncio.create_task(mock.get("/v1/models", headers={"x-mock-delay": "60"})) for _ in range(3)]
    await eventually(lambda: mock.journal.open == 3)
    assert await count() == 3
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await eventually(lambda: mock.journal.open == 0)
    assert await count() == 0
    assert [arrival.left for arrival in mock.journal.arrivals] == [True] * 3


async def test_a_client_that_leaves_in_the_middle_of_its_upload_is_noticed(mock: Mock, eventually: Eventually) -> None:
    _, writer = await asyncio.open_connection(mock.url.host, mock.url.port)
    writer.write(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n" + bytes(400))
    await eventually(lambda: mock.journal.open == 1 and mock.journal.arrivals[0].body_length == 400)
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: mock.journal.open == 0)
    assert mock.journal.arrivals[0].left is True


async def test_health(mock: Mock) -> None:
    response = await mock.get("/health")
    assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_a_client_that_leaves_is_noticed_without_handler_cancellation_too(eventually: Eventually) -> None:
    app = mock_app()
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        body = {"model": "m+words=100000+pace=0.001", "messages": [], "stream": True}
        async with aiohttp.ClientSession(url) as session, session.post("/v1/chat/completions", json=body) as response:
            await response.content.readany()
        _, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(b"POST /mock/echo HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n" + bytes(400))
        await eventually(lambda: len(app[JOURNAL].arrivals) == 2 and app[JOURNAL].arrivals[1].body_length == 400)
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: app[JOURNAL].open == 0)
        assert [arrival.left for arrival in app[JOURNAL].arrivals] == [True, True]
    finally:
        await runner.cleanup()

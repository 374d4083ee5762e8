"""Uploads that are refused, and failures: the client can read its answer, and reads only one.

Every test runs a small application through `GuardedRunner` over raw sockets, on asyncio's loop and on uvloop.
"""

import asyncio
import gzip
import json

import pytest

from gateway.downstream.connection_bounds import ConnectionBounds
from tests.guarded_app import GOOD, answer_to, assert_refusal, assert_serves_on, on_both_loops, served
from tests.raw_http import connected

HOST = "Host: gateway\r\n"


@on_both_loops
async def test_a_request_waits_for_100_continue_only_if_its_body_is_wanted() -> None:
    head = f"HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    async with served() as it:
        async with connected(it.port) as client:
            await client.send(f"POST /echo {head}")
            assert await client.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send("hello")
            answer = await client.response()
            assert json.loads(answer.body)["body"] == "hello"
            assert "Expect" not in dict(json.loads(answer.body)["fields"])
            assert answer.field("Connection") is None
            await client.send(GOOD)
            assert (await client.response()).status == 200
        for path, status in (("/refuse", 413), ("/key", 401), ("/nowhere", 404), ("/ignore", 200)):
            async with connected(it.port) as client:
                await client.send(f"POST {path} {head}")
                answer = await client.response()
                assert (answer.status, answer.field("Connection")) == (status, b"close")
                await client.send("hello", GOOD)
                assert await client.rest() == b""
        async with connected(it.port) as client:  # one that does not wait
            await client.send(f"POST /echo {head}hello", GOOD)
            assert [(await client.response()).status for _ in range(2)] == [200, 200]
        async with connected(it.port) as client:  # one that may not expect
            await client.send(f"POST /echo {head}".replace("HTTP/1.1", "HTTP/1.0"), 0.05, "hello")
            assert (await client.response()).status == 200


@on_both_loops
async def test_a_compressed_body_is_passed_on_as_it_is_and_refusing_it_costs_nothing() -> None:
    small, bomb = gzip.compress(b"hello"), gzip.compress(bytes(200 * 2**20), 1)
    head = f"HTTP/1.1\r\n{HOST}Content-Encoding: gzip\r\nContent-Length:"
    async with served() as it:
        answer = await answer_to(it, f"POST /echo {head} {len(small)}\r\n\r\n", small)
        assert json.loads(answer.body)["body"].encode("latin-1") == small
        async with connected(it.port) as client:
            await client.send(f"POST /refuse {head} {len(bomb)}\r\n\r\n")
            began = asyncio.get_running_loop().time()
            sending = asyncio.create_task(client.send(bomb))
            assert (await client.response()).status == 413
            await sending
            assert asyncio.get_running_loop().time() - began < 1


@on_both_loops
async def test_a_refusal_can_be_read_although_the_body_was_not() -> None:
    async with served() as it:
        for head in (f"Content-Length: {32 * 2**20}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2000000\r\n"):
            async with connected(it.port) as client:
                await client.send(f"POST /refuse HTTP/1.1\r\n{HOST}{head}", bytes(32 * 2**20))  # all of it first
                answer = await client.response()
                assert (answer.status, answer.body, answer.field("Connection")) == (413, b"no", b"close")
                assert await client.rest() == b""
        await assert_serves_on(it)


@on_both_loops
async def test_a_client_that_goes_on_sending_after_its_refusal_is_cut_off() -> None:
    bounds = ConnectionBounds(linger=5, linger_bytes=2**20)
    async with served(bounds) as it:
        async with connected(it.port) as client:
            await client.send(f"POST /refuse HTTP/1.1\r\n{HOST}Content-Length: {2**40}\r\n\r\n")
            assert (await client.response()).status == 413
            async with asyncio.timeout(4):
                while not client.closed:
                    await client.send(bytes(2**20))
    async with served(ConnectionBounds(linger=0.3)) as it:
        async with connected(it.port) as client:
            await client.send(f"POST /refuse HTTP/1.1\r\n{HOST}Content-Length: {2**40}\r\n\r\n")
            assert (await client.response()).status == 413
            async with asyncio.timeout(4):
                while not client.closed:
                    await client.send(b"x", 0.05)


@on_both_loops
async def test_what_a_handler_raises_is_logged_once_and_never_answered_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as it:
        for path in ("/fail", "/nothing", "/injected"):
            answer = await answer_to(it, f"GET {path} HTTP/1.1\r\n{HOST}\r\n")
            assert_refusal(answer, 500)
            assert b"X-More" not in answer.body
            assert [record.name for record in caplog.records] == ["gateway.downstream.connection"]
            caplog.clear()
        async with connected(it.port) as client:
            await client.send(f"GET /fail_late HTTP/1.1\r\n{HOST}\r\n")
            raw = await client.rest()
            assert raw.endswith(b"4\r\nhalf\r\n")
            assert raw.count(b"HTTP/1.1") == 1
        assert [record.name for record in caplog.records] == ["gateway.downstream.connection"]
        async with connected(it.port) as client:
            await client.send("GET /fail_late HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await client.to_clean_end()
        assert it.malformed == []
        await assert_serves_on(it)

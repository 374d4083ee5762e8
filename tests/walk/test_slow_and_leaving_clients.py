"""Clients that are slow, silent, too many, or gone: each is let go of within its bound, and the others are served.

Every test runs a small application through `GuardedRunner` over raw sockets, on asyncio's loop and on uvloop.
"""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from gateway.downstream.connection_bounds import ConnectionBounds
from tests.guarded_app import GOOD, QUICK, answer_to, assert_refusal, assert_serves_on, on_both_loops, served
from tests.raw_http import RawClient, connected

HOST = "Host: gateway\r\n"
WITHIN = 0.2  # seconds, for a client that leaves


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@on_both_loops
async def test_a_head_that_takes_too_long_is_answered_408() -> None:
    async with served(QUICK) as it:
        for pieces in (
            (f"GET /echo HTTP/1.1\r\n{HOST}",),
            ("G", *[piece for n in range(60) for piece in (0.02, "\r\n"[n % 2])]),
            ("GET /echo HTTP/1.1\r\nX: ", *[piece for _ in range(60) for piece in (0.02, "a")]),
            (GOOD, 0.05, "GET /echo HTTP/1.1\r\n"),
        ):
            began = time.monotonic()
            async with connected(it.port) as client:
                sending = asyncio.create_task(client.send(*pieces))
                if pieces[0] == GOOD:
                    assert (await client.response()).status == 200
                assert_refusal(await client.response(), 408 if pieces[0] != "G" else 400)
                assert time.monotonic() - began < 1.5
                sending.cancel()
            assert len(it.malformed) == 1
            it.malformed.clear()
            await assert_serves_on(it)


@on_both_loops
async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with served(QUICK) as it:
        async with connected(it.port) as client:
            assert await client.rest() == b""
        assert it.malformed == []
    async with served(ConnectionBounds(keepalive_timeout=0.3)) as it:
        async with connected(it.port) as client:
            await client.send(GOOD)
            assert (await client.response()).status == 200
            assert await client.rest() == b""
        assert it.malformed == []


@on_both_loops
async def test_a_body_that_takes_too_long_is_answered_408(caplog: pytest.LogCaptureFixture) -> None:
    head = f"POST /echo HTTP/1.1\r\n{HOST}"
    drip = [piece for _ in range(80) for piece in (0.02, "a")]
    chunks = [piece for _ in range(80) for piece in (0.02, "1\r\na\r\n")]
    async with served(QUICK) as it:
        for pieces in (
            (f"{head}Content-Length: 5\r\n\r\nhell",),
            (f"{head}Content-Length: 500\r\n\r\n", *drip),
            (f"{head}Transfer-Encoding: chunked\r\n\r\n", *chunks),
            (f"{head}Transfer-Encoding: chunked\r\n\r\n5;", *drip),
            (f"{head}Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", *drip),
        ):
            began = time.monotonic()
            async with connected(it.port) as client:
                sending = asyncio.create_task(client.send(*pieces))
                assert_refusal(await client.response(), 408)
                assert time.monotonic() - began < 1.5
                sending.cancel()
            assert [one.reason for one in it.malformed] == ["body timeout"]
            it.malformed.clear()
            await assert_serves_on(it)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@on_both_loops
async def test_a_slow_body_that_moves_is_taken() -> None:
    async with served(QUICK) as it:
        pieces = [piece for _ in range(20) for piece in (0.05, "a" * 100)]
        answer = await answer_to(it, f"POST /echo HTTP/1.1\r\n{HOST}Content-Length: 2000\r\n\r\n", *pieces)
        assert answer.status == 200
        assert it.malformed == []


@on_both_loops
async def test_waiting_for_a_handler_is_no_slowness_of_the_client() -> None:
    async with served(QUICK) as it:
        async with connected(it.port) as client:
            await client.send(f"POST /wait HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhell")
            assert await client.silent(1.2)
            it.proceed.set()
            assert (await client.response()).body == b"waited"
        assert it.malformed == []


@pytest.mark.parametrize("leave", [RawClient.reset, RawClient.leave])
@on_both_loops
async def test_a_client_that_leaves_is_noticed_at_once_whatever_is_being_read(
    leave: Callable[[RawClient], object],
) -> None:
    plain = f"GET /hang HTTP/1.1\r\n{HOST}\r\n"
    # More than is read ahead of a handler, and little enough for the kernel: a FIN behind bytes that the
    # server's kernel has no room for has not arrived yet, and nobody can notice it.
    large = bytes(640 * 1024)
    upload = f"HTTP/1.1\r\n{HOST}Content-Length: {2**30}\r\n\r\n"
    async with served() as it:
        for paused, pieces in (
            (False, (plain,)),
            (False, (plain, GOOD)),
            (True, (plain, GOOD, GOOD, GOOD, GOOD, GOOD)),
            (True, (plain, plain * 1000)),
            (True, (f"POST /hang {upload}", large)),
            (True, (f"POST /sip {upload}", large, large)),
            (True, (plain, f"POST /echo {upload}", large)),
            (True, (plain, "nonsense\r\n\r\n", b"more")),
        ):
            async with connected(it.port) as client:
                for piece in pieces:
                    await client.send(piece, 0.02)
                await it.started.wait()
                await until(lambda: bool(it.runner.server.paused) == paused)  # noqa: B023
                left = time.monotonic()
                leave(client)
                await until(lambda: it.left_at)
                assert it.left_at.pop() - left < WITHIN
                it.started.clear()
        await assert_serves_on(it)
        assert not it.runner.server.paused
        assert it.handled[-1] == "/echo"


@on_both_loops
async def test_a_client_that_stalls_and_leaves_is_noticed() -> None:
    async with served() as it:
        for leave in (RawClient.reset, RawClient.leave):
            async with connected(it.port, receive_buffer=4096) as client:
                await client.send(f"GET /big HTTP/1.1\r\n{HOST}\r\n")
                await it.started.wait()
                await until(lambda: any(one.writing_paused for one in it.runner.server.connections))
                left = time.monotonic()
                leave(client)
                await until(lambda: it.left_at)
                assert it.left_at.pop() - left < WITHIN


@on_both_loops
async def test_a_client_that_stalls_for_too_long_is_let_go_and_one_that_is_slow_is_not() -> None:
    async with served(ConnectionBounds(send_timeout=0.5, linger=0.4)) as it:
        async with connected(it.port, receive_buffer=4096) as stalled, connected(it.port, receive_buffer=4096) as slow:
            for client in (stalled, slow):
                await client.send(f"GET /big HTTP/1.1\r\n{HOST}\r\n")
            await until(lambda: sum(one.writing_paused for one in it.runner.server.connections) == 2)
            while not it.left_at:
                await slow.read(500_000)
                await asyncio.sleep(0.1)
            assert len(it.runner.server.connections) == 1
            await slow.read(500_000)


@on_both_loops
async def test_a_client_that_does_not_take_its_answer_does_not_keep_its_connection() -> None:
    async with served(ConnectionBounds(linger=0.3)) as it:
        async with connected(it.port, receive_buffer=4096) as client:
            await client.send(f"GET /sizable HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")
            await until(lambda: it.handled == ["/sizable"])
            await until(lambda: not it.runner.server.connections)


@on_both_loops
async def test_too_many_connections_are_told_so() -> None:
    async with served(ConnectionBounds(max_connections=2, linger=0.3)) as it:
        async with connected(it.port) as first, connected(it.port) as second:
            for client in (first, second):
                await client.send(GOOD)
                assert (await client.response()).status == 200
            async with connected(it.port) as third:
                await third.send(GOOD)
                answer = await third.response()
                assert_refusal(answer, 503)
                assert answer.field("Retry-After") == b"1"
            async with connected(it.port) as third, connected(it.port) as fourth, connected(it.port) as fifth:
                await asyncio.wait([asyncio.create_task(one.rest()) for one in (third, fourth, fifth)])
            for client in (first, second):
                await client.send(GOOD)
                assert (await client.response()).status == 200
        await until(lambda: not it.runner.server.connections)
        await assert_serves_on(it)


@on_both_loops
async def test_stopping_ends_idle_connections_and_lets_uploads_finish() -> None:
    async with served() as it:
        async with connected(it.port) as idle, connected(it.port) as busy:
            await idle.send(GOOD)
            assert (await idle.response()).status == 200
            await busy.send(f"POST /echo HTTP/1.1\r\n{HOST}Content-Length: 10\r\n\r\nhello")
            await until(lambda: it.handled == ["/echo", "/echo"])
            it.runner.server.pre_shutdown()
            assert await idle.rest() == b""
            await busy.send("world", GOOD)
            answer = await busy.response()
            assert (answer.status, answer.field("Connection")) == (200, b"close")
            assert b"helloworld" in answer.body
            assert await busy.rest() == b""


@on_both_loops
async def test_many_slow_clients_do_not_slow_the_others() -> None:
    async with served(QUICK) as it:
        slow = [connected(it.port) for _ in range(100)]
        clients = [await one.__aenter__() for one in slow]
        try:
            for n, client in enumerate(clients):
                await client.send(f"POST /echo HTTP/1.1\r\n{HOST}" + ("Content-Length: 9\r\n\r\n" if n % 2 else ""))
            await assert_serves_on(it)
            answers = await asyncio.gather(*(client.response() for client in clients))
            assert {answer.status for answer in answers} == {408}
        finally:
            for one in slow:
                await one.__aexit__(None, None, None)
        assert sorted({one.reason for one in it.malformed}) == ["body timeout", "head timeout"]
        assert len(it.malformed) == 100
        await until(lambda: not it.runner.server.connections)

"""How connections end where the process does: no request that crosses that end is lost."""

import asyncio
import socket

from gateway.downstream.runner import GuardedServer
from tests.guarded_app import GOOD, Served, on_both_loops, served
from tests.raw_http import connected


def server(it: Served) -> GuardedServer:
    assert it.runner is not None
    assert isinstance(it.runner.server, GuardedServer)
    return it.runner.server


async def until_left(it: Served, count: int, seconds: float = 0.0) -> None:
    """Close what is idle until so many connections are left."""
    async with asyncio.timeout(5):
        while server(it).close_idle(seconds) != count:
            await asyncio.sleep(0.01)


@on_both_loops
async def test_after_the_last_call_the_next_answer_says_that_it_is_the_last() -> None:
    async with served() as it, connected(it.port) as kept, connected(it.port) as fresh:
        await kept.send(GOOD)
        assert (await kept.response()).field("Connection") is None
        server(it).last_call = True
        for client in (kept, fresh):
            await client.send(GOOD)
            answer = await client.response()
            assert (answer.status, answer.field("Connection")) == (200, b"close")
            assert await client.to_clean_end() == b""


@on_both_loops
async def test_connections_that_are_idle_close_and_those_at_work_do_not() -> None:
    async with served() as it, connected(it.port) as idle, connected(it.port) as silent, connected(it.port) as busy:
        await idle.send(GOOD)
        await idle.response()
        await busy.send("GET /wait HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await it.started.wait()
        assert server(it).close_idle(60) == 3
        await until_left(it, 1)
        assert await idle.to_clean_end() == await silent.to_clean_end() == b""
        it.proceed.set()
        assert (await busy.response()).body == b"waited"
        await until_left(it, 0)


@on_both_loops
async def test_a_request_that_has_begun_to_arrive_is_waited_for() -> None:
    async with served() as it, connected(it.port) as client:
        await client.send(GOOD[:20])
        async with asyncio.timeout(5):
            while not any(connection.awaits_head for connection in server(it).connections):
                await asyncio.sleep(0.01)
        assert server(it).close_idle(0) == 1
        await client.send(GOOD[20:])
        assert (await client.response()).status == 200


@on_both_loops
async def test_a_request_that_has_arrived_unread_is_answered() -> None:
    async with served() as it:
        with socket.create_connection(("127.0.0.1", it.port)) as client:
            async with asyncio.timeout(5):
                while not any(connection.silent for connection in server(it).connections):
                    await asyncio.sleep(0.01)
            client.sendall(GOOD)  # the loop, which is this thread's, has not read it yet
            assert server(it).close_idle(0) == 1
            answer = await asyncio.to_thread(client.recv, 65536)
            assert answer.startswith(b"HTTP/1.1 200 OK")

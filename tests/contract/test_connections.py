"""Whom a connection belongs to: used again, never shared, never believed when it speaks out of turn; and TLS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import (
    PoolTimeout,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.settings import Timeouts
from gateway.upstream.pool import Pool
from gateway.upstream.transport import Outgoing
from tests.contract.authority import Authority
from tests.contract.calling import (
    HASTY,
    HOST,
    OK,
    QUICK,
    Open,
    Whole,
    a_call,
    get,
    pieces,
    post,
    read_whole,
    upload,
)
from tests.scripted import (
    Received,
    ScriptedUpstream,
    Step,
    answer,
    begin,
    chunk,
    close,
    end,
    flood,
    pause,
    reset,
    send,
    until_left,
)


async def test_a_connection_is_used_again(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport, first, second = connect(), a_call(), a_call()
    await whole(transport, post(), first)
    assert (transport.in_use, transport.idle, transport.waiting) == (0, 1, 0)
    await whole(transport, upload(pieces(b"a")), second)
    assert upstream.connections == 1
    assert (first.reused_connection, second.reused_connection) == (False, True)
    assert first.connected is not None and first.head is not None and first.started <= first.connected <= first.head


async def test_a_connection_is_in_use_until_the_block_is_left(upstream: ScriptedUpstream, connect: Open) -> None:
    transport = connect()
    async with transport.send(get(), a_call()) as response:
        assert [piece async for piece in response.chunks()] == [OK]
        assert (transport.in_use, transport.idle) == (1, 0)
    assert (transport.in_use, transport.idle) == (0, 1)


@pytest.mark.parametrize("how", [close, reset])
async def test_a_connection_that_the_provider_closed_costs_a_new_one_and_no_request(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, how: object
) -> None:
    transport = connect()
    upstream.will(answer(), how())  # type: ignore[operator]
    await whole(transport, post())
    assert await whole(transport, post()) == OK
    assert len(upstream.requests) == 2
    assert upstream.connections == 2


@pytest.mark.parametrize("field", ["Connection: close", "Connection: Close, x"])
async def test_a_connection_that_is_to_be_closed_is_not_kept(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, field: str
) -> None:
    transport = connect()
    upstream.will(answer(OK, "200 OK", field))
    assert await whole(transport, get()) == OK
    assert transport.idle == 0


async def test_bytes_on_an_idle_connection_answer_nobody(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    upstream.will(answer(b"mine"), send(poison))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == OK
    upstream.will(answer(b"mine"), pause(0.01), send(poison))
    assert await whole(transport, get()) == b"mine"
    await asyncio.sleep(0.05)
    assert await whole(transport, get()) == OK
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine" + poison))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == OK


async def test_an_idle_connection_that_speaks_is_ended_at_once(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport, idle = connect(), asyncio.Event()

    async def until_idle(_: Received) -> None:
        await asyncio.wait_for(idle.wait(), 5)

    upstream.will(answer(b"mine"), until_idle, send(b"H"), until_left())
    assert await whole(transport, get()) == b"mine"
    idle.set()
    await asyncio.wait_for((await upstream.received()).closed.wait(), 5)


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nX-A: ", b"H", b"\r\n"])
async def test_what_follows_a_response_is_no_part_of_the_next(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, more: bytes
) -> None:
    transport = connect()
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine" + more))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == OK
    upstream.will(begin(), chunk(b"mi"), pause(0.01), send(b"2\r\nne\r\n0\r\n\r\n" + more))
    assert await whole(transport, get()) == b"mine"
    assert await whole(transport, get()) == OK


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("how", [close, reset])
async def test_a_request_that_may_have_been_processed_is_not_sent_again(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, method: str, how: object
) -> None:
    transport = connect()
    await whole(transport, post())
    upstream.will(how())  # type: ignore[operator]
    with pytest.raises(UpstreamError):
        await whole(transport, get(method=method))
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"])
@pytest.mark.parametrize("how", [close, reset])
async def test_a_safe_request_that_meets_a_connection_that_ends_is_sent_once_more(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, method: str, how: object
) -> None:
    transport, call = connect(), a_call()
    await whole(transport, post())
    upstream.will(how())  # type: ignore[operator]
    upstream.will(answer(OK if method != "HEAD" else b""))
    assert await whole(transport, get(method=method), call) == (OK if method != "HEAD" else b"")
    assert [request.connection for request in upstream.requests] == [1, 1, 2]
    assert upstream.requests[1].line == upstream.requests[2].line
    assert (call.attempt, call.reused_connection) == (1, False)
    assert transport.in_use == 0


async def test_it_is_sent_again_with_its_body_if_that_is_here(upstream: ScriptedUpstream, connect: Open) -> None:
    transport = connect()
    await read_whole(transport, post())
    upstream.will(close())
    assert await read_whole(transport, Outgoing("QUERY", b"/q", HOST, b"select", 6)) == OK
    assert [request.body for request in upstream.requests[1:]] == [b"select", b"select"]


async def test_it_is_sent_again_on_a_connection_that_nobody_has_used(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect()
    await asyncio.gather(*(whole(transport, post()) for _ in range(3)))
    assert transport.idle == upstream.connections == 3
    upstream.will(close())
    await whole(transport, get())
    assert upstream.requests[-1].connection == 4


@pytest.mark.parametrize(
    "script",
    [
        (send(b"HTTP/1.1 200 OK\r\nX-A: "), close()),
        (send(b"H"), reset()),
        (send(b"HTTP/1.1 100 Continue\r\n\r\n"), pause(0.01), close()),
        (send(b"no HTTP at all\r\n\r\n"), close()),
    ],
)
async def test_it_is_not_sent_again_once_a_byte_of_an_answer_has_come(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, script: tuple[Step, ...]
) -> None:
    transport, call = connect(), a_call()
    await whole(transport, post())
    upstream.will(*script)
    with pytest.raises(UpstreamError):
        await whole(transport, get(), call)
    assert (len(upstream.requests), call.attempt) == (2, 0)


async def test_it_is_not_sent_a_third_time(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect()
    await whole(transport, post())
    upstream.will(close())
    upstream.will(close())
    with pytest.raises(UpstreamDisconnected):
        await whole(transport, get())
    assert len(upstream.requests) == 3


async def test_it_is_not_sent_again_where_the_connection_was_new(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    upstream.will(close())
    with pytest.raises(UpstreamDisconnected):
        await whole(connect(), get())
    assert len(upstream.requests) == 1


async def test_nor_after_a_timeout(upstream: ScriptedUpstream, connect: Open, whole: Whole) -> None:
    transport = connect(QUICK)
    await whole(transport, post())
    upstream.will(until_left())
    with pytest.raises(UpstreamTimeout):
        await whole(transport, get())
    assert len(upstream.requests) == 2


async def test_nor_with_a_body_that_is_streamed(upstream: ScriptedUpstream, connect: Open) -> None:
    transport = connect()
    await read_whole(transport, post())
    upstream.will(close())
    with pytest.raises(UpstreamError):
        await read_whole(transport, Outgoing("QUERY", b"/q", HOST, pieces(b"select"), 6))
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(("told", "idle"), [("timeout=1", 0.5), ("timeout=1, max=100", 0.5), ("max=9,Timeout=1", 0.5)])
async def test_a_provider_tells_how_long_its_connections_may_rest(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, told: str, idle: float
) -> None:
    transport = connect()
    await whole(transport, get())
    upstream.will(answer(OK, "200 OK", f"Keep-Alive: {told}"))
    await whole(transport, get())
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(2):
        while await whole(transport, get()) and upstream.connections == 1:
            await asyncio.sleep(0.2)  # in use now and then, it stays
            if asyncio.get_running_loop().time() > began + idle:
                break
    assert upstream.connections == 1
    await asyncio.sleep(idle + 0.2)
    await whole(transport, get())
    assert upstream.connections == 2


@pytest.mark.parametrize("told", ["timeout=60", "timeout=soon", "max=1", "", "xtimeout=0"])
async def test_what_a_provider_tells_never_lets_them_rest_longer(
    upstream: ScriptedUpstream, connect: Open, whole: Whole, told: str
) -> None:
    transport = connect(Timeouts(connect=5, first_byte=5, idle=5, pool_idle=0.3))
    upstream.will(answer(OK, "200 OK", f"Keep-Alive: {told}"))
    await whole(transport, get())
    await whole(transport, get())
    assert upstream.connections == 1
    await asyncio.sleep(0.5)
    await whole(transport, get())
    assert upstream.connections == 2


async def test_a_response_that_was_not_read_to_its_end_ends_its_connection(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    transport = connect()
    upstream.will(begin(), flood(1 << 20), end())
    async with transport.send(get(), a_call()) as response:
        assert response.status == 200
    assert (transport.in_use, transport.idle) == (0, 0)
    assert await read_whole(transport, get()) == OK


async def test_a_pool_that_is_full_makes_calls_wait_and_then_fail(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport = connect(HASTY, pool_size=1)
    upstream.will(begin(), chunk(b"a"), until_left())
    async with transport.send(get(), a_call()):
        with pytest.raises(PoolTimeout):
            await whole(transport, get())
    assert await whole(transport, get()) == OK


async def test_a_call_that_waited_for_the_pool_goes_on_when_there_is_room(
    upstream: ScriptedUpstream, connect: Open, whole: Whole
) -> None:
    transport, call = connect(pool_size=1), a_call()
    async with transport.send(get(), a_call()) as response:
        waiting = asyncio.create_task(whole(transport, get(), call))
        async with asyncio.timeout(5):
            while not transport.waiting:
                await asyncio.sleep(0)
        assert [piece async for piece in response.chunks()] == [OK]
    assert await waiting == OK
    assert call.waited_for_pool_ns > 0


async def test_nobody_listens(connect: Open, upstream: ScriptedUpstream, whole: Whole) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.url
    with pytest.raises(UpstreamUnreachable):
        await whole(connect(url=url), get())


async def test_a_name_that_does_not_resolve(connect: Open, whole: Whole) -> None:
    with pytest.raises(UpstreamUnreachable):
        await whole(connect(url="http://no-such-host.invalid"), upload(pieces(b"a")))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(authority: Authority) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(tls=authority.server()) as scripted:
        yield scripted


async def test_tls_carries_both_bodies(
    secure: ScriptedUpstream, authority: Authority, connect: Open, whole: Whole
) -> None:
    transport = connect(url=secure.url, pool=Pool(1, trust=authority.trust))
    secure.will(begin(), flood(1 << 20), end())
    assert len(await whole(transport, upload(pieces(*[b"x" * 65536] * 16), 1 << 20))) == 1 << 20
    assert len((await secure.received()).body) == 1 << 20
    assert await whole(transport, post()) == OK
    assert secure.connections == 1


async def test_a_connection_that_ends_without_tls_saying_so_is_broken_off(
    secure: ScriptedUpstream, authority: Authority, connect: Open, whole: Whole
) -> None:
    async def cut(request: Received) -> None:
        request.writer.transport.abort()

    transport = connect(url=secure.url, pool=Pool(1, trust=authority.trust))
    secure.will(begin(), chunk(b"abc"), pause(0.01), cut)
    with pytest.raises(UpstreamTruncated):
        await whole(transport, get())


async def test_an_authority_that_is_not_trusted_is_no_provider(secure: ScriptedUpstream, connect: Open) -> None:
    with pytest.raises(UpstreamUnreachable):
        await read_whole(connect(url=secure.url), post())
    assert secure.requests == []


async def test_a_certificate_of_somebody_else_is_no_provider(authority: Authority, connect: Open) -> None:
    async with ScriptedUpstream(tls=authority.server("127.0.0.2")) as other:
        with pytest.raises(UpstreamUnreachable):
            await read_whole(connect(url=other.url, pool=Pool(1, trust=authority.trust)), post())
        assert other.requests == []


async def test_a_provider_that_never_shakes_hands_runs_into_the_connect_timeout(
    upstream: ScriptedUpstream, connect: Open
) -> None:
    with pytest.raises(UpstreamTimeout, match="connect timeout"):
        await read_whole(connect(HASTY, url=upstream.url.replace("http:", "https:")), get())

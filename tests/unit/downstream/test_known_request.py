"""Requests of a known shape are the requests that aiohttp's parser would have made of them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.head import Heads
from gateway.downstream.known_request import KnownRequest
from gateway.wire import shape
from gateway.wire.shape import LONGEST
from tests.guarded_app import BROAD, Served, answer_to, assert_refusal, on_both_loops, served
from tests.raw_http import RawClient, connected


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


class Seen:
    """Keeps the requests that it answers."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        await asyncio.sleep(float(request.headers.get("X-Wait", "0")))
        assert request.clone(rel_url="/other").path == "/other"
        self.bodies.append(await request.read())
        return web.Response(status=int(request.headers.get("X-Status", "200")), body=self.bodies[-1])

    @property
    def was_known(self) -> list[bool]:
        return [isinstance(request._message, KnownRequest) for request in self.requests]


def a_request(
    body: bytes = b"{}", *, own: str = "1", target: str = "/seen?alt=sse", key: str = "k", status: int = 200
) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: gateway:80\r\nX-Own: {own}\r\nX-API-Key: {key}\r\nX-Status: {status}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


async def ask(client: RawClient, *pieces: bytes | float, status: int = 200) -> bytes:
    await client.send(*pieces)
    answer = await client.response()
    assert answer.status == status
    return answer.body


async def teach(it: Served, times: int = 2) -> None:
    async with connected(it.port) as client:
        for _ in range(times):
            await ask(client, a_request())


@on_both_loops
async def test_a_known_request_shows_what_a_parsed_one_shows() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        data = a_request(b'{"a": 1}', own="\xe9", key="another")
        async with connected(it.port) as client:
            await ask(client, data)
            await ask(client, data[:30], 0.02, data[30:])
    known, parsed = seen.requests[2:]
    assert seen.was_known == [False, False, True, False]
    for name in ("method", "path", "raw_path", "path_qs", "query", "url", "rel_url", "version", "content_type", "host"):
        assert getattr(known, name) == getattr(parsed, name), name
    for name in ("content_length", "can_read_body", "body_exists", "keep_alive", "remote", "raw_headers", "charset"):
        assert getattr(known, name) == getattr(parsed, name), name
    assert [*known.headers.items()] == [*parsed.headers.items()]
    assert vars(known).keys() == vars(parsed).keys()
    message: Any = known._message
    for name in ("should_close", "compression", "upgrade", "chunked", "version", "method", "path", "url"):
        assert getattr(message, name) == getattr(parsed._message, name), name
    assert isinstance(message._replace(method="PUT"), RawRequestMessage)
    assert seen.bodies[2:] == [b'{"a": 1}'] * 2


@on_both_loops
async def test_each_has_its_own_values_and_body() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        async with connected(it.port) as client:
            for number in range(5):
                assert await ask(client, a_request(b"x" * number, own=str(number))) == b"x" * number
    assert [request.headers["X-Own"] for request in seen.requests[2:]] == [str(number) for number in range(5)]
    assert seen.was_known == [False, False, *[True] * 5]


@on_both_loops
async def test_a_body_is_given_once_to_whoever_asks_first() -> None:
    given: list[Any] = []

    async def taking(request: Any) -> web.Response:
        given.append((request.take_body(), request.take_body(), await request.read()))
        return web.Response()

    async def reading(request: Any) -> web.Response:
        given.append((await request.read(), request.take_body(), request.take_body()))
        return web.Response()

    async with served(handlers={"/taking": taking, "/reading": reading}) as it:
        async with connected(it.port) as client:
            for target in ("/taking", "/reading"):
                for body in (b"1", b"22", b"333"):
                    await ask(client, a_request(body, target=target))
    assert given[2] == (b"333", b"", b"")
    assert given[5] == (b"333", None, None)


@on_both_loops
async def test_a_target_that_was_never_parsed_is_parsed() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        async with connected(it.port) as client:
            for _ in range(2):
                await ask(client, a_request(target="/seen?alt=1"))
            await ask(client, a_request(target="/seen?#fragment"), status=400)
    assert seen.was_known == [False, False, False, True]
    assert [request.query_string for request in seen.requests[2:]] == ["alt=1"] * 2


@on_both_loops
async def test_what_the_parser_has_begun_it_ends() -> None:
    """A request is known only where one begins; whoever begins otherwise has another request."""
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        data = a_request()
        for beginning in (
            b"X",
            b"POST / HTTP/1.1\r\nHost: x\r\nX: ",
            b"POST /seen HTTP/1.1\r\nHost: x\r\nContent-Length: ",
        ):
            async with connected(it.port) as client:
                await ask(client, data)
                await client.send(beginning, 0.02, data)
                assert_refusal(await client.response(), 400)
        async with connected(it.port) as client:
            await ask(client, data + b"PU")  # behind a request, in the same piece
            await client.send(0.02, data)
            assert_refusal(await client.response(), 400)
        inner = a_request(b"inner")
        async with connected(it.port) as client:
            assert await ask(client, a_request(inner)[: -len(inner)], 0.02, inner) == inner
            assert await ask(client, data) == b"{}"


@on_both_loops
async def test_after_a_body_in_pieces_the_next_request_may_be_known() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        async with connected(it.port) as client:
            for _ in range(2):
                await ask(client, a_request(b"abcdef")[:-4], 0.02, b"cd", 0.02, b"ef")
                await ask(client, a_request())
            await ask(client, a_request(b"abcdef")[:-4], 0.02, b"cdef" + a_request(b"next"))
            assert (await client.response()).body == b"next"
            await ask(client, a_request())
    assert seen.was_known[2:] == [False, True, False, True, False, False, False]


@on_both_loops
async def test_known_requests_are_answered_in_turn() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        async with connected(it.port) as client:
            await client.send(a_request(b"1"), 0.02, a_request(b"2") + a_request(b"3"), a_request(b"4"))
            assert [(await client.response()).body for _ in range(4)] == [b"1", b"2", b"3", b"4"]


@on_both_loops
async def test_only_what_was_served_is_learned() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        async with connected(it.port) as client:
            for _ in range(4):
                await ask(client, a_request(status=401), status=401)
            for _ in range(3):
                await ask(client, a_request())
    assert seen.was_known == [False] * 6 + [True]


@on_both_loops
async def test_the_last_call_holds_for_known_requests_too() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        assert it.runner is not None
        server: Any = it.runner.server
        server.last_call = True
        answer = await answer_to(it, a_request())
    assert answer.field("Connection") == b"close"


@on_both_loops
async def test_bounds_below_those_of_a_shape_are_kept() -> None:
    seen = Seen()
    tight = ConnectionBounds(max_field_bytes=LONGEST // 4, head_timeout=5)
    async with served(tight, handlers={"/seen": seen.handle}) as it:
        await teach(it, 4)
        assert (await answer_to(it, a_request(own="x" * LONGEST))).status == 431
    assert seen.was_known == [False] * 4


@on_both_loops
async def test_no_key_is_kept_with_a_shape() -> None:
    seen = Seen()
    async with served(BROAD, handlers={"/seen": seen.handle}) as it:
        await teach(it, 3)
        assert it.runner is not None
        server: Any = it.runner.server
        (shape,) = server.known._shapes._known
        assert "secret" not in repr(shape._match) + repr(shape.kept)


@pytest.mark.parametrize("size", [0, 1, 200_000])
@on_both_loops
async def test_a_body_of_any_size_is_taken(size: int) -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        await teach(it)
        async with connected(it.port) as client:
            assert len(await ask(client, a_request(b"x" * size))) == size
            assert await ask(client, a_request()) == b"{}"


@on_both_loops
async def test_who_is_refused_while_another_is_served_teaches_nothing() -> None:
    seen = Seen()
    refused = a_request(b"").replace(b"POST", b"TRACE")
    async with served(handlers={"/seen": seen.handle}) as it:
        for _ in range(3):
            async with connected(it.port) as client:
                await client.send(a_request().replace(b"X-Own: 1", b"X-Wait: 0.1"), 0.05, refused)
                assert [(await client.response()).status for _ in range(2)] == [200, 501]
        assert (await answer_to(it, refused)).status == 501


@on_both_loops
async def test_each_request_teaches_its_own_shape_alone() -> None:
    seen = Seen()
    unserved = a_request(target="/seen?api-version=1", status=413)
    async with served(handlers={"/seen": seen.handle}) as it:
        for _ in range(4):
            async with connected(it.port) as client:
                await client.send(a_request().replace(b"X-Own: 1", b"X-Wait: 0.1"), 0.05, unserved)
                assert [(await client.response()).status for _ in range(2)] == [200, 413]
    assert not any(seen.was_known[1::2])


@on_both_loops
async def test_empty_lines_before_a_request_begin_no_other() -> None:
    """Where they are taken for the end of the head, the body seems to end as much earlier as the head is long."""
    seen = Seen()
    inner = a_request(b"inner")
    for lines in (b"\r\n", b"\r\n\r\n", b"\n\n", b"\r\n\r\n\r\n\r\n"):
        async with served(handlers={"/seen": seen.handle}) as it:
            await teach(it)
            for early in (10, 30):
                head = len(a_request(b"x" * 100, own="o" * 200)) - 100
                body = b"x" * early + inner + b"y" * (len(lines) + head - len(inner) - 4)
                outer = lines + a_request(body, own="o" * 200)
                cut = len(lines) + head + early
                end = cut + len(inner)
                async with connected(it.port) as client:
                    assert await ask(client, outer[:cut], 0.02, outer[cut:end], 0.02, outer[end:]) == body
    assert b"inner" not in seen.bodies


@on_both_loops
async def test_no_query_that_may_be_one_clients_own_is_kept() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        async with connected(it.port) as client:
            for target in (
                "/seen?sig=SECRET",
                "/seen?api-version=1&ticket=SECRET",
                "/seen?api-version=1",
                "/seen?alt=sse",
            ):
                for _ in range(3):
                    await ask(client, a_request(target=target))
            await ask(client, b"GET /seen?a=SECRET HTTP/1.1\r\nHost: x\r\n\r\n")
        assert it.runner is not None
        server: Any = it.runner.server
        assert sorted(server.known._targets) == [b"/seen?alt=sse", b"/seen?api-version=1"]


@on_both_loops
async def test_credentials_for_a_proxy_are_no_part_of_what_is_kept() -> None:
    heads, told = Heads(), []

    async def read(request: web.Request) -> web.Response:
        told.append(heads.read(request))
        return web.Response()

    async with served(handlers={"/seen": read}) as it, connected(it.port) as client:
        for number in range(4):
            fields = f"Proxy-Authorization: SECRET{number}\r\nSec-WebSocket-Protocol: SECRET\r\nX-API-Key".encode()
            await ask(client, a_request().replace(b"X-API-Key", fields))
    assert len({id(each.head) for each in told}) == 1
    assert "SECRET" not in repr(told[0].head.form.fields) + repr(heads._known)


@on_both_loops
async def test_what_the_parser_keeps_back_is_answered() -> None:
    seen = Seen()
    get = b"GET /seen HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(handlers={"/seen": seen.handle}) as it, connected(it.port) as client:
        await client.send(a_request(b"abcdef")[:-3], 0.05, b"def", 0.05, get + get)
        assert [(await client.response()).body for _ in range(3)] == [b"abcdef", b"", b""]


@on_both_loops
async def test_streams_that_have_not_ended_teach_others() -> None:
    known: list[bool] = []
    end = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        known.append(isinstance(request._message, KnownRequest))
        response = web.StreamResponse(status=200)
        await response.prepare(request)
        await response.write(b"begun")
        await end.wait()
        return response

    async with served(handlers={"/seen": stream}) as it, AsyncExitStack() as clients:
        for _ in range(4):
            client = await clients.enter_async_context(connected(it.port))
            await client.send(a_request())
            await client.interim()
        end.set()
    assert known == [False, False, True, True]

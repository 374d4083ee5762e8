"""What a relayed head looks like on the wire, and that everything else a response does is as ever."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from gateway.downstream.relayed import RelayedResponse
from tests.guarded_app import GOOD, Served, on_both_loops, served
from tests.raw_http import RawResponse, connected

Fields = Sequence[tuple[bytes, bytes]]
HOST = "Host: gateway\r\n"
ODD: Fields = [
    (b"Content-Length", b"2"),
    (b"Set-Cookie", b"a=1"),
    (b"x-ODD-casing", b"\xe9\xff\xfe latin, not UTF-8"),
    (b"X-Utf8", "é€😀".encode()),
    (b"Set-Cookie", b"b=2"),
    (b"x-empty", b""),
    (b"x-blanks", b"  led and followed \t"),
    (b"SET-COOKIE", b"a=1"),
    (b"x-tab", b"a\tb"),
    (b"x-controls", bytes(byte for byte in range(1, 32) if byte not in b"\n\r") + b"\x7f"),
    (b"x-all", bytes(range(32, 256))),
    (b"dAtE", b"yesterday"),
]


def relays(
    status: int, fields: Fields, *writes: bytes, reason: str | None = None, last: bytes = b"", flush: bool = False
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that relays such a response."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = RelayedResponse(status, reason, fields)
        await response.prepare(request)
        if flush:
            await response.flush_head()
            await asyncio.sleep(0.1)
        for chunk in writes:
            await response.write(chunk)
        await response.write_eof(last)
        return response

    return handler


async def ask(it: Served, path: str, method: str = "GET", version: str = "1.1", fields: str = "") -> RawResponse:
    async with connected(it.port) as client:
        await client.send(f"{method} {path} HTTP/{version}\r\n{HOST}{fields}\r\n")
        return await client.response(method)


@on_both_loops
async def test_every_byte_of_every_field_goes_out_as_it_came_and_in_order() -> None:
    async with served(handlers={"/": relays(299, ODD, b"hi", reason="Oddly \udce9 fine")}) as it:
        answer = await ask(it, "/")
        assert (answer.status, answer.reason) == (299, b"Oddly \xe9 fine")
        assert answer.fields == ODD
        assert answer.body == b"hi"


async def test_nothing_is_added_but_a_date_and_the_framing() -> None:
    async with served(
        handlers={"/known": relays(200, [(b"content-length", b"2")], b"hi"), "/open": relays(200, [])}
    ) as it:
        assert [name for name, _ in (await ask(it, "/known")).fields] == [b"content-length", b"Date"]
        assert sorted(name for name, _ in (await ask(it, "/open")).fields) == [b"Date", b"Transfer-Encoding"]


async def test_framing_and_persistence_of_the_upstream_are_not_passed_on() -> None:
    fields = [(b"transfer-encoding", b"gzip, chunked"), (b"connection", b"upgrade"), (b"x-kept", b"1")]
    async with served(handlers={"/": relays(200, fields, b"hi")}) as it:
        answer = await ask(it, "/")
        assert answer.field("Transfer-Encoding") == b"chunked"
        assert answer.field("Connection") is None
        assert (answer.field("x-kept"), answer.body) == (b"1", b"hi")


@on_both_loops
async def test_bodies_are_framed_for_the_client_that_asked() -> None:
    known = [(b"content-length", b"4")]
    handlers = {
        "/open": relays(200, [], b"ab", b"cd"),
        "/known": relays(200, known, b"ab", b"cd"),
        "/last": relays(200, known, b"ab", last=b"cd"),
        "/open_last": relays(200, [], b"ab", last=b"cd"),
        "/long": relays(200, known, b"abcdef", last=b"gh"),
        "/none": relays(204, known, b"abcd"),
        "/unchanged": relays(304, [(b"content-length", b"4"), (b"etag", b'"x"')], b"abcd", last=b"ef"),
    }
    async with served(handlers=handlers) as it:
        async with connected(it.port) as client:  # all on one connection: none leaves a byte too many or too few
            for path in handlers:
                for method in ("GET", "HEAD"):
                    await client.send(f"{method} {path} HTTP/1.1\r\n{HOST}\r\n")
                    answer = await client.response(method)
                    empty = method == "HEAD" or path in ("/none", "/unchanged")
                    assert answer.body == (b"" if empty else b"abcd"), path
                    length = None if path in ("/open", "/open_last", "/none") else b"4"
                    assert answer.field("Content-Length") == length, path
                    chunked = b"chunked" if length is None and not empty else None
                    assert answer.field("Transfer-Encoding") == chunked, path
        for path in ("/open", "/known", "/open_last"):
            async with connected(it.port) as client:
                await client.send(f"GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                answer = await client.response()
                assert (answer.version, answer.body) == (b"HTTP/1.1", b"abcd")
                assert answer.field("Transfer-Encoding") is None
                assert answer.field("Connection") == b"close"
                assert await client.rest() == b""


async def test_a_body_shorter_than_it_says_ends_the_connection() -> None:
    async with served(handlers={"/": relays(200, [(b"content-length", b"10")], b"short")}) as it:
        async with connected(it.port) as client:
            await client.send(f"GET / HTTP/1.1\r\n{HOST}\r\n", GOOD)
            answer = await client.response()
            assert (answer.body, answer.complete) == (b"short", False)


async def test_a_client_that_wants_to_close_is_told_so() -> None:
    async with served(handlers={"/": relays(200, [(b"content-length", b"0")])}) as it:
        assert (await ask(it, "/", fields="Connection: close\r\n")).field("Connection") == b"close"
        assert (await ask(it, "/")).field("Connection") is None


async def test_signals_add_replace_and_take_away() -> None:
    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Gateway-Request-Id"] = "id"
        response.headers["x-replaced"] = "ours"
        response.headers.add("Vary", "Origin")
        response.headers.popall("x-gone")

    fields = [
        (b"X-Replaced", b"theirs"), (b"vary", b"Accept"), (b"x-gone", b"1"), (b"x-odd", b"\xff"), (b"x-gone", b"2")
    ]  # fmt: skip
    it = Served()
    app = it.app({"/": relays(200, fields, b"hi")})
    app.on_response_prepare.append(sign)
    async with served(app=app) as it:
        answer = await ask(it, "/")
        assert answer.all("x-replaced") == [b"ours"]
        assert answer.all("Vary") == [b"Accept", b"Origin"]
        assert answer.all("x-gone") == []
        assert answer.all("x-odd") == [b"\xff"]
        assert answer.all("x-gateway-request-id") == [b"id"]


async def test_a_response_is_what_a_stream_response_is() -> None:
    response = RelayedResponse(
        200, None, [(b"content-type", b"text/event-stream; charset=utf-8"), (b"content-length", b"7")]
    )
    assert (response.status, response.reason, response.prepared) == (200, "OK", False)
    assert (response.content_type, response.charset, response.content_length) == ("text/event-stream", "utf-8", 7)
    response.set_cookie("ours", "1")
    with pytest.raises(RuntimeError, match="not been prepared"):
        await response.flush_head()

    async def handler(request: web.Request) -> web.StreamResponse:
        await response.prepare(request)
        await response.write(b"1234567")
        assert response.keep_alive
        return response

    async with served(handlers={"/": handler}) as it:
        answer = await ask(it, "/")
        assert answer.field("Set-Cookie") == b"ours=1; Path=/"
        assert answer.body == b"1234567"
    await response.write_eof(b"again")


async def test_a_body_known_whole_needs_no_writing() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return RelayedResponse(200, None, [(b"content-type", b"text/plain")], body=b"whole")

    async with served(handlers={"/": handler}) as it:
        answer = await ask(it, "/")
        assert (answer.body, answer.field("Content-Length")) == (b"whole", b"5")
        assert (await ask(it, "/", method="HEAD")).field("Content-Length") == b"5"


@on_both_loops
async def test_head_and_first_chunk_leave_together_unless_the_head_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []

    def watched(request: web.Request) -> None:
        transport = request.transport
        assert transport is not None
        monkeypatch.setattr(request.protocol, "transport", Recording(transport, writes))

    def recording(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        async def recorded(request: web.Request) -> web.StreamResponse:
            watched(request)
            return await handler(request)

        return recorded

    known = [(b"content-length", b"2")]
    handlers = {
        "/known": recording(relays(200, known, b"hi")),
        "/open": recording(relays(200, [], b"hi")),
        "/flushed": recording(relays(200, [], b"hi", flush=True)),
    }
    async with served(handlers=handlers) as it:
        counts = []
        for path in handlers:
            writes.clear()
            assert (await ask(it, path)).body == b"hi"
            counts.append(len(writes))
        assert counts == [1, 2, 3]  # the whole; with a last chunk; with a head by itself


class Recording:
    """A transport that notes what is written through it."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@on_both_loops
async def test_a_flushed_head_arrives_before_there_is_a_body() -> None:
    body = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = RelayedResponse(200, None, [(b"x-early", b"1")])
        await response.prepare(request)
        await response.flush_head()
        await body.wait()
        await response.write(b"hi")
        return response

    async with served(handlers={"/": handler}) as it, connected(it.port) as client:
        await client.send(f"GET / HTTP/1.1\r\n{HOST}\r\n")
        assert b"x-early: 1" in await client.interim()
        body.set()
        assert await client.read(12) == b"2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, [(b"x", b"a\r\nb: c")]),
        (200, [(b"x", b"a\nb")]),
        (200, [(b"x", b"a\rb")]),
        (200, [(b"x", b"a\0b")]),
        (200, [(b"x\r\ny", b"a")]),
        (200, [(b"x y", b"a")]),
        (200, [(b"x:", b"a")]),
        (200, [(b"", b"a")]),
        (200, [(b"x\xe9", b"a")]),
        (200, [(b"content-length", b"1"), (b"Content-Length", b"2")]),
        (200, [(b"content-length", b"+1")]),
        (200, [(b"content-length", b"1, 1")]),
        (200, [(b"content-length", b"")]),
        (200, [(b"content-length", "١".encode())]),
        (101, []),
        (100, []),
        (1000, []),
    ],
)
def test_what_cannot_be_sent_is_refused(status: int, fields: Fields) -> None:
    with pytest.raises(ValueError):
        RelayedResponse(status, None, fields)
    with pytest.raises(ValueError, match="reason"):
        RelayedResponse(200, "OK\r\nx: y", [])


async def test_equal_lengths_are_one_length() -> None:
    twice = [(b"Content-Length", b"2"), (b"content-length", b"2")]
    async with served(handlers={"/": relays(200, twice, b"hi")}) as it:
        assert (await ask(it, "/")).all("Content-Length") == [b"2"]


async def test_what_a_signal_injects_is_refused_and_another_answer_is_whole() -> None:
    async def inject(request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, RelayedResponse) and response.status == 200:
            response.headers["x"] = "a\r\nx-injected: b"

    @web.middleware
    async def answering(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except ValueError:
            return web.Response(status=502, text="refused")

    app = Served().app({"/": relays(200, [], b"hi"), "/null": relays(200, [], b"hi", reason="a\0b")})
    app.middlewares.append(answering)
    app.on_response_prepare.append(inject)
    async with served(app=app) as it:
        for path in ("/", "/null"):
            answer = await ask(it, path)
            assert (answer.status, answer.body) == (502, b"refused")
            assert answer.field("x-injected") is None


async def test_random_fields_survive() -> None:
    fields = [(f"x-{n}".encode(), os.urandom(50).translate(None, b"\r\n\0").strip(b" ") or b"x") for n in range(100)]
    async with served(handlers={"/": relays(200, [*fields, (b"date", b"now")], b"hi")}) as it:
        assert (await ask(it, "/")).fields[:100] == fields


async def test_an_answer_in_one_write_still_hears_out_a_client_that_is_sending() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = RelayedResponse(200, None, [(b"content-length", b"2")])
        assert await response.deliver(request, b"hi")
        return response

    async with served(handlers={"/": handler}) as it, connected(it.port) as client:
        await client.send(f"POST / HTTP/1.1\r\n{HOST}Content-Length: 100000\r\n\r\n")
        answer = await client.response()
        assert (answer.body, answer.field("Connection")) == (b"hi", b"close")
        (connection,) = it.runner.server.connections
        assert connection.lingering


async def test_answers_that_nobody_takes_do_not_pile_up() -> None:
    body, answered, transports = b"z" * (1 << 20), [], []

    async def handler(request: web.Request) -> web.StreamResponse:
        answered.append(request.path)
        transports.append(request.transport)
        response = RelayedResponse(200, None, [(b"content-length", b"%d" % len(body))])
        assert await response.deliver(request, body)
        return response

    async with served(handlers={"/": handler}) as it, connected(it.port, receive_buffer=4096) as client:
        await client.send(*[f"GET / HTTP/1.1\r\n{HOST}\r\n" for _ in range(50)])
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert len(answered) < 20
        assert transports[-1].get_write_buffer_size() <= 2 * len(body)
        for _ in range(50):
            assert (await client.response()).body == body
    assert len(answered) == 50


async def test_a_client_is_not_invited_once_it_is_answered() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = RelayedResponse(200, None, [(b"content-length", b"5")])
        await response.deliver(request, b"hello")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await request.content.readany()
        return response

    async with served(handlers={"/": handler}) as it, connected(it.port) as client:
        await client.send(f"POST / HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\nhello")

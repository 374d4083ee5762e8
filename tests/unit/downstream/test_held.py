"""A request that comes in pieces is read as one, if the rest comes in a moment; and no worse if it does not."""

import asyncio
import time

import pytest
from aiohttp import web

from gateway.downstream import held
from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.held import MOST, missing
from gateway.downstream.known_request import KnownRequest
from gateway.wire import shape
from tests.guarded_app import on_both_loops, served
from tests.raw_http import connected

HEAD = b"POST /seen HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n"


class Seen:
    """Answers with what it read; tells of each request whether it was known by its shape, and when it came."""

    def __init__(self) -> None:
        self.known: list[bool] = []
        self.at: list[float] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.known.append(isinstance(request._message, KnownRequest))
        self.at.append(time.monotonic())
        return web.Response(body=await request.read())


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "HOLD_SECONDS", 5.0)


@pytest.mark.parametrize(
    ("data", "lacks"),
    [
        (HEAD % 4, 4),
        (HEAD % 4 + b"ab", 2),
        (HEAD % 4 + b"abcd", 0),
        (HEAD % 4 + b"abcdGET /", 0),
        (HEAD % 0, 0),
        (HEAD.lower() % 4, 4),
        (HEAD % MOST, MOST),
        (HEAD % (MOST + 1), 0),
        ((HEAD % 4)[:-1], 0),
        ((HEAD % 4).replace(b"Length: 4", b"Length: 4, 4"), 0),
        ((HEAD % 4).replace(b"Host", b"expect: 100-continue\r\nHost"), 0),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nContent-Length: 4\r\n", 0),
        (b"", 0),
    ],
)
def test_what_can_be_expected_in_a_moment_is_the_rest_of_a_small_body(data: bytes, lacks: int) -> None:
    assert missing(data) == lacks


@on_both_loops
async def test_head_and_body_that_come_apart_are_known_like_others(patient: None) -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it, connected(it.port) as client:
        for number in range(4):
            await client.send(HEAD % 4, 0.005, b"bo%d" % number, 0.005, b"y")
            assert (await client.response()).body == b"bo%dy" % number
    assert seen.known == [False, False, True, True]


@on_both_loops
async def test_what_comes_behind_is_the_next_request(patient: None) -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it, connected(it.port) as client:
        for _ in range(3):
            await client.send(HEAD % 4, 0.005, b"body" + HEAD % 5 + b"an", 0.005, b"oth")
            assert (await client.response()).body == b"body"
            assert (await client.response()).body == b"anoth"


@on_both_loops
async def test_a_handler_does_not_wait_long_for_a_body_that_does_not_come() -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it, connected(it.port) as client:
        began = time.monotonic()
        await client.send(HEAD % 4)
        while not seen.at:
            await asyncio.sleep(0.001)
        assert seen.at[0] - began < 1
        await client.send(b"body")
        assert (await client.response()).body == b"body"


@on_both_loops
async def test_what_is_held_is_judged_when_nothing_more_can_come(patient: None) -> None:
    async with served() as it, connected(it.port) as client:
        await client.send((HEAD % 4).replace(b"gateway", b"x y"), 0.02)
        client.end_of_sending()
        assert (await client.response()).status == 400
        assert len(it.malformed) == 1


@on_both_loops
async def test_what_is_held_is_served_while_the_server_drains(patient: None) -> None:
    async with served(handlers={"/seen": Seen().handle}) as it, connected(it.port) as client:
        await client.send(HEAD % 4, 0.02)
        assert it.runner is not None and it.runner.server is not None
        it.runner.server.pre_shutdown()
        await client.send(b"body")
        response = await asyncio.wait_for(client.response(), 2)
        assert (response.status, response.body) == (200, b"body")


@on_both_loops
async def test_a_connection_that_holds_a_request_is_not_idle(patient: None) -> None:
    bounds = ConnectionBounds(head_timeout=5, body_timeout=5, linger=1, keepalive_timeout=0.1)
    async with served(bounds=bounds, handlers={"/seen": Seen().handle}) as it, connected(it.port) as client:
        for _ in range(2):
            await client.send(HEAD % 4, 0.2, b"body")
            assert (await client.response()).body == b"body"


@on_both_loops
async def test_a_client_may_leave_while_its_request_is_held(patient: None) -> None:
    seen = Seen()
    async with served(handlers={"/seen": seen.handle}) as it:
        async with connected(it.port) as client:
            await client.send(HEAD % 4, 0.02)
        async with connected(it.port) as client:
            await client.send(HEAD % 4, 0.02, b"body")
            assert (await client.response()).body == b"body"
    assert len(seen.at) <= 2


@on_both_loops
async def test_a_broken_request_is_refused_as_in_one_piece(patient: None) -> None:
    async with served() as it, connected(it.port) as client:
        await client.send((HEAD % 4).replace(b"gateway", b"x y"), 0.02, b"body")
        assert (await client.response()).status == 400
        assert len(it.malformed) == 1

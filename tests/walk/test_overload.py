"""What happens when more is asked for than is taken on: a quick refusal, and those that watch are still answered."""

import asyncio
import io
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.telemetry.exchange import Outcome
from tests.process import Process
from tests.raw_http import connected
from tests.running import KEY, Running, Start, environ
from tests.scripted import Received, ScriptedUpstream, Step, answer, begin, end, event, flood, until_left

CHAT = "/provider/openai/v1/chat/completions"
WATCHED = ("/", "/health", "/livez", "/readyz", "/readyz?verbose", "/metrics", "/demo")
ROLES = ("POINTS", "WRITER", "JUDGE", "CANDIDATE_1", "CANDIDATE_2")
DEMO = {"GATEWAY_PROJECTS": "demo", **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ROLES}}


JSON = {"Content-Type": "application/json"}
JSON_FOR_ALICE = f"Host: gateway\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"


class Gate:
    """Holds answers back until it is opened."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    def step(self) -> Step:
        async def until_open(_: Received) -> None:
            await asyncio.wait_for(self._opened.wait(), 20)

        return until_open


@asynccontextmanager
async def streams(
    gateway: Running, upstream: ScriptedUpstream, count: int
) -> AsyncIterator[tuple[Gate, list[ClientResponse]]]:
    """So many streams that have begun, and do not go on until the gate is opened."""
    gate = Gate()
    async with AsyncExitStack() as stack:
        responses = []
        for _ in range(count):
            upstream.will(begin(), gate.step(), event(b"[DONE]"), end())
            response = gateway.session.post(CHAT, json={"stream": True})
            responses.append(await stack.enter_async_context(response))
        yield gate, responses
        gate.open()
    async with asyncio.timeout(5):
        while gateway.gateway.recorder.open_exchanges:  # the clients have left, which has to be noticed
            await asyncio.sleep(0.005)


async def assert_overloaded(response: ClientResponse) -> None:
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["x-gateway-error"] == "overloaded"
    assert "x-should-retry" not in response.headers
    assert (await response.json())["error"]["code"] == "overloaded"


async def test_beyond_what_is_served_at_once_a_request_is_refused_at_once(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_MAX_CONCURRENT="3")
    async with streams(gateway, upstream, 3) as (gate, responses):
        began = time.monotonic()
        for _ in range(20):
            async with gateway.session.post(CHAT, json={"stream": True}) as refused:
                await assert_overloaded(refused)
        assert time.monotonic() - began < 2
        async with gateway.session.get("/projects") as refused:
            assert refused.status == 503
        assert len(upstream.requests) == 3
        gate.open()
        for response in responses:
            assert await response.read() == b"data: [DONE]\n\n"
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 200
    assert {exchange.outcome for exchange in gateway.exchanges} == {Outcome.COMPLETE, Outcome.REFUSED}


@pytest.mark.parametrize("path", WATCHED)
async def test_those_that_watch_are_answered_under_full_load(
    start: Start, upstream: ScriptedUpstream, path: str
) -> None:
    gateway = await start(GATEWAY_MAX_CONCURRENT="1")
    async with streams(gateway, upstream, 1), ClientSession() as stranger:
        async with stranger.get(gateway.url + path) as response:
            assert response.status == 200
        async with stranger.get(gateway.url + "/projects") as response:
            assert response.status == 401


async def test_a_place_is_free_again_however_a_request_ends(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_MAX_CONCURRENT="1", GATEWAY_PROVIDER_OPENAI_MAX_CONCURRENT="1")
    upstream.will(until_left())
    leaving = asyncio.create_task(gateway.session.post(CHAT, json={}))
    await upstream.received()
    leaving.cancel()
    await gateway.exchange()
    upstream.will(answer(b"{}", "500 Oh"))
    for path, status in ((CHAT, 500), ("/nothing", 404), (CHAT + "?stream_mode=x", 400), (CHAT, 200), (CHAT, 200)):
        async with gateway.session.post(path, json={}) as response:
            assert response.status == status
    async with ClientSession() as stranger, stranger.post(gateway.url + CHAT) as response:
        assert response.status == 401
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 200


async def test_a_refusal_costs_the_client_no_upload(start: Start, upstream: ScriptedUpstream) -> None:
    for more in ({"GATEWAY_MAX_CONCURRENT": "1"}, {"GATEWAY_PROVIDER_OPENAI_MAX_CONCURRENT": "1"}):
        gateway = await start(**more)
        async with streams(gateway, upstream, 1), connected(gateway.port) as client:
            await client.send(
                f"POST {CHAT} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
                "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await client.response()).status == 503


async def test_each_provider_has_a_bound_of_its_own(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_MAX_CONCURRENT="2", **DEMO)
    async with streams(gateway, upstream, 2):
        async with gateway.session.post(CHAT, json={}) as refused:
            await assert_overloaded(refused)
        async with gateway.session.post("/provider/anthropic/v1/messages", json={}) as response:
            assert response.status == 200
        async with gateway.session.post("/projects/demo/summary", json={"text": "words"}) as refused:
            assert refused.status == 503
            assert (await refused.json())["code"] == "overloaded"
        assert gateway.exchanges[0].calls == []
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 200


async def test_no_call_waits_for_a_connection_unless_that_is_wanted(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_POOL_SIZE="1")
    async with streams(gateway, upstream, 1):
        async with gateway.session.post(CHAT, json={}) as refused:
            await assert_overloaded(refused)
    gateway = await start(GATEWAY_POOL_SIZE="1", GATEWAY_PROVIDER_OPENAI_MAX_CONCURRENT="2")
    async with streams(gateway, upstream, 1) as (gate, _):
        waiting = asyncio.create_task(gateway.session.post(CHAT, json={}))
        async with asyncio.timeout(5):
            while 'gateway_pool_waiting{provider="openai"} 1' not in await metrics(gateway):
                await asyncio.sleep(0.01)
        gate.open()
        async with await waiting as response:
            assert response.status == 200


async def metrics(gateway: Running) -> str:
    async with gateway.session.get("/metrics") as response:
        return await response.text()


BOUNDS = (
    ("GATEWAY_MAX_HEADER_BYTES", "2000", "X-A: " + "a" * 1500 + "\r\nX-B: " + "b" * 1500, 431),
    ("GATEWAY_MAX_FIELD_BYTES", "300", "X-A: " + "a" * 400, 431),
    ("GATEWAY_MAX_FIELDS", "10", "\r\n".join(f"X-{number}: 1" for number in range(20)), 431),
)


@pytest.mark.parametrize(("name", "bound", "fields", "status"), BOUNDS)
async def test_bounds_on_a_requests_head_are_the_operators(
    start: Start, name: str, bound: str, fields: str, status: int
) -> None:
    request = f"GET /livez HTTP/1.1\r\nHost: gateway\r\n{fields}\r\n\r\n"
    for gateway, expected in ((await start(), 200), (await start(**{name: bound}), status)):
        async with connected(gateway.port) as client:
            await client.send(request)
            assert (await client.response()).status == expected


async def test_the_longest_target_is_the_operators(start: Start) -> None:
    for more, status in (({}, 200), ({"GATEWAY_MAX_TARGET_BYTES": "300"}, 414)):
        gateway = await start(**more)
        async with connected(gateway.port) as client:
            await client.send("GET /livez?" + "a" * 1000 + " HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert (await client.response()).status == status


async def test_one_number_may_bound_fields_and_targets_alike(start: Start) -> None:
    gateway = await start(GATEWAY_MAX_TARGET_BYTES="300", GATEWAY_MAX_FIELD_BYTES="300")
    for request, status in (("GET /" + "a" * 400, 414), (f"GET / HTTP/1.1\r\nX-A: {'a' * 400}", 431)):
        async with connected(gateway.port) as client:
            version = "" if "HTTP" in request else " HTTP/1.1"
            await client.send(f"{request}{version}\r\nHost: gateway\r\n\r\n")
            assert (await client.response()).status == status


async def test_patience_with_slow_clients_is_the_operators(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_HEAD_TIMEOUT="0.3", GATEWAY_BODY_TIMEOUT="0.3", GATEWAY_SEND_TIMEOUT="0.3")
    async with connected(gateway.port) as head, connected(gateway.port) as body:
        await head.send("GET /livez HTTP/1.1\r\nHos")
        await body.send(f"POST {CHAT} HTTP/1.1\r\n{JSON_FOR_ALICE}Content-Length: 100\r\n\r\n{{")
        assert (await head.response()).status == 408
        assert (await body.response()).status == 408
    upstream.will(begin(kind="application/octet-stream"), flood(200 << 20))
    async with connected(gateway.port, receive_buffer=4096) as stalled:
        await stalled.send(f"GET /provider/openai/v1/files HTTP/1.1\r\n{JSON_FOR_ALICE}\r\n")
        async with asyncio.timeout(10):
            while not any(exchange.outcome is Outcome.CLIENT_GONE for exchange in gateway.exchanges):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(("rate", "status"), [("100000", 408), ("1", 200)])
async def test_how_slow_a_body_may_be_is_the_operators(start: Start, rate: str, status: int) -> None:
    gateway = await start(GATEWAY_BODY_TIMEOUT="0.4", GATEWAY_MIN_BODY_RATE=rate)
    async with connected(gateway.port) as slow:
        await slow.send(f"POST {CHAT} HTTP/1.1\r\n{JSON_FOR_ALICE}Content-Length: 10\r\n\r\n")
        await slow.send(*[piece for _ in range(10) for piece in (" ", 0.15)])
        assert (await slow.response()).status == status


async def test_an_idle_connection_is_kept_as_long_as_the_operator_says(start: Start) -> None:
    gateway = await start(GATEWAY_KEEPALIVE_TIMEOUT="0.3")
    async with connected(gateway.port) as idle:
        for _ in range(2):
            await idle.send("GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
            assert (await idle.response()).status == 200
        assert await idle.rest() == b""


async def test_too_many_connections_are_told_so(start: Start) -> None:
    gateway = await start(GATEWAY_MAX_CONNECTIONS="1")
    async with connected(gateway.port) as first, connected(gateway.port) as second:
        await first.send("GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await first.response()).status == 200
        await second.send("GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await second.response()).status == 503


# Many connections


@pytest.fixture
def descriptors() -> Iterator[int]:
    """How many descriptors this process may have open, once it has taken all it can."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_ten_thousand_idle_connections_leave_the_gateway_serving(
    descriptors: int, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    count = min(10_000, descriptors - 500)
    assert count >= 1000, "this machine lets nobody have connections"
    names = environ(upstream.url, GATEWAY_KEEPALIVE_TIMEOUT="120")
    del names["GATEWAY_PORT"]
    async with Process(tmp_path, names) as process, ClientSession(headers={"X-API-Key": KEY}) as session:
        idle = await asyncio.wait_for(asyncio.to_thread(_idle, process.port, count), 60)
        try:
            began = time.monotonic()
            for path in ("/health", "/livez", "/readyz"):
                async with session.get(process.url + path) as response:
                    assert response.status == 200
            upstream.will(begin(), event(b"[DONE]"), end())
            async with session.post(process.url + CHAT, json={"stream": True}) as response:
                assert await response.read() == b"data: [DONE]\n\n"
            async with session.get(process.url + "/metrics") as response:
                open_now = next(
                    line for line in (await response.text()).splitlines() if line.startswith("process_open_fds")
                )
                assert float(open_now.split()[-1]) > count
            assert time.monotonic() - began < 5
            for connection in (idle[0], idle[-1]):
                assert await asyncio.to_thread(_asked, connection) == b"HTTP/1.1 200 OK"
        finally:
            for connection in idle:
                connection.close()


def _idle(port: int, count: int) -> list[socket.socket]:
    """So many connections, each after a request of its own."""
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connections.append(connection)
        assert _asked(connection) == b"HTTP/1.1 200 OK"
    return connections


def _asked(connection: socket.socket) -> bytes:
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
    return connection.recv(4096).partition(b"\r\n")[0]


async def test_a_gateway_takes_all_the_descriptors_it_may(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        async with Process(tmp_path, {}) as process:
            limits = Path(f"/proc/{process.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
    assert told[3] == told[4]


# Large bodies

MIB = 1 << 20
ROOM = {"GATEWAY_MAX_BODY_BYTES": str(4 * MIB), "GATEWAY_MAX_BUFFERED_BYTES": str(8 * MIB)}
LARGE = b'"' + b"x" * (3 * MIB) + b'"'


def upload_head(framing: str) -> str:
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n{framing}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )


async def test_large_bodies_that_do_not_fit_into_memory_are_refused_before_they_are_sent(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(**ROOM)
    async with AsyncExitStack() as stack:
        invited = []
        for _ in range(2):  # 6 of 8 MiB
            client = await stack.enter_async_context(connected(gateway.port))
            await client.send(upload_head(f"Content-Length: {len(LARGE)}"))
            assert b"100 Continue" in await client.interim()
            invited.append(client)
        for _ in range(20):
            async with connected(gateway.port) as client:
                await client.send(upload_head(f"Content-Length: {len(LARGE)}"))
                refused = await client.response()
                assert (refused.status, refused.field("Retry-After")) == (503, b"1")
                assert refused.field("x-gateway-error") == b"overloaded"
        async with gateway.session.post(CHAT, json={"text": "x" * 900_000}) as small:
            assert small.status == 200
        for client in invited:
            await client.send(LARGE)
            assert (await client.response()).status == 200
    await gateway.exchange(2 + 20 + 1)
    async with gateway.session.post(CHAT, data=io.BytesIO(LARGE), headers=JSON) as response:  # there is room again
        assert response.status == 200
    assert [len(request.body) for request in upstream.requests] == [900_012, len(LARGE), len(LARGE), len(LARGE)]


async def test_a_body_of_unknown_length_is_counted_as_it_grows(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**ROOM)
    piece = b"%x\r\n%b\r\n" % (MIB, b"x" * MIB)
    async with connected(gateway.port) as first, connected(gateway.port) as second, connected(gateway.port) as third:
        for client in (first, second):
            await client.send(upload_head("Transfer-Encoding: chunked"))
            await client.interim()
            await client.send(*[piece] * 3, 0.3)
        await third.send(upload_head("Transfer-Encoding: chunked"))
        await third.interim()
        await third.send(*[piece] * 4)
        refused = await third.response()
        assert (refused.status, refused.field("x-gateway-error")) == (503, b"overloaded")
        for client in (first, second):
            await client.send("0\r\n\r\n")
            assert (await client.response()).status == 200


@pytest.mark.parametrize("how", ["leaves", "breaks"])
async def test_a_client_that_does_not_send_its_body_gives_the_room_back(
    start: Start, upstream: ScriptedUpstream, how: str
) -> None:
    gateway = await start(**ROOM)
    for _ in range(6):
        async with connected(gateway.port) as client:
            framing = f"Content-Length: {len(LARGE)}" if how == "leaves" else "Transfer-Encoding: chunked"
            await client.send(upload_head(framing))
            await client.interim()
            await client.send("200000\r\n", b"x" * (2 * MIB), 0.05)
            if how == "leaves":
                client.leave()
            else:
                await client.send("no chunk at all\r\n")
                assert (await client.response()).status == 400
    await gateway.exchange(6)
    async with gateway.session.post(CHAT, data=io.BytesIO(LARGE), headers=JSON) as response:
        assert response.status == 200


async def test_a_body_of_a_hundred_mebibytes_passes_by_default(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start()
    most = 100 * MIB
    body = io.BytesIO(b'"' + b"x" * (most - 2) + b'"')
    async with gateway.session.post(CHAT, data=body, headers=JSON) as response:
        assert response.status == 200
    assert len((await upstream.received()).body) == most
    async with connected(gateway.port) as client:
        await client.send(upload_head(f"Content-Length: {most + 1}"))
        assert (await client.response()).status == 413

"""The files of `nginx/` keep their README's promises: a real nginx runs them before an application that watches."""

import asyncio
import io
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests import needing
from tests.edge import Edge, nginx
from tests.raw_http import connected
from tests.running import environ, run_gateway
from tests.tcp import seconds_to_probe

pytestmark = pytest.mark.integration

PROMISED = 0.050
TRIES = 3  # the promise is nginx's; a machine that is busy elsewhere gets another try
A_PLAIN_LOCATION = "proxy_pass http://gateway;"
BUFFERED = "include proxy.conf; proxy_buffering on; proxy_request_buffering on; client_body_buffer_size 16k; gzip off;"


class Watching:
    """An application that streams in lockstep with its client, and tells what reaches it."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()  # the client has what was sent last
        self.left = asyncio.Event()
        self.reached = asyncio.Event()
        self.first_bytes = asyncio.Event()
        self.sent_at = 0.0
        self.targets: list[str] = []
        self.headers: list[dict[str, str]] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/provider/x/events", self.events),
            web.get("/provider/x/silent", self.silent),
            web.get("/provider/x/socket", self.socket),
            web.get("/provider/x/steering", self.steering),
            web.post("/provider/x/upload", self.upload),
            web.post("/provider/x/too-large", self.too_large),
            web.get("/docs", self.page),
            web.route("*", "/{rest:.*}", self.other),
        ]

    async def events(self, request: web.Request) -> web.StreamResponse:
        """So many events, each sent when the one before has arrived."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number in range(int(request.query.get("count", "20"))):
                self.seen.clear()
                self.sent_at = time.monotonic()
                await response.write(b"data: %d\n\n" % number)
                await self.seen.wait()
        except (asyncio.CancelledError, ConnectionResetError):
            self.left.set()
            raise
        return response

    async def silent(self, request: web.Request) -> web.StreamResponse:
        self.reached.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.left.set()
            raise
        return web.Response()

    async def socket(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "") != "websocket":
            return web.Response(status=426, text=request.headers.get("Upgrade", "no upgrade"))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"heard {message.data}")
        return socket

    async def steering(self, request: web.Request) -> web.Response:
        return web.Response(text="the provider's", headers={"X-Accel-Redirect": "/docs", "X-Accel-Limit-Rate": "1"})

    async def upload(self, request: web.Request) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            self.first_bytes.set()
        return web.json_response({"size": size})

    async def too_large(self, request: web.Request) -> web.Response:
        return web.json_response({"error": {"code": "request_too_large"}}, status=413)

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text="<p>a page</p>" * 1000, content_type="text/plain")

    async def other(self, request: web.Request) -> web.Response:
        self.targets.append(request.raw_path)
        self.headers.append(dict(request.headers))
        return web.Response(text="the gateway's")


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
async def behind(watching: Watching) -> AsyncIterator[int]:
    """The port of the application behind nginx."""
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(watching.routes())
    # As production runs its handlers: they learn that their client left.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


Start = Callable[..., Awaitable[Edge]]


@pytest.fixture
async def start(behind: int, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an nginx before the application; text for a file as keywords."""
    async with AsyncExitStack() as stack:

        async def started(**how: Any) -> Edge:
            return await stack.enter_async_context(nginx(tmp_path / "nginx", [behind], **how))

        yield started


@pytest.fixture
async def edge(start: Start) -> Edge:
    return await start()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(needing.program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(directory / "privkey.pem"), "-out", str(directory / "fullchain.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return directory


# The timing


async def delays(edge: Edge, session: aiohttp.ClientSession, watching: Watching, deadline: float = 5.0) -> list[float]:
    """How long each event took; TimeoutError if one is kept back. The next is sent when the last has arrived."""
    taken = []
    async with asyncio.timeout(deadline):
        async with session.get(f"{edge.url}/provider/x/events", headers={"Accept-Encoding": "gzip"}) as response:
            assert "Content-Encoding" not in response.headers
            async for _ in response.content.iter_any():
                taken.append(time.monotonic() - watching.sent_at)
                watching.seen.set()
    return taken


async def test_every_event_arrives_within_fifty_milliseconds(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    tried = [await delays(edge, session, watching) for _ in range(TRIES)]
    assert [len(taken) for taken in tried] == [20] * TRIES
    assert min(max(taken) for taken in tried) < PROMISED


async def test_a_plain_location_keeps_events_back_so_the_timing_is_known_to_measure(
    start: Start, session: aiohttp.ClientSession, watching: Watching
) -> None:
    edge = await start(streaming=A_PLAIN_LOCATION)
    with pytest.raises(TimeoutError):
        await delays(edge, session, watching, deadline=0.5)


async def test_gzip_is_on_for_pages_and_off_for_streams(edge: Edge, session: aiohttp.ClientSession) -> None:
    wants_gzip = {"Accept-Encoding": "gzip"}
    async with session.get(f"{edge.url}/docs", headers=wants_gzip) as page:
        assert page.headers["Content-Encoding"] == "gzip"
        assert len(await page.read()) < 1000
    # The stream's own coding is checked in `delays`, event by event.


async def test_events_pass_http_2_over_tls_as_they_come(start: Start, watching: Watching, certificate: Path) -> None:
    edge = await start(certificate=certificate)
    curl = await asyncio.create_subprocess_exec(
        *(needing.program("curl"), "-sN", "--http2", "--cacert", f"{certificate}/fullchain.pem", "--max-time", "10"),
        *("-w", "HTTP/%{http_version}", f"{edge.url}/provider/x/events?count=5"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert curl.stdout is not None
    for number in range(5):
        assert await curl.stdout.readuntil(b"\n\n") == b"data: %d\n\n" % number
        watching.seen.set()
    assert await curl.stdout.read() == b"HTTP/2"
    assert await curl.wait() == 0


async def test_tls_before_1_2_is_refused(start: Start, certificate: Path) -> None:
    edge = await start(certificate=certificate)

    async def greeted(*versions: str) -> str:
        curl = await asyncio.create_subprocess_exec(
            *(needing.program("curl"), "-sS", "--cacert", f"{certificate}/fullchain.pem", "--max-time", "10"),
            *("--ciphers", "DEFAULT@SECLEVEL=0", *versions, f"{edge.url}/health"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return (await curl.communicate())[0].decode()

    assert await greeted("--tlsv1.2", "--tls-max", "1.2") == "the gateway's"
    assert await greeted("--tlsv1.3") == "the gateway's"
    assert "alert protocol version" in await greeted("--tlsv1.1", "--tls-max", "1.1")
    assert "alert protocol version" in await greeted("--tlsv1.0", "--tls-max", "1.0")


# A silence


async def test_a_silent_connection_is_probed_within_a_minute(edge: Edge, watching: Watching) -> None:
    async with connected(edge.port) as client:
        await client.send("GET /provider/x/silent HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            await watching.reached.wait()
        local = client._writer.get_extra_info("sockname")
        async with asyncio.timeout(5):
            while (left := seconds_to_probe(("127.0.0.1", edge.port), local)) is None:
                await asyncio.sleep(0.01)
        assert 0 < left <= 60


# Leaving


async def test_a_client_that_leaves_in_mid_stream_reaches_the_application(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    async with session.get(f"{edge.url}/provider/x/events") as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(2):
        await watching.left.wait()


async def test_a_client_that_leaves_before_the_first_byte_reaches_the_application(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    asking = asyncio.create_task(session.get(f"{edge.url}/provider/x/silent"))
    async with asyncio.timeout(5):
        await watching.reached.wait()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(2):
        await watching.left.wait()


# Uploads and sizes


async def begin_upload(edge: Edge, session: aiohttp.ClientSession, watching: Watching) -> dict[str, int]:
    """Send half of a body, and the other half once the first has reached the application."""

    async def halves() -> AsyncIterator[bytes]:
        yield b"x" * (1 << 20)
        async with asyncio.timeout(1):
            await watching.first_bytes.wait()
        assert edge.scratch() == []
        yield b"x" * (1 << 20)

    async with session.post(f"{edge.url}/provider/x/upload", data=halves()) as response:
        answer: dict[str, int] = await response.json()
        return answer


async def test_an_upload_passes_while_it_is_sent_and_touches_no_disk(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    assert await begin_upload(edge, session, watching) == {"size": 2 << 20}


async def test_a_buffering_location_spools_uploads_so_that_check_is_known_to_measure(
    start: Start, session: aiohttp.ClientSession, watching: Watching
) -> None:
    edge = await start(streaming=BUFFERED)
    with pytest.raises((TimeoutError, aiohttp.ClientError)):
        await begin_upload(edge, session, watching)


@pytest.mark.parametrize("size", [2 << 20, 64 << 20])
async def test_a_413_is_the_applications_own(edge: Edge, session: aiohttp.ClientSession, size: int) -> None:
    async with session.post(f"{edge.url}/provider/x/too-large", data=io.BytesIO(b"x" * size)) as response:
        assert response.status == 413
        assert await response.json() == {"error": {"code": "request_too_large"}}


async def test_a_413_of_the_real_gateway_comes_through_in_the_callers_dialect(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        gateway = await run_gateway(stack, environ("http://127.0.0.1:1", GATEWAY_MAX_BODY_BYTES="1000"))
        edge = await stack.enter_async_context(nginx(tmp_path / "nginx", [gateway.port]))
        for size in (2_000, 8 << 20):
            target = f"{edge.url}/provider/anthropic/v1/messages"
            body = io.BytesIO(b'"' + b"x" * size + b'"')
            async with gateway.session.post(
                target, data=body, headers={"Content-Type": "application/json"}
            ) as response:
                assert response.status == 413
                assert response.headers["x-gateway-error"] == "request_too_large"
                assert (await response.json())["error"]["type"] == "request_too_large"


# Reloading


async def test_a_reload_under_open_streams_loses_none(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    old = edge.workers()
    async with session.get(f"{edge.url}/provider/x/events?count=40") as response:
        got = await response.content.readany()
        await edge.reload()
        assert edge.workers() & old  # one of them stays for its stream
        async with session.get(f"{edge.url}/health") as another:
            assert await another.text() == "the gateway's"
        watching.seen.set()
        async for piece in response.content.iter_any():
            got += piece
            watching.seen.set()
    assert got == b"".join(b"data: %d\n\n" % number for number in range(40))
    async with asyncio.timeout(5):
        while edge.workers() & old:
            await asyncio.sleep(0.02)


# What crosses, and what does not


@pytest.mark.parametrize(
    "target", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics", "/provider/x/%2e%2e/%2e%2e/metrics"]
)
async def test_metrics_are_closed_in_every_spelling(edge: Edge, watching: Watching, target: str) -> None:
    async with connected(edge.port) as client:
        await client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
        response = await client.response()
    assert response.status == 404
    assert response.field("x-gateway-error") == b"edge_not_found"
    assert watching.targets == []


async def test_a_target_goes_on_as_it_was_sent(edge: Edge, watching: Watching) -> None:
    target = "/provider/x/a%2Fb//c/%E2%82%AC;v=1?x=1&x=&y=+%20&&z=%zz"
    async with connected(edge.port) as client:
        await client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.response()
    assert watching.targets == [target]


async def test_fields_with_underscores_are_not_dropped(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    async with session.get(f"{edge.url}/health", headers={"some_field": "kept"}):
        assert watching.headers[0]["some_field"] == "kept"


async def test_claims_about_the_caller_are_replaced_unless_a_trusted_proxy_makes_them(
    start: Start, session: aiohttp.ClientSession, watching: Watching
) -> None:
    claims = {
        "X-Forwarded-For": "203.0.113.7",
        "X-Real-IP": "203.0.113.8",
        "Forwarded": "for=203.0.113.9",
        "X-Forwarded-Proto": "gopher",
    }
    edge = await start(trusted_proxies="")
    async with session.get(f"{edge.url}/health", headers=claims):
        told = watching.headers[0]
    assert told["X-Forwarded-For"] == told["X-Real-IP"] == "127.0.0.1"
    assert told["X-Forwarded-Proto"] == "http"
    assert "Forwarded" not in told


async def test_a_trusted_proxys_word_about_the_caller_is_believed(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    async with session.get(f"{edge.url}/health", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}):
        assert watching.headers[0]["X-Forwarded-For"] == "203.0.113.7"
    assert (await edge.line())["client"] == "203.0.113.7"


async def test_a_harmless_request_id_is_kept_and_any_other_replaced(
    edge: Edge, session: aiohttp.ClientSession, watching: Watching
) -> None:
    async with session.get(f"{edge.url}/health", headers={"X-Request-ID": "caller-0123456789"}):
        pass
    async with session.get(f"{edge.url}/health", headers={"X-Request-ID": 'a"} {"forged'}):
        pass
    assert watching.headers[0]["X-Request-ID"] == "caller-0123456789"
    assert re.fullmatch(r"[0-9a-f]{32}", watching.headers[1]["X-Request-ID"])
    assert (await edge.line(2))["request_id"] == watching.headers[1]["X-Request-ID"]


async def test_a_websocket_passes_and_no_other_upgrade_does(edge: Edge, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{edge.url}/provider/x/socket") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str(timeout=5) == "heard hello"
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    async with session.get(f"{edge.url}/provider/x/socket", headers=upgrade) as response:
        assert (response.status, await response.text()) == (426, "no upgrade")


async def test_a_provider_cannot_steer_nginx(edge: Edge, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{edge.url}/provider/x/steering") as response:
        assert await response.text() == "the provider's"


async def test_a_ticket_in_a_query_is_in_no_log(behind: int, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with nginx(tmp_path / "nginx", [behind]) as edge:
        async with session.get(f"{edge.url}/provider/x/y?ticket=CANARY"):
            pass
        line = await edge.line()
        assert line["path"] == "/provider/x/y"
        assert "CANARY" not in edge.log()
    async with nginx(tmp_path / "nobody-behind", [1]) as edge:
        async with session.get(f"{edge.url}/provider/x/y?ticket=CANARY"):
            pass
        assert (await edge.line())["status"] == 503
        assert "CANARY" not in edge.log()


# What nginx itself refuses


async def test_a_gateway_that_is_down_is_a_503_that_sdks_can_read_and_try_again(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with nginx(tmp_path / "nginx", [1]) as edge, session.post(f"{edge.url}/provider/x/y", data=b"{}") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert response.headers["x-gateway-error"] == "edge_unreachable"
        answer = await response.json()
        assert answer["type"] == "error"
        assert answer["error"]["code"] == "edge_unreachable"


async def test_a_flood_from_one_address_is_refused_in_json(edge: Edge) -> None:
    async with connected(edge.port) as client:
        await client.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 900)
        answers = [await client.response() for _ in range(900)]
    refused = [answer for answer in answers if answer.status == 429]
    assert [answer.status for answer in answers[:400]] == [200] * 400
    assert refused
    assert refused[0].field("content-type") == b"application/json"
    assert b'"rate_limit_error"' in refused[0].body


async def test_what_is_no_http_is_refused_in_json(edge: Edge) -> None:
    async with connected(edge.port) as client:
        await client.send("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
        response = await client.response()
    assert response.status == 400
    assert b'"edge_bad_request"' in response.body


# The README


def directives() -> set[str]:
    """Every directive in the shipped files."""
    found = set()
    for path in (needing.ROOT / "nginx").glob("*.conf"):
        text = re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", path.read_text())
        text = re.sub(r"(map|log_format)\b[^{;]*\{[^}]*\}", r"\1;", text)
        found |= set(re.findall(r"(?:^|[;{}])\s*([a-z][a-z0-9_]*)\b", text))
    return found


def test_the_readme_gives_every_directives_reason() -> None:
    told = " ".join(
        line.split("|")[1] for line in (needing.ROOT / "nginx/README.md").read_text().splitlines() if line[:3] == "| `"
    )
    named = set(re.findall(r"[`, ]([a-z][a-z0-9_]{2,})\b", told))
    assert len(directives()) > 60
    assert directives() - named == set()

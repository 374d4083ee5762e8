"""Why a provider gave no answer is told apart in log, span and metric, and to the client in words without names."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import UpstreamFailure
from gateway.telemetry import span_export
from gateway.telemetry.access_log import json_line, text_line
from tests import read_spans
from tests.contract.authority import Authority
from tests.process import free_port
from tests.running import Running, Start
from tests.scripted import ScriptedUpstream

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def listening(speak: Speak) -> AsyncIterator[int]:
    """A server on loopback that speaks no protocol of its own accord; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await speak(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


def saying(text: bytes) -> Speak:
    """Whatever comes is answered with `text`."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 16)
        writer.write(text)
        await writer.drain()
        await asyncio.sleep(0.2)

    return speak


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def told(gateway: Running, status: int, code: str, failure: str, words: str) -> None:
    """Call the provider, and look at what the client, the record and the views are told."""
    body = {"model": "m", "messages": []}
    async with gateway.session.post(f"/provider/openai{CHAT}", json=body) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (status, code)
    assert words in error["message"]
    assert re.search(r"127\.0\.0\.1|invalid|\d{4,}|\[|Errno|certificate verify|OpenSSL", error["message"]) is None
    exchange = await gateway.exchange()
    assert UpstreamFailure(failure) == exchange.calls[-1].failure
    line = json.loads(json_line(exchange))
    assert (line["level"], line["error"], line["upstream_failure"]) == ("warning", code, failure)
    assert f" upstream_failure={failure} " in text_line(exchange).decode()
    async with gateway.session.get("/metrics") as response:
        figures = await response.text()
    assert f'gateway_upstream_failures_total{{provider="openai",cause="{failure}"}} 1' in figures


Begin = Callable[[str], Awaitable[Running]]


@pytest.fixture
def begin(start: Start) -> Begin:
    async def begun(url: str) -> Running:
        return await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=url, GATEWAY_PROVIDER_OPENAI_CONNECT_TIMEOUT="2")

    return begun


UNREACHABLE = (502, "upstream_unreachable")


async def test_a_host_name_that_is_not_known(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = asyncio.BaseEventLoop.getaddrinfo

    async def unknown(loop: asyncio.BaseEventLoop, host: object, *rest: object, **more: object) -> object:
        if host == "no-such-host.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await looked_up(loop, host, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", unknown)
    gateway = await begin("http://no-such-host.invalid")
    await told(gateway, *UNREACHABLE, "dns", "could not be resolved")


async def test_a_port_on_which_nothing_listens(begin: Begin) -> None:
    await told(await begin(f"http://127.0.0.1:{free_port()}"), *UNREACHABLE, "connection_refused", "refused")


async def test_a_certificate_that_nobody_trusts(begin: Begin, tmp_path: Path) -> None:
    async with ScriptedUpstream(tls=Authority(tmp_path).server()) as secure:
        await told(await begin(secure.url), *UNREACHABLE, "tls_certificate", "certificate of openai could not be")


async def test_a_server_without_tls_behind_https(begin: Begin) -> None:
    async with listening(saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as port:
        await told(await begin(f"https://127.0.0.1:{port}"), *UNREACHABLE, "tls_protocol", "No TLS connection")


async def test_a_server_that_closes_while_tls_begins(begin: Begin) -> None:
    async with listening(closing) as port:
        await told(await begin(f"https://127.0.0.1:{port}"), *UNREACHABLE, "connection_reset", "closed the connection")


async def test_a_server_that_never_answers_in_tls(begin: Begin) -> None:
    async with listening(silent) as port:
        gateway = await begin(f"https://127.0.0.1:{port}")
        await told(gateway, 504, "upstream_timeout", "connect_timeout", "within its connect timeout")


async def test_a_server_that_never_answers(start: Start) -> None:
    async with listening(silent) as port:
        url = f"http://127.0.0.1:{port}"
        gateway = await start(GATEWAY_PROVIDER_OPENAI_BASE_URL=url, GATEWAY_PROVIDER_OPENAI_FIRST_BYTE_TIMEOUT="0.5")
        await told(gateway, 504, "upstream_timeout", "first_byte_timeout", "did not begin to answer")


async def test_a_server_that_closes_without_an_answer(begin: Begin) -> None:
    async with listening(closing) as port:
        gateway = await begin(f"http://127.0.0.1:{port}")
        await told(gateway, 502, "upstream_error", "disconnected", "broke off before it answered")


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "failure"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x0a", "malformed_status_line"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "malformed_status_line"),
        (b"HTTP/9.9 200 OK\r\n\r\n", "malformed_status_line"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "malformed_status_line"),
        (b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n", "malformed_status_line"),
        (OK + b"Na me: x\r\nContent-Length: 0\r\n\r\n", "malformed_field"),
        (OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", "malformed_field"),
        (OK + b"Content-Length: 1x\r\n\r\n", "malformed_content_length"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "malformed_content_length"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "malformed_transfer_encoding"),
        (OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n", "head_too_large"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "unexpected_upgrade"),
    ],
)
async def test_an_answer_that_is_malformed_by_the_rule_it_breaks(begin: Begin, head: bytes, failure: str) -> None:
    async with listening(saying(head)) as port:
        words = "" if failure == "unexpected_upgrade" else "sent a"
        await told(await begin(f"http://127.0.0.1:{port}"), 502, "upstream_error", failure, words)


async def test_a_span_tells_it_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.02)
    async with ScriptedUpstream() as collector:
        url = f"http://127.0.0.1:{free_port()}"
        more = {"GATEWAY_PROVIDER_OPENAI_BASE_URL": url, "PHOENIX_COLLECTOR_ENDPOINT": collector.url}
        gateway = await start(**more)
        async with gateway.session.post(f"/provider/openai{CHAT}", json={"model": "m"}) as response:
            assert response.status == 502
        received = await collector.received()
    spans = [span for found in read_spans.of_request(received.body).values() for span in found]
    (call,) = [span for span in spans if span.kind == "CLIENT"]
    assert json.loads(call.attributes["metadata"])["failure"] == "connection_refused"
    assert call.attributes["error.type"] == "upstream_unreachable"

"""Verify a deployed gateway from outside: each check asks it something and tells what it saw.

A check that cannot be made with what was given (no --log, no --phoenix, ...) is skipped and says what it lacks; with
--strict that fails. Needs nothing but the standard library and aiohttp, so it also runs inside the gateway's image.
Rule: a check believes only what it sees on the wire, never what the gateway says of itself.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

PATIENCE = 20.0  # seconds for a log line, a count or a span to show up
AT_ONCE = 5.0
PACE = 0.1  # seconds between two words that the mock upstream is asked for
WORDS = 8
PROMPT = "Count from one to forty, in words, one per line."
FAR_TOO_LARGE = 1 << 50


class Failed(Exception):
    """A check does not hold."""


class Skipped(Exception):
    """A check cannot be made; says what it lacks."""


@dataclass
class Site:
    """The deployment, and how to look at it."""

    asked: argparse.Namespace
    session: aiohttp.ClientSession
    request_ids: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(self.asked.url).rstrip("/")

    @property
    def chat(self) -> str:
        return f"{self.url}/provider/{self.asked.provider}/v1/chat/completions"

    @property
    def is_mock(self) -> bool:
        return "mock" in self.asked.model

    def body(self, *, stream: bool = False) -> dict[str, Any]:
        """A chat completion; the mock upstream takes its time for it if it is streamed."""
        model = f"{self.asked.model}+pace={PACE}+words={WORDS}" if self.is_mock and stream else self.asked.model
        body = {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": PROMPT}]}
        return {**body, "stream": True, "stream_options": {"include_usage": True}} if stream else body

    @asynccontextmanager
    async def call(self, **how: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """A chat completion with the key; it has to be answered 200."""
        fields = {"Authorization": f"Bearer {self.asked.key}", **how.pop("headers", {})}
        async with self.session.post(self.chat, headers=fields, json=self.body(**how)) as response:
            if response.status != 200:
                raise Failed(f"{response.status} {shortened(await response.text())}")
            self.request_ids.append(response.headers.get("x-gateway-request-id", ""))
            yield response


# The checks, in the order in which they are made. Each returns what it saw.


async def starts(site: Site) -> str:
    async with site.session.get(f"{site.url}/health") as response:
        expect(response.status == 200, f"/health is {response.status}")
        health = await response.json()
    for path in ("/livez", "/readyz"):
        async with site.session.get(f"{site.url}{path}") as response:
            expect(response.status == 200, f"{path} is {response.status}: {shortened(await response.text())}")
    return f"version {health['version']}, build {health['build']}, up {health['uptime_seconds']} s, live and ready"


async def is_configured(site: Site) -> str:
    fields = {"Authorization": f"Bearer {site.asked.key}"}
    async with site.session.get(f"{site.url}/provider/no-such-provider/v1/models", headers=fields) as response:
        expect(response.status == 404, f"a provider nobody configured is {response.status}")
        ours = response.headers.get("x-gateway-error")
        expect(ours is not None, "a 404 without x-gateway-error: something in front answers in the gateway's place")
    async with site.session.get(f"{site.url}/provider/{site.asked.provider}/v1/models", headers=fields) as response:
        ours = response.headers.get("x-gateway-error")
        expect(response.status == 200, f"{site.asked.provider}'s models: {response.status}, x-gateway-error {ours}")
        models = [model["id"] for model in (await response.json()).get("data", [])]
    return f"provider {site.asked.provider} answers and lists {len(models)} models"


async def asks_for_a_key(site: Site) -> str:
    refused = {
        "no key": {},
        "a wrong key": {"Authorization": f"Bearer gw_nobody-{secrets.token_hex(16)}"},
    }
    for name, fields in refused.items():
        async with site.session.post(site.chat, headers=fields, json=site.body()) as response:
            expect(response.status == 401, f"{name}: {response.status} where 401 is due")
    async with site.session.post(f"{site.chat}?key={site.asked.key}", json=site.body()) as response:
        expect(response.status == 401, f"the key in a query: {response.status} where 401 is due")
    async with site.session.get(f"{site.url}/no/such/path") as response:
        expect(response.status == 401, f"an unknown path without a key: {response.status} where 401 is due")
    return "401 without a key, with a wrong one, with one in the query, and on unknown paths"


async def answers(site: Site) -> str:
    began = time.monotonic()
    async with site.call() as response:
        answer = await response.json()
        request_id = response.headers.get("x-gateway-request-id", "")
    expect(request_id != "", "no x-gateway-request-id")
    expect("choices" in answer, f"no completion: {shortened(json.dumps(answer))}")
    return f"a completion of {answer.get('usage', {}).get('completion_tokens')} tokens in {ms(began)} ms, {request_id}"


async def streams(site: Site) -> str:
    began = time.monotonic()
    arrivals, body = [], b""
    async with site.call(stream=True) as response:
        kind = response.content_type
        expect(kind == "text/event-stream", f"{kind} where text/event-stream is due")
        expect("Content-Encoding" not in response.headers, "the stream is compressed, which holds events back")
        async for piece in response.content.iter_any():
            arrivals.append(time.monotonic())
            body += piece
    events = body.count(b"data: ")
    expect(b"data: [DONE]" in body, f"{events} events, and no [DONE] at the end")
    spread, whole = arrivals[-1] - arrivals[0], arrivals[-1] - began
    # What the mock upstream says, it says piece by piece; a provider may say several things at once.
    least = WORDS if site.is_mock else 3
    expect(
        len(arrivals) >= least and spread > whole / 4,
        f"buffered: {events} events in {len(arrivals)} pieces within {spread * 1000:.0f} of {whole * 1000:.0f} ms",
    )
    first = (arrivals[0] - began) * 1000
    return f"{events} events in {len(arrivals)} pieces over {spread * 1000:.0f} ms, the first after {first:.0f} ms"


async def notices_who_leaves(site: Site) -> str:
    async with site.call(stream=True) as response:
        await response.content.readany()
        request_id = response.headers.get("x-gateway-request-id", "")
        response.close()
    if site.asked.log or site.asked.log_command:
        line = await log_line(site, request_id)
        expect(line["outcome"] == "client_gone", f"the log says {line['outcome']}, where client_gone is due")
        return f"left in mid-stream: the log says client_gone after {line['duration_ms']:.0f} ms"
    if site.is_mock:
        await until(lambda: mock_saw_a_client_leave(site), "the mock upstream was not left")
        return "left in mid-stream: the upstream's connection was closed too"
    raise Skipped("needs --log or --log-command, or the mock upstream as provider")


async def limits_sizes(site: Site) -> str:
    target = urlsplit(site.chat)
    secure = site.session.connector._ssl if target.scheme == "https" and site.session.connector else None  # type: ignore[attr-defined]
    port = target.port or (443 if target.scheme == "https" else 80)
    reader, writer = await asyncio.open_connection(target.hostname, port, ssl=secure)
    writer.write(
        f"POST {target.path} HTTP/1.1\r\nHost: {target.netloc}\r\nAuthorization: Bearer {site.asked.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {FAR_TOO_LARGE}\r\n\r\n{{".encode()
    )
    try:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), AT_ONCE)).decode("latin-1").lower()
    except TimeoutError:
        raise Failed("a body announced as a petabyte is not refused before it is sent") from None
    finally:
        writer.close()
    status = head.split()[1]
    expect(status == "413", f"a body announced as a petabyte: {status} where 413 is due")
    expect(
        "x-gateway-error: request_too_large" in head, "the 413 is not the gateway's: something in front limits bodies"
    )
    return "a body announced as a petabyte is refused at once, in the gateway's own words"


async def keeps_metrics_inside(site: Site) -> str:
    async with site.session.get(f"{site.url}/metrics") as response:
        outside = response.status
    if site.asked.metrics is None:
        raise Skipped(f"needs --metrics; at the address given, /metrics is {outside}")
    if urlsplit(site.asked.metrics).netloc != urlsplit(site.url).netloc:
        expect(outside in (401, 403, 404), f"/metrics is open to the outside: {outside}")
    return f"/metrics is {outside} at the address given"


async def counts(site: Site) -> str:
    if site.asked.metrics is None:
        raise Skipped("needs --metrics")
    before = await requests_counted(site)
    async with site.call() as response:
        await response.read()

    async def has_risen() -> bool:
        return await requests_counted(site) > before

    await until(has_risen, "gateway_requests_total does not rise")
    return f"gateway_requests_total rose above {before:g} for this provider"


async def logs(site: Site) -> str:
    async with site.call() as response:
        await response.read()
        request_id = response.headers.get("x-gateway-request-id", "")
    line = await log_line(site, request_id)
    lacking = [
        name for name in ("time", "method", "path", "status", "outcome", "client", "duration_ms") if name not in line
    ]
    expect(not lacking, f"the line lacks {', '.join(lacking)}")
    expect((line["status"], line["outcome"]) == (200, "complete"), f"the line says {line['status']} {line['outcome']}")
    expect(site.asked.key not in await log_text(site), "the key stands in the log")
    tokens = f"{line.get('input_tokens')} + {line.get('output_tokens')} tokens"
    return f"client {line['client']}, {line['status']} {line['outcome']}, {line['duration_ms']:.0f} ms, {tokens}"


async def traces(site: Site) -> str:
    if site.asked.phoenix is None:
        raise Skipped("needs --phoenix")
    trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
    async with site.call(headers={"traceparent": f"00-{trace_id}-{parent}-01"}) as response:
        await response.read()
    found: list[dict[str, Any]] = []

    async def arrived() -> bool:
        found[:] = [span for span in await spans(site) if span["context"]["trace_id"] == trace_id]
        return any(span["span_kind"] == "LLM" for span in found)

    await until(arrived, f"no LLM span of trace {trace_id} in Phoenix's project {site.asked.phoenix_project}")
    model = next(span for span in found if span["span_kind"] == "LLM")
    attributes = model["attributes"]
    tokens = attributes.get("llm.token_count.total")
    expect(tokens is not None, "the LLM span tells no tokens")
    inside = [span for span in found if span["context"]["span_id"] == model["parent_id"]]
    expect(bool(inside), "the LLM span has no parent in its trace")
    return f"{len(found)} spans of our trace: {model['name']} below {inside[0]['name']}, {tokens} tokens"


CHECKS: tuple[tuple[str, Callable[[Site], Awaitable[str]]], ...] = (
    ("start-up", starts),
    ("auth", asks_for_a_key),
    ("configuration", is_configured),
    ("unary call", answers),
    ("streamed call, unbuffered", streams),
    ("cancel", notices_who_leaves),
    ("limits", limits_sizes),
    ("log line", logs),
    ("metrics closed outside", keeps_metrics_inside),
    ("metrics", counts),
    ("Phoenix spans", traces),
)


# What they look with


def expect(true: bool, otherwise: str) -> None:
    """Fail a check."""
    if not true:
        raise Failed(otherwise)


async def until(true: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    """Wait for what takes a moment to show."""
    deadline = time.monotonic() + PATIENCE
    while not await true():
        expect(time.monotonic() < deadline, f"{otherwise} within {PATIENCE:g} s")
        await asyncio.sleep(0.2)


async def mock_saw_a_client_leave(site: Site) -> bool:
    fields = {"Authorization": f"Bearer {site.asked.key}"}
    async with site.session.get(f"{site.url}/provider/{site.asked.provider}/mock/requests", headers=fields) as response:
        expect(response.status == 200, f"the mock upstream's journal is {response.status}")
        seen = [request for request in (await response.json())["requests"] if request["method"] == "POST"]
    return bool(seen) and bool(seen[-1]["left"])


async def requests_counted(site: Site) -> float:
    """How many requests of the provider the gateways have counted, all that were asked together."""
    fields = {"Authorization": f"Bearer {site.asked.metrics_token}"} if site.asked.metrics_token else {}
    total = 0.0
    for address in site.asked.metrics.split(","):
        async with site.session.get(address, headers=fields) as response:
            expect(response.status == 200, f"{address} is {response.status}")
            text = await response.text()
        # Label values have braces of their own: routes are templates.
        counted = rf'^gateway_requests_total\{{.*provider="{re.escape(site.asked.provider)}".*\}} (\S+)$'
        expect("gateway_build_info" in text, f"{address} shows no metrics of a gateway")
        total += sum(float(value) for value in re.findall(counted, text, re.MULTILINE))
    return total


async def log_line(site: Site, request_id: str) -> dict[str, Any]:
    """The line of one request."""
    found: list[dict[str, Any]] = []

    async def written() -> bool:
        for line in (await log_text(site)).splitlines():
            if request_id in line:
                # A collector may have put its own words before the JSON.
                found.append(json.loads(line[line.index("{") :]))
        return bool(found)

    await until(written, f"no log line of {request_id}")
    return found[-1]


async def log_text(site: Site) -> str:
    if site.asked.log:
        return "".join([await asyncio.to_thread(Path(name).read_text, errors="replace") for name in site.asked.log])
    if site.asked.log_command:
        done = await asyncio.to_thread(
            subprocess.run, site.asked.log_command, shell=True, capture_output=True, text=True, timeout=PATIENCE
        )
        return str(done.stdout)
    raise Skipped("needs --log or --log-command")


async def spans(site: Site) -> list[dict[str, Any]]:
    address = f"{site.asked.phoenix.rstrip('/')}/v1/projects/{site.asked.phoenix_project}/spans"
    async with site.session.get(address, params={"limit": "100"}) as response:
        if response.status == 404:
            return []
        expect(response.status == 200, f"Phoenix answers {response.status}")
        found: list[dict[str, Any]] = (await response.json())["data"]
        return found


def ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f}"


def shortened(text: str) -> str:
    return " ".join(text.split())[:160]


# The table


async def verify(asked: argparse.Namespace) -> int:
    """Make every check; 0 if none failed."""
    secure = ssl.create_default_context(cafile=asked.ca) if asked.ca else ssl.create_default_context()
    timeout = aiohttp.ClientTimeout(total=120, connect=10)
    bad = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=secure), timeout=timeout) as session:
        site = Site(asked, session)
        for name, check in CHECKS:
            verdict, saw = await judged(check, site)
            print(f"{verdict:8} {name:26} {saw}", flush=True)
            bad += verdict == "FAILED" or (verdict == "skipped" and asked.strict)
    print(f"\n{len(CHECKS) - bad} of {len(CHECKS)} checks hold or were skipped" if bad else "\nnothing failed")
    return 1 if bad else 0


async def judged(check: Callable[[Site], Awaitable[str]], site: Site) -> tuple[str, str]:
    try:
        return "ok", await check(site)
    except Skipped as lacking:
        return "skipped", str(lacking)
    except Failed as reason:
        return "FAILED", str(reason)
    except (aiohttp.ClientError, OSError, EOFError, TimeoutError) as error:
        return "FAILED", f"{type(error).__name__}: {shortened(str(error))}"
    except (KeyError, ValueError, TypeError) as error:
        return "FAILED", f"an answer is not of the expected form: {error!r}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/verify", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="where clients reach it, such as https://gateway.example.com")
    parser.add_argument("--key", help="a gateway key that may use the provider (or GATEWAY_KEY in the environment)")
    parser.add_argument("--provider", default="mock", help="a provider of the OpenAI dialect (default: %(default)s)")
    parser.add_argument("--model", default="mock-model", help="one of its models (default: %(default)s)")
    parser.add_argument("--ca", metavar="FILE", help="trust this certificate")
    parser.add_argument("--log", metavar="FILE", action="append", help="a gateway's log; once for each")
    parser.add_argument("--log-command", metavar="CMD", help="prints the log, such as `docker compose logs gateway`")
    parser.add_argument("--metrics", metavar="URL,...", help="the gateways' /metrics, seen from inside")
    parser.add_argument(
        "--metrics-token", default=os.environ.get("GATEWAY_METRICS_TOKEN"), help="for them, if they ask"
    )
    parser.add_argument("--phoenix", metavar="URL", help="Phoenix, such as http://127.0.0.1:6006")
    parser.add_argument("--phoenix-project", default="default", help="where provider routes are traced")
    parser.add_argument("--strict", action="store_true", help="a check that must be skipped has failed")
    asked = parser.parse_args()
    asked.key = asked.key or os.environ.get("GATEWAY_KEY")
    if not asked.key:
        parser.error("a key is needed: --key or GATEWAY_KEY")
    return asked


if __name__ == "__main__":
    sys.exit(asyncio.run(verify(arguments())))

"""Heads that are recognized mean what the parser says they mean: the same bytes, once recognized and once parsed.

Fields are repeated, reordered, recased and empty, and their values vary from request to request on one connection.
"""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.downstream import known_request
from gateway.telemetry.access_log import json_line
from gateway.upstream.protocol import UpstreamProtocol
from gateway.wire import shape
from tests.raw_http import RawResponse, connected
from tests.running import KEY, OTHER_KEY, Running, environ, run_gateway
from tests.scripted import Received, ScriptedUpstream, Step, send

PAGE = "https://app.example.com"
FEATURES = {
    "plain": {},
    "cors": {"GATEWAY_CORS_ORIGINS": PAGE},
    "proxies": {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"},
    "forwarded": {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1", "GATEWAY_TRUSTED_PROXY_FIELDS": "forwarded"},
    "retries": {"GATEWAY_RETRIES": "1", "GATEWAY_RETRY_BACKOFF": "0.001"},
    "limits": {"GATEWAY_RATE_LIMITS": "key: 1000 requests/day"},
    "timing": {"GATEWAY_SERVER_TIMING": "true"},
    "session road": {"GATEWAY_UPSTREAM_ROAD": "session"},
}
FEATURES["all"] = {name: value for feature in FEATURES.values() for name, value in feature.items()}
FEATURES["all"] |= {"GATEWAY_UPSTREAM_ROAD": "auto", "GATEWAY_TRUSTED_PROXY_FIELDS": "auto"}

TARGETS = (
    "/provider/openai/v1/chat/completions",
    "/provider/openai/v1/chat/completions?stream_mode=json",
    "/provider/anthropic/v1/messages?beta=true",
    "/provider/gemini/v1beta/models/m:generateContent",
)
EVENTS = (
    b'data: {"choices":[],"candidates":[{"finishReason":"STOP"}]}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    b"data: [DONE]\n\n",
)
BODIES = (b"{}", b"", b'{"model":"m","messages":[]}', b'{"model":"m","input":"' + b"x" * 3000 + b'"}')


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


def hexadecimal(chosen: random.Random, digits: int) -> str:
    return f"{chosen.getrandbits(4 * digits):0{digits}x}"


def value_of(name: str, chosen: random.Random) -> str:
    """A value that varies; often one that means something in a field of this name."""
    number = chosen.randrange(50)
    likely = {
        "x-api-key": [*[KEY] * 20, OTHER_KEY, "gw_nobody"],
        "authorization": [f"Bearer {KEY}", f"bearer {OTHER_KEY}", "Basic YTpi"],
        "traceparent": [f"00-{hexadecimal(chosen, 32)}-{hexadecimal(chosen, 16)}-0{number % 2}", "00-0-0-00"],
        "tracestate": [f"a={number}", f"b={number},c=1", f"a={number},"],
        "x-forwarded-for": [f"10.0.0.{number}", f"10.1.0.1, 127.0.0.1, 10.0.1.{number}", "unknown"],
        "x-forwarded-proto": ["http", "https", "ftp"],
        "x-forwarded-host": [f"a{number}.example"],
        "forwarded": [f"for=10.2.0.{number};proto=https", f'for="[::{number}]", for=127.0.0.1'],
        "via": [f"1.1 proxy{number}", "1.1 a, 1.0 b", "1.1 llm-gateway"] if not number else [f"1.1 proxy{number}"],
        "origin": [PAGE, "https://evil.test"],
        "x-stream-mode": ["json", "sse"],
        "x-gateway-retries": [*"1010101", "x"],
        "x-stainless-retry-count": [str(number % 4)],
        "x-gateway-session-id": [f"session-{number}", "a%20b"],
        "x-gateway-prompt-template": ["Say {{word}}"],
        "x-request-id": [f"id-{number}", "a b"],
    }
    if chosen.random() < 0.05:
        return chosen.choice(["", "100%b\t%s", "\xe9"])
    return chosen.choice(likely.get(name.lower(), [f"{name}-{number}", f"{number},x"]))


NAMES = (
    *("anthropic-beta", "traceparent", "tracestate", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"),
    *("Forwarded", "Via", "Cookie", "Origin", "X-Stream-Mode", "X-Gateway-Retries", "X-Stainless-Retry-Count"),
    *("X-Request-ID", "Idempotency-Key", "X-Gateway-Session-Id", "X-Gateway-Prompt-Template", "Authorization"),
    *("X-API-Key", "api-key", "X-Amzn-Trace-Id", "baggage", "Proxy-Authorization", "X-Empty", "OpenAI-Beta"),
)


def recased(name: str, chosen: random.Random) -> str:
    return chosen.choice([name, name, name.lower(), name.upper(), name.swapcase()])


class Client:
    """Sends requests whose fields have the same names in the same order, some of them more than once."""

    def __init__(self, chosen: random.Random) -> None:
        names = ["X-API-Key"] * chosen.choice([1, 1, 1, 2])
        for name in chosen.sample(NAMES, chosen.randrange(1, 5)):
            names += [name] * chosen.choice([1, 2, 2, 3])
        chosen.shuffle(names)
        self._names = [recased(name, chosen) for name in names]
        self._length_at = chosen.randrange(len(names) + 1)
        self._target = chosen.choice(TARGETS)
        self._fixed = {name: value_of(name, chosen) for name in self._names if chosen.random() < 0.3}
        self._last: bytes | None = None

    def request(self, chosen: random.Random) -> bytes:
        """The next request; now and then the last one again."""
        if self._last is not None and chosen.random() < 0.2:
            return self._last
        lines = []
        for name in self._names:
            value = self._fixed.get(name)
            if value is None:
                value = value_of(name, chosen)
            lines.append(f"{name}: {value}")
        body = chosen.choice(BODIES)
        lines.insert(self._length_at, f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        head = "\r\n".join([f"POST {self._target} HTTP/1.1", "Host: gateway", *lines])
        self._last = head.encode("latin-1") + b"\r\n\r\n" + body
        return self._last


class Provider:
    """Answers with fields of a few shapes, with names that repeat and values that vary."""

    def __init__(self, chosen: random.Random) -> None:
        self._chosen = chosen
        self._shapes = [self._names() for _ in range(3)]

    def _names(self) -> list[str]:
        names: list[str] = []
        for name in self._chosen.sample(("Set-Cookie", "Vary", "x-request-id", "Retry-After", "X-A", "Server"), 3):
            names += [name] * self._chosen.choice([1, 2, 3])
        self._chosen.shuffle(names)
        return [recased(name, self._chosen) for name in names]

    def answer(self) -> Step:
        chosen = self._chosen
        lines = [f"{name}: {name}-{chosen.randrange(9)}" for name in chosen.choice(self._shapes)]
        if chosen.random() < 0.3:
            body = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS) + b"0\r\n\r\n"
            lines += ["Content-Type: text/event-stream", "Transfer-Encoding: chunked"]
        else:
            body = chosen.choice([b"{}", b'{"model":"m","usage":{"prompt_tokens":3,"completion_tokens":4}}', b""])
            lines.insert(len(lines) // 2, f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        status = chosen.choice([*["200 OK"] * 9, "404 Not Found"])
        return send("\r\n".join([f"HTTP/1.1 {status}", *lines]).encode("latin-1") + b"\r\n\r\n" + body)


Facts = tuple[object, ...]


def anonymous(text: str, sent: bytes) -> str:
    """`text` without the ids and times that are made anew for each request; ids that the client sent stay."""
    text = re.sub(r"req_[0-9a-f]{24}", "REQUEST-ID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", lambda id: id[0] if id[0].encode() in sent else "TRACE-ID", text)
    text = re.sub(r"(?<=-)[0-9a-f]{16}(?=-0)", "SPAN-ID", text)
    return re.sub(r"dur=[0-9.]+|t=[0-9]+|(?<=-requests: )[0-9hms.]+s|\b20[0-9]{2}-[0-9]{2}-[0-9T:.]+Z", "TIME", text)


def of_upstream(got: Received, sent: bytes) -> Facts:
    assert got.raw_fields[0][0] == b"Host"  # which differs by its port
    lines = [name + b": " + value for name, value in got.raw_fields[1:]]
    return got.line, [anonymous(line.decode("latin-1"), sent) for line in lines], got.body


def of_answer(answer: RawResponse, sent: bytes) -> Facts:
    lines = [name + b": " + value for name, value in answer.fields if name != b"Date"]
    fields = [anonymous(line.decode("latin-1"), sent) for line in lines]
    return answer.status, answer.reason, fields, anonymous(answer.body.decode("latin-1"), sent), answer.complete


def of_line(line: bytes, sent: bytes) -> Facts:
    shown: dict[str, Any] = json.loads(line)
    calls = shown.get("calls", ())
    for each in (shown, *calls):
        each.pop("duration_ms")
        each.pop("first_byte_ms", None)
    return (anonymous(json.dumps(shown), sent),)


async def conversation(gateway: Running, upstream: ScriptedUpstream, chosen: random.Random, count: int) -> list[Facts]:
    """What comes of `count` requests from clients that take turns on one connection, or the next if it is closed."""
    clients, provider = [Client(chosen) for _ in range(2)], Provider(chosen)
    facts: list[Facts] = []
    while len(facts) < count:
        async with connected(gateway.port) as client:
            keeps_alive = True
            while keeps_alive and len(facts) < count:
                sent = chosen.choice(clients).request(chosen)
                calls = len(upstream.requests)
                upstream.forget()
                upstream.will(provider.answer())
                await client.send(sent)
                answer = await client.response()
                keeps_alive = answer.complete and answer.field("Connection") != b"close"
                called = [of_upstream(got, sent) for got in upstream.requests[calls:]]
                facts.append((sent, called, of_answer(answer, sent), await logged(gateway, answer, sent)))
    return facts


async def logged(gateway: Running, answer: RawResponse, sent: bytes) -> Facts:
    """The log line of an exchange; a request that never became one has none."""
    id = answer.field("x-gateway-request-id")
    if id is None:
        return ()
    async with asyncio.timeout(5):
        while not (found := [exchange for exchange in gateway.exchanges if exchange.id == id.decode()]):
            await asyncio.sleep(0)
    return of_line(json_line(found[0]), sent)


@asynccontextmanager
async def fresh(names: dict[str, str]) -> AsyncIterator[tuple[Running, ScriptedUpstream]]:
    async with AsyncExitStack() as stack, ScriptedUpstream() as upstream:
        yield await run_gateway(stack, environ(upstream.url, **names)), upstream


@pytest.fixture
def recognized(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How many requests and responses were read without a parser."""
    count: Counter[str] = Counter()
    read, receive = known_request.OneConnection.read, UpstreamProtocol._receive_known

    def counted_read(self: known_request.OneConnection, data: bytes) -> known_request.KnownRequest | None:
        request = read(self, data)
        count["requests"] += request is not None
        return request

    def counted_receive(self: UpstreamProtocol, *arguments: Any) -> bool:
        received = receive(self, *arguments)
        count["responses"] += received
        return received

    monkeypatch.setattr(known_request.OneConnection, "read", counted_read)
    monkeypatch.setattr(UpstreamProtocol, "_receive_known", counted_receive)
    yield count


@pytest.mark.parametrize("feature", FEATURES)
async def test_what_is_recognized_is_what_is_parsed(
    feature: str, recognized: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def walked() -> list[Facts]:
        chosen, facts = random.Random(f"{feature} 1"), []
        async with fresh(FEATURES[feature]) as (gateway, upstream):
            for _ in range(6):
                facts += await conversation(gateway, upstream, chosen, 40)
            assert gateway.gateway.fallbacks.count == 0
        return facts

    with monkeypatch.context() as patched:
        patched.setattr(shape.Shapes, "find", lambda self, data: None)
        parsed = await walked()
    assert not recognized.total()
    for number, (known, expected) in enumerate(zip(await walked(), parsed, strict=True)):
        assert known == expected, f"request {number}"
    assert recognized["requests"] > 100
    assert recognized["responses"] > 50 or feature == "session road"

"""A client that says the same again on its connection is known without a look at its key, as long as that is good."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gateway.access.clients import Client, Clients
from gateway.configuration import load
from gateway.downstream.middlewares import authenticate
from gateway.wire import shape
from tests.raw_http import RawClient, connected
from tests.running import KEY, OTHER_KEY, Start, environ
from tests.scripted import ScriptedUpstream

EXPIRES = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "PAUSE", 0.0)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that were looked up."""
    asked: list[bytes] = []

    def find(clients: Clients, secret: bytes) -> Client | None:
        asked.append(secret)
        return original(clients, secret)

    original = Clients.find
    monkeypatch.setattr(Clients, "find", find)
    return asked


async def ask(client: RawClient, key: str = KEY) -> int:
    head = f"POST /provider/openai/v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {key}\r\n"
    await client.send(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}")
    return (await client.response()).status


async def test_a_key_is_looked_up_once_and_anew_when_keys_change(
    start: Start, upstream: ScriptedUpstream, lookups: list[bytes]
) -> None:
    gateway = await start()
    names = environ(upstream.url)
    async with connected(gateway.port) as client:
        assert [await ask(client) for _ in range(8)] == [200] * 8
        assert len(lookups) == 4  # two that are learned from, two of which the second is kept
        gateway.gateway.take_over(load({**names, "GATEWAY_API_KEYS": f"bob={OTHER_KEY}"}))
        assert [await ask(client) for _ in range(2)] == [401] * 2
        assert await ask(client, OTHER_KEY) == 200
        gateway.gateway.take_over(load({**names, "GATEWAY_API_KEYS": f"carol={KEY};providers=anthropic"}))
        assert [await ask(client) for _ in range(2)] == [403] * 2
    assert [exchange.client for exchange in gateway.exchanges] == [*["alice"] * 8, None, None, "bob", "carol", "carol"]


async def test_a_key_that_expires_is_not_good_any_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, lookups: list[bytes]
) -> None:
    gateway = await start(GATEWAY_API_KEYS=f"alice={KEY};expires={EXPIRES:%Y-%m-%dT%H:%M:%SZ}")
    async with connected(gateway.port) as client:
        assert [await ask(client) for _ in range(8)] == [200] * 8
        assert len(lookups) == 4
        late = SimpleNamespace(time=lambda: EXPIRES.timestamp() + 1)
        monkeypatch.setattr(authenticate, "time", late)
        assert await ask(client) == 401
    assert gateway.exchanges[-1].error == "invalid_api_key"


async def test_another_key_on_the_same_connection_is_looked_at(start: Start, lookups: list[bytes]) -> None:
    gateway = await start()
    async with connected(gateway.port) as client:
        assert [await ask(client) for _ in range(5)] == [200] * 5
        assert await ask(client, KEY[:-1] + "e") == 401
        assert await ask(client, OTHER_KEY) == 403
        assert await ask(client) == 200
    assert [exchange.client for exchange in gateway.exchanges] == [*["alice"] * 5, None, "bob", "alice"]
    assert lookups[-3:] == [KEY[:-1].encode() + b"e", OTHER_KEY.encode(), KEY.encode()]

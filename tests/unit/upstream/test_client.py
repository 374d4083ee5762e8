"""What every request to one provider has in common."""

import asyncio
from typing import Any

import pytest
from yarl import URL

from gateway.providers.declarations import OPENAI
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.settings import Secret
from gateway.telemetry.metrics import Metrics
from gateway.upstream.client import UpstreamClient
from gateway.upstream.direct import DirectTransport
from gateway.upstream.retries import new_call
from gateway.upstream.session import SessionTransport
from gateway.upstream.transport import TransportFactory
from tests.made_exchanges import exchange
from tests.scripted import ScriptedUpstream, begin, event, until_left


class Live:
    """Counts nothing."""

    def calls_in_flight(self, provider: str) -> Any:
        return None


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://api.example.com", b"api.example.com"),
        ("https://api.example.com:443/v1", b"api.example.com:443"),
        ("http://api.example.com:8000", b"api.example.com:8000"),
        ("http://[::1]", b"[::1]"),
        ("http://[::1]:8000/", b"[::1]:8000"),
        ("https://ex\u00e4mple.com", b"xn--exmple-cua.com"),
    ],
)
async def test_the_host_field_is_as_the_base_url_has_it(base_url: str, host: bytes) -> None:
    provider = Provider("x", URL(base_url), OPENAI.dialect, OPENAI.credential, key=Secret("k"))
    async with UpstreamClient([provider], pool_size=1, live=Live(), transport=Transport) as client:
        assert client._lines["x"].host == host


class Transport:
    """Sends nothing."""

    def __init__(self, *_: object) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("transport", [DirectTransport, SessionTransport])
async def test_a_call_that_is_cancelled_again_while_its_end_is_awaited_frees_its_connection(
    transport: TransportFactory,
) -> None:
    request = UpstreamRequest("POST", "/v1/chat/completions", (), b"{}", 2)
    record, had_all = exchange(), asyncio.Event()

    async def read() -> None:
        async with client.call(record, provider, request, new_call(record, provider, request)) as response:
            async for _ in response.chunks():
                had_all.set()

    async with ScriptedUpstream() as upstream:
        upstream.will(begin(), event(b"[DONE]"), until_left())
        provider = Provider("x", URL(upstream.url), OPENAI.dialect, OPENAI.credential, key=Secret("k"))
        async with UpstreamClient([provider], pool_size=1, live=Metrics({}), transport=transport) as client:
            reading = asyncio.create_task(read())
            await asyncio.wait_for(had_all.wait(), 5)
            for _ in range(2):
                reading.cancel()
                await asyncio.sleep(0.05)
            await asyncio.wait((reading,), timeout=5)
            assert reading.cancelled()
            assert [pool.in_use for pool in client.pools()] == [0]
            await asyncio.wait_for(upstream.requests[0].closed.wait(), 5)

"""What every request to one provider has in common."""

from typing import Any

import pytest
from yarl import URL

from gateway.providers.declarations import OPENAI
from gateway.providers.provider import Provider
from gateway.settings import Secret
from gateway.upstream.client import UpstreamClient


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

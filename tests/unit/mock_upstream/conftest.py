"""A mock on a real socket, and the three SDKs that are to believe in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncOpenAI
from yarl import URL

from gateway.mock_upstream import JOURNAL, Journal, mock_app, serving

KEY = "sk-any-key-will-do"


@dataclass(frozen=True)
class Mock:
    app: web.Application
    url: URL
    session: aiohttp.ClientSession

    @property
    def journal(self) -> Journal:
        return self.app[JOURNAL]

    async def post(self, path: str, **said: Any) -> aiohttp.ClientResponse:
        return await self.request("POST", path, **said)

    async def get(self, path: str, **said: Any) -> aiohttp.ClientResponse:
        return await self.request("GET", path, **said)

    async def request(self, method: str, path: str, **said: Any) -> aiohttp.ClientResponse:
        """The response, its body read."""
        async with self.session.request(method, path, **said) as response:
            await response.read()
            return response


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    app = mock_app()
    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield Mock(app, url, session)


@pytest.fixture
async def openai(mock: Mock) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=KEY, base_url=str(mock.url / "v1"), max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic(mock: Mock) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key=KEY, base_url=str(mock.url.origin()), max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(mock: Mock) -> AsyncIterator[genai.client.AsyncClient]:
    client = genai.Client(api_key=KEY, http_options={"base_url": str(mock.url.origin())})
    yield client.aio
    await client.aio.aclose()
    client.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until something is so, for two seconds at most."""

    async def wait(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(2):
            while not is_so():
                await asyncio.sleep(0.005)

    return wait

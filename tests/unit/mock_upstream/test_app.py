"""Which API a request belongs to, and that every refusal is in that API's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.mock_upstream import mock_app, serving
from tests.unit.mock_upstream.conftest import Mock

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def dialect_of(error: dict[str, Any]) -> str:
    """Told from the shape of an error's body."""
    if error.get("type") == "error" and set(error) == {"type", "error", "request_id"}:
        return "anthropic"
    return "gemini" if "status" in error["error"] else "openai"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "dialect"),
    [
        ("GET", "/nowhere", {}, 404, "openai"),
        ("GET", "/v1/chat/completions", {}, 405, "openai"),
        ("POST", "/v1/chat/completions", {}, 400, "openai"),
        ("POST", "/v1/messages", {}, 400, "anthropic"),
        ("GET", "/v1/messages/batches/gone", {}, 404, "anthropic"),
        ("POST", "/v1beta/models/m:generateContent", {}, 400, "gemini"),
        ("POST", "/v1/models/m:generateContent", {}, 400, "gemini"),
        ("POST", "/v1/models/m:unheardOf", {}, 404, "gemini"),
        ("GET", "/v1beta/files/gone", {}, 404, "gemini"),
        ("GET", "/v1/files/gone", {}, 404, "openai"),
        ("GET", "/v1/files/gone", {"x-goog-api-key": "k"}, 404, "gemini"),
        ("GET", "/v1/models", {"x-mock-fail": "500"}, 500, "openai"),
        ("GET", "/v1/models", {"x-mock-fail": "500", "anthropic-version": "2023-06-01"}, 500, "anthropic"),
        ("GET", "/v1/models", {"x-mock-fail": "500", "x-goog-api-key": "k"}, 500, "gemini"),
        ("GET", "/v1/models", {"x-mock-fial": "500"}, 400, "openai"),
    ],
)
async def test_a_refusal_is_in_the_words_of_the_api_called(
    mock: Mock, method: str, path: str, headers: dict[str, str], status: int, dialect: str
) -> None:
    response = await mock.request(method, path, headers=headers)
    assert response.status == status
    assert dialect_of(await response.json()) == dialect


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"model": "m"}',
        b'{"model": 1, "messages": []}',
        b'{"messages": []}',
        b'{"model": "m", "messages": {}}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_body_that_is_no_request_is_refused(mock: Mock, path: str, body: bytes) -> None:
    assert (await mock.post(path, data=body)).status == 400


@pytest.mark.parametrize(
    "odd",
    [
        {"messages": [1, None, "text", [], {}]},
        {"messages": []},
        {"messages": [{"role": 1, "content": {"text": 2}}]},
        {"tools": [{"function": {"parameters": 1}}, 1]},
        {"tools": "all", "tool_choice": 1},
        {"stop": [1, None], "max_tokens": "many", "n": -1, "stream_options": []},
        {"response_format": {"type": "json_schema", "json_schema": []}},
        {"messages": [{"role": "user", "content": "\x00 \u2028 \U0001f600"}]},
    ],
)
async def test_an_odd_body_is_answered_all_the_same(mock: Mock, odd: dict[str, Any]) -> None:
    response = await mock.post("/v1/chat/completions", json=CHAT | odd)
    assert response.status == 200, await response.text()
    assert (await response.json())["choices"]


@pytest.fixture
async def strict() -> AsyncIterator[aiohttp.ClientSession]:
    """A session with a mock that wants to see a certain key."""
    async with serving(mock_app(required_key="right")) as url, aiohttp.ClientSession(url) as session:
        yield session


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {"Authorization": "Bearer right"}, 200),
        ("/v1/models", {"Authorization": "Bearer wrong"}, 401),
        ("/v1/models", {"Authorization": "Bearer right", "X-API-Key": "another"}, 401),
        ("/v1/models", {}, 401),
        ("/v1/models", {"anthropic-version": "2023-06-01", "x-api-key": "right"}, 200),
        ("/v1/models", {"anthropic-version": "2023-06-01", "x-api-key": "wrong"}, 401),
        ("/v1beta/models", {"x-goog-api-key": "right"}, 200),
        ("/v1beta/models", {"Authorization": "Bearer right"}, 401),
        ("/nowhere", {}, 401),
        ("/health", {}, 200),
        ("/mock/open", {}, 200),
    ],
)
async def test_a_required_key_must_be_where_the_api_takes_it(
    strict: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int
) -> None:
    async with strict.get(path, headers=headers) as response:
        assert response.status == status


async def test_a_wrong_key_does_not_matter_where_none_is_required(mock: Mock) -> None:
    response = await mock.post("/v1/chat/completions", json=CHAT, headers={"Authorization": "Basic nonsense"})
    assert response.status == 200

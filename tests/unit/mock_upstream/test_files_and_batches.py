"""Files and batches, as the SDKs see them."""

from __future__ import annotations

import io
import json
from typing import Any

import openai as openai_sdk
import pytest
from anthropic import AsyncAnthropic, NotFoundError
from google import genai
from openai import AsyncOpenAI

from gateway.mock_upstream.answers import reply
from gateway.mock_upstream.stored import MAX_ITEMS, Item, Shelf
from tests.unit.mock_upstream.conftest import Mock

# google-genai subclasses aiohttp's session, which aiohttp discourages.
# It also sends large parts as bytes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

HELLO: Any = [{"role": "user", "content": "Hello there!"}]


async def test_a_batch_of_messages(mock: Mock, anthropic: AsyncAnthropic) -> None:
    params: Any = {"model": "claude-mock", "max_tokens": 100, "messages": HELLO}
    requests: Any = [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": params}]
    batch = await anthropic.messages.batches.create(requests=requests)
    assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 2)
    assert batch.results_url == f"{mock.url.origin()}/v1/messages/batches/{batch.id}/results"
    assert [each.id async for each in anthropic.messages.batches.list()] == [batch.id]
    results = [line async for line in await anthropic.messages.batches.results(batch.id)]
    assert [line.custom_id for line in results] == ["a", "b"]
    assert results[0].result.type == "succeeded"
    assert results[0].result.message.content[0].text == reply("claude-mock", "Hello there!")  # type: ignore[union-attr]
    await anthropic.messages.batches.delete(batch.id)
    with pytest.raises(NotFoundError):
        await anthropic.messages.batches.retrieve(batch.id)


async def test_an_upload_in_parts(gemini: genai.client.AsyncClient) -> None:
    content = bytes(range(256)) * 40_000  # more than the SDK sends in one part
    file = await gemini.files.upload(file=io.BytesIO(content), config={"mime_type": "application/pdf"})
    assert file.name is not None
    assert (file.size_bytes, file.mime_type) == (len(content), "application/pdf")
    got = await gemini.files.get(name=file.name)
    assert (got.uri, got.sha256_hash) == (file.uri, file.sha256_hash)
    assert [each.name async for each in await gemini.files.list()] == [file.name]
    await gemini.files.delete(name=file.name)
    assert [each.name async for each in await gemini.files.list()] == []


async def test_a_part_must_follow_the_one_before(mock: Mock) -> None:
    start = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Protocol": "resumable"}
    begun = await mock.post("/upload/v1beta/files", json={"file": {}}, headers=start)
    part = {"X-Goog-Upload-Command": "upload", "X-Goog-Upload-Offset": "7"}
    refused = await mock.post(begun.headers["X-Goog-Upload-URL"], data=b"x", headers=part)
    assert refused.status == 400


async def test_a_batch_of_chats_from_a_file(openai: AsyncOpenAI) -> None:
    body = {"model": "mock-model", "messages": HELLO}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await openai.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = await openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert (await openai.batches.retrieve(batch.id)).status == "completed"
    assert [each.id async for each in openai.batches.list()] == [batch.id]
    assert batch.output_file_id is not None
    answered = json.loads((await openai.files.content(batch.output_file_id)).content)
    said = answered["response"]["body"]["choices"][0]["message"]["content"]
    assert (answered["custom_id"], said) == ("a", reply("mock-model", "Hello there!"))
    assert {each.id async for each in openai.files.list()} == {file.id, batch.output_file_id}
    await openai.files.delete(file.id)
    with pytest.raises(openai_sdk.NotFoundError):
        await openai.files.retrieve(file.id)


def test_the_oldest_go_when_there_are_too_many() -> None:
    shelf = Shelf()
    for number in range(MAX_ITEMS + 1):
        shelf.put(f"file-{number}", Item({"n": number}))
    assert [document["n"] for document in shelf.documents("file-")] == [*range(MAX_ITEMS, 0, -1)]

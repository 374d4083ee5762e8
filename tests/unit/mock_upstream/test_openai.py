"""The other OpenAI routes and its errors, as the openai SDK sees them."""

from __future__ import annotations

from typing import Any

import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse, Model

from gateway.mock_upstream.embeddings import vector
from tests.unit.mock_upstream.conftest import Mock

HELLO: Any = [{"role": "user", "content": "Hello there!"}]


async def test_embeddings_are_the_same_in_both_encodings(openai: AsyncOpenAI) -> None:
    numbers = await openai.embeddings.create(model="mock-embedding", input=["a", "b c"], encoding_format="float")
    encoded = await openai.embeddings.create(model="mock-embedding", input=["a", "b c"])  # the SDK asks for base64
    CreateEmbeddingResponse.model_validate(numbers.to_dict())
    assert [one.embedding for one in numbers.data] == [vector("a", 8), vector("b c", 8)]
    assert [one.embedding for one in encoded.data] == [one.embedding for one in numbers.data]
    assert (numbers.usage.prompt_tokens, numbers.usage.total_tokens) == (3, 3)


@pytest.mark.parametrize(
    ("given", "count", "tokens"), [("one text", 1, 2), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3), (["x"], 1, 1)]
)
async def test_every_kind_of_input_can_be_embedded(openai: AsyncOpenAI, given: Any, count: int, tokens: int) -> None:
    answer = await openai.embeddings.create(model="m", input=given, dimensions=3)
    assert [len(one.embedding) for one in answer.data] == [3] * count
    assert answer.usage.prompt_tokens == tokens


async def test_nothing_cannot_be_embedded(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.BadRequestError, match="'input' is required"):
        await openai.embeddings.create(model="m", input=[])


async def test_models_are_listed_and_any_can_be_had(openai: AsyncOpenAI) -> None:
    listed = [Model.model_validate(model.to_dict()) async for model in openai.models.list()]
    assert "mock-model" in [model.id for model in listed]
    assert (await openai.models.retrieve("vendor/any-model")).id == "vendor/any-model"


async def test_an_upload_is_counted_and_not_kept(openai: AsyncOpenAI, mock: Mock) -> None:
    answer = await openai.audio.transcriptions.create(model="whisper", file=("a.wav", bytes(300_000)))
    (arrival,) = mock.journal.arrivals
    assert arrival.body_length > 300_000
    assert answer.text == f"The upload had {arrival.body_length} bytes."


async def test_a_file_has_the_bytes_its_name_says(openai: AsyncOpenAI) -> None:
    content = (await openai.files.content("bytes-100000")).content
    assert len(content) == 100_000
    assert content[:512] == bytes(range(256)) * 2
    assert (await openai.files.content("bytes-0")).content == b""
    with pytest.raises(sdk.NotFoundError):
        await openai.files.content("file-abc")


@pytest.mark.parametrize(
    ("status", "raised", "kind", "code"),
    [
        (400, sdk.BadRequestError, "invalid_request_error", None),
        (401, sdk.AuthenticationError, "invalid_request_error", "invalid_api_key"),
        (403, sdk.PermissionDeniedError, "permission_error", None),
        (404, sdk.NotFoundError, "invalid_request_error", "model_not_found"),
        (429, sdk.RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
        (500, sdk.InternalServerError, "server_error", None),
        (503, sdk.InternalServerError, "server_error", "overloaded"),
        (529, sdk.InternalServerError, "server_error", "overloaded"),
    ],
)
async def test_an_error_is_raised_as_the_sdk_knows_it(
    openai: AsyncOpenAI, status: int, raised: type[sdk.APIStatusError], kind: str, code: str | None
) -> None:
    with pytest.raises(raised) as error:
        await openai.chat.completions.create(model=f"mock-model+fail={status}", messages=HELLO)
    assert (error.value.status_code, error.value.type, error.value.code) == (status, kind, code)
    assert error.value.request_id == "req_mock_00000001"


async def test_every_answer_has_a_request_id_and_limits(mock: Mock) -> None:
    body = {"model": "m", "messages": HELLO, "stream": True}
    responses = [await mock.get("/v1/models"), await mock.post("/v1/chat/completions", json=body)]
    assert [response.headers["x-request-id"] for response in responses] == ["req_mock_00000001", "req_mock_00000002"]
    assert all("x-ratelimit-remaining-tokens" in response.headers for response in responses)


async def test_the_sdk_retries_until_it_is_answered(mock: Mock) -> None:
    async with AsyncOpenAI(api_key="any", base_url=str(mock.url / "v1"), max_retries=2) as client:
        model = "m+words=2+fail=503+retry-after=0.01+times=2+key=this-test"
        answer = await client.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content == "m was "
    assert [arrival.status for arrival in mock.journal.arrivals] == [503, 503, 200]

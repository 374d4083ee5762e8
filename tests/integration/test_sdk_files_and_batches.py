"""Files and batches with the stock SDKs: every request of theirs goes through the gateway, the bundled mock behind."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from google import genai
from google.genai import types

from gateway.mock_upstream import JOURNAL, mock_app
from tests.running import KEY, PROVIDER_KEY, Running, environ, run_gateway

# google-genai subclasses aiohttp's session, which aiohttp discourages, and sends large parts as bytes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),
]

MODEL = "mock-model"
MESSAGES: Any = [{"role": "user", "content": "Why is the sky blue?"}]
CONTENT = bytes(range(256)) * 40_000  # more than one part of an upload


@dataclass
class Served:
    """A gateway before the mock, and what the mock saw."""

    gateway: Running
    mock: web.Application

    def arrived(self) -> list[str]:
        """What was called at the mock: by the gateway, since its own key came along and the client's did not."""
        arrivals = self.mock[JOURNAL].arrivals
        for arrival in arrivals:
            fields = str(arrival.headers)
            assert PROVIDER_KEY in fields, arrival
            assert KEY not in fields, arrival
            assert any(name.lower() == "via" for name, _ in arrival.headers), arrival
        return [f"{arrival.method} {arrival.target.partition('?')[0]}" for arrival in arrivals]


@pytest.fixture(params=[True])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    mock = mock_app()
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(mock)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        names = environ(f"http://127.0.0.1:{runner.addresses[0][1]}", GATEWAY_MAP_RESULTS_URL=str(request.param))
        yield Served(await run_gateway(stack, names), mock)


@pytest.fixture
async def genai_sdk(served: Served) -> AsyncIterator[genai.Client]:
    sdk = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=f"{served.gateway.url}/provider/gemini"))
    yield sdk
    await sdk.aio.aclose()
    sdk.close()


@pytest.fixture
async def anthropic_sdk(served: Served) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=f"{served.gateway.url}/provider/anthropic") as sdk:
        yield sdk


async def test_genai_uploads_a_file_in_parts_and_finds_it(served: Served, genai_sdk: genai.Client) -> None:
    files = genai_sdk.aio.files
    file = await files.upload(file=io.BytesIO(CONTENT), config={"mime_type": "application/pdf"})
    assert (file.size_bytes, file.mime_type) == (len(CONTENT), "application/pdf")
    assert file.name is not None
    assert (await files.get(name=file.name)).sha256_hash == file.sha256_hash
    assert [each.name async for each in await files.list()] == [file.name]
    await files.delete(name=file.name)
    start, first, second, *_ = served.arrived()
    assert start == first == second
    assert start.startswith("POST /upload/")
    assert {exchange.client for exchange in served.gateway.exchanges} == {"alice"}
    assert {exchange.status for exchange in served.gateway.exchanges} == {200}


async def test_anthropic_fetches_a_batchs_results_through_the_gateway(
    served: Served, anthropic_sdk: anthropic.AsyncAnthropic
) -> None:
    batches = anthropic_sdk.messages.batches
    params: Any = {"model": MODEL, "max_tokens": 100, "messages": MESSAGES}
    batch = await batches.create(requests=[{"custom_id": "a", "params": params}])
    assert batch.results_url == f"{served.gateway.url}/provider/anthropic/v1/messages/batches/{batch.id}/results"
    assert (await batches.retrieve(batch.id)).results_url == batch.results_url
    assert [each.results_url async for each in batches.list()] == [batch.results_url]
    results = [line async for line in await batches.results(batch.id)]
    assert [(line.custom_id, line.result.type) for line in results] == [("a", "succeeded")]
    assert served.arrived()[-1] == f"GET /v1/messages/batches/{batch.id}/results"


@pytest.mark.parametrize("served", [False], indirect=True)
async def test_by_default_the_url_in_a_batch_is_the_providers(
    served: Served, anthropic_sdk: anthropic.AsyncAnthropic
) -> None:
    params: Any = {"model": MODEL, "max_tokens": 100, "messages": MESSAGES}
    batch = await anthropic_sdk.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    assert batch.results_url is not None
    assert not batch.results_url.startswith(served.gateway.url)


async def test_openai_fetches_a_batchs_output(served: Served) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    body = json.dumps({**line, "body": {"model": MODEL, "messages": MESSAGES}}).encode()
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{served.gateway.url}/provider/openai/v1") as sdk:
        file = await sdk.files.create(file=("in.jsonl", body), purpose="batch")
        batch = await sdk.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert (await sdk.batches.retrieve(batch.id)).output_file_id == batch.output_file_id
        assert batch.output_file_id is not None
        output = json.loads((await sdk.files.content(batch.output_file_id)).content)
    assert (output["custom_id"], output["response"]["status_code"]) == ("a", 200)
    assert len(served.arrived()) == 4

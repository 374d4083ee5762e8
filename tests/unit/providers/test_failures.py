"""Our errors, bodies and events, held against what the providers' own SDKs make of them."""

from collections.abc import AsyncIterator, Callable

import anthropic
import openai
import pytest
from aiohttp import web
from google import genai
from google.genai.errors import APIError as GeminiError

from gateway import errors
from gateway.errors import GatewayError
from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.gemini import GEMINI
from gateway.providers.openai import OPENAI
from gateway.providers.provider import Dialect
from tests.unit.providers import samples

# The SDK's own doing, on its first request.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

Answering = Callable[[int, str, bytes], str]
"""Answers every request from now on with a status, a content type and a body; the address to call."""

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    answer = web.Response()

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=answer.status, body=answer.body, content_type=answer.content_type)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    def set_answer(status: int, content_type: str, body: bytes) -> str:
        nonlocal answer
        answer = web.Response(status=status, body=body, content_type=content_type)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield set_answer
    await runner.cleanup()


def body(dialect: Dialect, error: GatewayError) -> tuple[int, str, bytes]:
    return error.status, "application/json", dialect.error(error, "req_1")


def stream(dialect: Dialect, error: GatewayError, path: str, begun: bytes) -> tuple[int, str, bytes]:
    return 200, "text/event-stream", begun + dialect.stream_error(error, "req_1", path)


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (errors.InvalidRequest("No.", param="model"), openai.BadRequestError, "invalid_request"),
        (errors.Unauthenticated(), openai.AuthenticationError, "invalid_api_key"),
        (errors.Forbidden(), openai.PermissionDeniedError, "permission_denied"),
        (errors.ProviderNotConfigured(), openai.NotFoundError, "provider_not_configured"),
        (errors.RateLimited(), openai.RateLimitError, "rate_limit_exceeded"),
        (errors.UpstreamTimeout(), openai.InternalServerError, "upstream_timeout"),
    ],
)
async def test_openai_reads_our_errors(answering: Answering, error: GatewayError, raised, code: str):
    async with openai.AsyncOpenAI(api_key="k", base_url=answering(*body(OPENAI, error)), max_retries=0) as client:
        with pytest.raises(raised) as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
    assert (caught.value.code, caught.value.type, caught.value.param) == (code, error.type, error.param)


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_openai_is_told_in_a_running_stream(answering: Answering, path: str):
    error = errors.UpstreamTruncated()
    if path == "chat":
        url = answering(*stream(OPENAI, error, samples.CHAT_PATH, samples.event_stream(samples.CHAT_EVENTS[:2])))
        async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
            chunks = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            with pytest.raises(openai.APIError) as caught:
                async for _ in chunks:
                    pass
        assert (caught.value.code, caught.value.type) == ("upstream_truncated", "server_error")
        return
    begun = samples.event_stream(samples.RESPONSES_EVENTS[:3], named=True)
    url = answering(*stream(OPENAI, error, samples.RESPONSES_PATH, begun))
    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
        events = [event async for event in await client.responses.create(model="m", input="Hi", stream=True)]
    assert events[-1].type == "error"
    assert events[-1].code == "upstream_truncated"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (errors.InvalidRequest(), anthropic.BadRequestError),
        (errors.Unauthenticated(), anthropic.AuthenticationError),
        (errors.Forbidden(), anthropic.PermissionDeniedError),
        (errors.NotFound(), anthropic.NotFoundError),
        (errors.RateLimited(), anthropic.RateLimitError),
        (errors.UpstreamTruncated(), anthropic.InternalServerError),
    ],
)
async def test_anthropic_reads_our_errors(answering: Answering, error: GatewayError, raised):
    url = answering(*body(ANTHROPIC, error))
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        with pytest.raises(raised) as caught:
            await client.messages.create(model="m", max_tokens=5, messages=MESSAGES)
    assert caught.value.body["error"]["message"] == error.message


async def test_anthropic_is_told_in_a_running_stream(answering: Answering):
    error = errors.IdleTimeout()
    begun = samples.event_stream(samples.MESSAGES_EVENTS[:3], named=True)
    url = answering(*stream(ANTHROPIC, error, samples.MESSAGES_PATH, begun))
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            async for _ in await client.messages.create(model="m", max_tokens=5, messages=MESSAGES, stream=True):
                pass
    assert caught.value.body["error"] == {"type": "timeout_error", "message": error.message}


@pytest.mark.parametrize("streamed", [False, True])
async def test_google_reads_our_errors_before_and_in_a_stream(answering: Answering, streamed: bool):
    error = errors.UpstreamTruncated()
    begun = samples.event_stream(samples.GEMINI_EVENTS[:2])
    answer = stream(GEMINI, error, samples.GEMINI_STREAM_PATH, begun) if streamed else body(GEMINI, error)
    client = genai.Client(api_key="k", http_options={"base_url": answering(*answer)})
    try:
        with pytest.raises(GeminiError) as caught:
            if streamed:
                async for _ in await client.aio.models.generate_content_stream(model="gemini-2", contents="Hi"):
                    pass
            else:
                await client.aio.models.generate_content(model="gemini-2", contents="Hi")
    finally:
        await client.aio.aclose()
        client.close()
    assert (caught.value.code, caught.value.status) == (502, "UNAVAILABLE")
    assert error.message in str(caught.value)

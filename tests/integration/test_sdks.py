"""The stock SDKs, pointed at the gateway, cannot tell it from their provider: real SDKs, the bundled mock behind."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anthropic
import openai
import pytest
from aiohttp import web
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from gateway.mock_upstream import mock_app
from gateway.telemetry.exchange import Outcome
from tests.running import KEY, OTHER_KEY, Running, environ, run_gateway

# google-genai subclasses aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "mock-model"
QUESTION = "Why is the sky blue?"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}


LIMITED = {
    "GATEWAY_RATE_LIMITS": "key: 10000000 tokens/day, 1000 usd/day; key model: 100000 requests/day",
    "GATEWAY_PRICES": "*=1/2",
}


@pytest.fixture(params=[{}, LIMITED], ids=["unlimited", "limited"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(mock_app())
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield await run_gateway(stack, environ(f"http://127.0.0.1:{runner.addresses[0][1]}", **request.param))


@pytest.fixture
async def openai_sdk(gateway: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{gateway.url}/provider/openai/v1") as sdk:
        yield sdk


@pytest.fixture
async def anthropic_sdk(gateway: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=f"{gateway.url}/provider/anthropic") as sdk:
        yield sdk


@pytest.fixture
async def genai_sdk(gateway: Running) -> AsyncIterator[genai.Client]:
    options = types.HttpOptions(base_url=f"{gateway.url}/provider/gemini")
    sdk = genai.Client(api_key=KEY, http_options=options)
    yield sdk
    await sdk.aio.aclose()
    sdk.close()


async def test_openai_unary(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    assert answer.choices[0].message.content
    assert answer.usage is not None
    exchange = await gateway.exchange()
    usage = exchange.calls[0].facts.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert exchange.calls[0].facts.response_model == answer.model


async def test_openai_streamed(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    whole = await openai_sdk.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[call-overload]
    text = ""
    usage = None
    stream = await openai_sdk.chat.completions.create(  # type: ignore[call-overload]
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    )
    async for event in stream:
        text += event.choices[0].delta.content or "" if event.choices else ""
        usage = event.usage or usage
    assert text == whole.choices[0].message.content
    assert usage is not None
    facts = (await gateway.exchange(2)).calls[0].facts
    assert facts.usage is not None
    assert facts.usage.output_tokens == usage.completion_tokens


async def test_openai_streams_that_lack_their_marker(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    told = {}
    for model in (MODEL, f"{MODEL}+unmarked"):
        stream = await openai_sdk.chat.completions.create(model=model, messages=messages, stream=True)  # type: ignore[call-overload]
        told[model] = "".join([event.choices[0].delta.content or "" async for event in stream])
    assert told[MODEL] == told[f"{MODEL}+unmarked"]
    assert (await gateway.exchange(2)).outcome is Outcome.COMPLETE
    with pytest.raises(openai.APIError):  # it has no other end than its marker
        async for _ in await openai_sdk.responses.create(model=f"{MODEL}+unmarked", input=QUESTION, stream=True):
            pass
    assert (await gateway.exchange(3)).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_openai_tools_both_ways(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    asked = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "tools": tools}
    whole = await openai_sdk.chat.completions.create(**asked, tool_choice="required")  # type: ignore[call-overload]
    assert whole.choices[0].message.tool_calls[0].function.name == "weather"
    arguments = ""
    async for event in await openai_sdk.chat.completions.create(**asked, tool_choice="required", stream=True):  # type: ignore[call-overload]
        for choice in event.choices:
            for call in choice.delta.tool_calls or ():
                arguments += call.function.arguments or ""
    assert arguments == whole.choices[0].message.tool_calls[0].function.arguments


async def test_openai_responses_embeddings_and_models(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    answer = await openai_sdk.responses.create(model=MODEL, input=QUESTION)
    assert answer.output_text
    kinds = [event.type async for event in await openai_sdk.responses.create(model=MODEL, input=QUESTION, stream=True)]
    assert kinds[-1] == "response.completed"
    vectors = await openai_sdk.embeddings.create(model=MODEL, input=["a", "b"])
    assert len(vectors.data) == 2
    assert (await openai_sdk.models.list()).data
    operations = [(await gateway.exchange(n)).calls[0].facts.operation for n in range(1, 5)]
    assert operations == ["chat", "chat", "embeddings", ""]


async def test_openai_errors_are_the_sdks_own(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    once = openai_sdk.with_options(max_retries=0)
    with pytest.raises(openai.RateLimitError):
        await once.chat.completions.create(model=f"{MODEL}+fail=429", messages=messages)  # type: ignore[arg-type]
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        await once.with_options(api_key="wrong").models.list()
    assert wrong_key.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError) as elsewhere:
        await once.with_options(api_key=OTHER_KEY).models.list()
    assert elsewhere.value.code == "permission_denied"
    with pytest.raises(openai.APIError) as cut:
        async for _ in await once.chat.completions.create(
            model=f"{MODEL}+cut-after=2",
            messages=messages,  # type: ignore[arg-type]
            stream=True,
        ):
            pass
    assert cut.value.code == "upstream_truncated"
    assert (await gateway.exchange(4)).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_openai_retries_what_a_provider_refuses(gateway: Running, openai_sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        await openai_sdk.with_options(max_retries=1).chat.completions.create(
            model=f"{MODEL}+fail=503", messages=[{"role": "user", "content": QUESTION}]
        )
    assert [(await gateway.exchange(n)).retry_count for n in (1, 2)] == [0, 1]


async def test_anthropic_unary_and_streamed(gateway: Running, anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    asked = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}]}
    whole = await anthropic_sdk.messages.create(**asked)  # type: ignore[call-overload]
    async with anthropic_sdk.messages.stream(**asked) as stream:  # type: ignore[arg-type]
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == whole.content[0].text
    assert final.stop_reason == "end_turn"
    for number in (1, 2):
        usage = (await gateway.exchange(number)).calls[0].facts.usage
        assert usage is not None
        assert usage.output_tokens == whole.usage.output_tokens


async def test_anthropic_tools(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    answer = await anthropic_sdk.messages.create(
        model=MODEL,
        max_tokens=200,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[{"name": "weather", "input_schema": WEATHER}],
        tool_choice={"type": "any"},
    )
    assert answer.content[-1].type == "tool_use"


async def test_anthropic_errors_are_the_sdks_own(anthropic_sdk: anthropic.AsyncAnthropic) -> None:
    once = anthropic_sdk.with_options(max_retries=0)
    asked = {"max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}]}
    with pytest.raises(anthropic.RateLimitError):
        await once.messages.create(model=f"{MODEL}+fail=429", **asked)  # type: ignore[call-overload]
    with pytest.raises(anthropic.AuthenticationError) as wrong_key:
        await once.with_options(api_key="wrong").messages.create(model=MODEL, **asked)  # type: ignore[call-overload]
    assert wrong_key.value.request_id
    with pytest.raises(anthropic.APIStatusError):
        async with once.messages.stream(model=f"{MODEL}+cut-after=2", **asked) as stream:  # type: ignore[arg-type]
            async for _ in stream:
                pass


async def test_gemini_unary_streamed_and_tools(gateway: Running, genai_sdk: genai.Client) -> None:
    whole = await genai_sdk.aio.models.generate_content(model=MODEL, contents=QUESTION)
    pieces = await genai_sdk.aio.models.generate_content_stream(model=MODEL, contents=QUESTION)
    assert "".join([piece.text or "" async for piece in pieces]) == whole.text
    declared = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)]
    )
    forced = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY"))  # type: ignore[arg-type]
    asked = await genai_sdk.aio.models.generate_content(
        model=MODEL, contents=QUESTION, config=types.GenerateContentConfig(tools=[declared], tool_config=forced)
    )
    assert asked.function_calls
    assert asked.function_calls[0].name == "weather"
    for number in (1, 2):
        facts = (await gateway.exchange(number)).calls[0].facts
        assert (facts.operation, facts.request_model) == ("generate_content", MODEL)
        assert facts.usage is not None


async def test_gemini_interactions(gateway: Running, genai_sdk: genai.Client) -> None:
    asked = {"model": MODEL, "input": QUESTION}
    whole = await genai_sdk.aio.interactions.create(**asked)
    events = [event async for event in await genai_sdk.aio.interactions.create(**asked, stream=True)]
    deltas = [event.delta.text for event in events if event.event_type == "step.delta"]
    assert "".join(deltas) == whole.output_text
    assert (await genai_sdk.aio.interactions.get(whole.id)).output_text == whole.output_text
    again = [event async for event in await genai_sdk.aio.interactions.get(whole.id, stream=True)]
    assert again[-1].event_type == "interaction.completed"
    for number in (1, 2):
        facts = (await gateway.exchange(number)).calls[0].facts
        assert (facts.operation, facts.request_model, facts.finish_reasons) == ("chat", MODEL, ["completed"])
        assert facts.usage is not None
        assert facts.usage.total_tokens == whole.usage.total_tokens
    assert (await gateway.exchange(2)).calls[0].facts.streamed
    for number in (3, 4):  # read again, not counted again
        exchange = await gateway.exchange(number)
        assert (exchange.outcome, exchange.calls[0].facts.usage) == (Outcome.COMPLETE, None)


async def test_gemini_interactions_that_are_cut(gateway: Running, genai_sdk: genai.Client) -> None:
    told = None
    with pytest.raises(Exception, match=r"peer closed|payload"):
        async for event in await genai_sdk.aio.interactions.create(
            model=f"{MODEL}+cut-after=2", input=QUESTION, stream=True
        ):
            told = event.error if event.event_type == "error" else told
    assert told is not None
    assert told.code == "upstream_truncated"
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_gemini_errors_are_the_sdks_own(gateway: Running, genai_sdk: genai.Client) -> None:
    with pytest.raises(genai_errors.ClientError) as refused:
        await genai_sdk.aio.models.generate_content(model=f"{MODEL}+fail=429", contents=QUESTION)
    assert refused.value.code == 429
    options = types.HttpOptions(base_url=f"{gateway.url}/provider/gemini")
    stranger = genai.Client(api_key="wrong", http_options=options)
    with pytest.raises(genai_errors.ClientError) as wrong_key:
        await stranger.aio.models.generate_content(model=MODEL, contents=QUESTION)
    assert (wrong_key.value.code, wrong_key.value.status) == (401, "UNAUTHENTICATED")
    await stranger.aio.aclose()
    stranger.close()


@pytest.mark.parametrize(
    ("path", "code", "meant"),
    [
        ("", "not_found", "The base URL for {} is {}/provider/{}"),
        ("/provider/{}x", "provider_not_configured", "Did you mean {}?"),
    ],
)
@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
async def test_a_wrong_base_url_is_explained_in_the_sdks_exception(
    gateway: Running, api: str, path: str, code: str, meant: str
) -> None:
    base_url, message = f"{gateway.url}{path.format(api)}", meant.format(api, gateway.url, api)
    if api == "openai":
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{base_url}/v1") as openai_sdk:
            with pytest.raises(openai.NotFoundError) as raised:
                await openai_sdk.models.list()
        assert (raised.value.code, raised.value.type) == (code, "invalid_request_error")
        assert message in raised.value.message
    elif api == "anthropic":
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=base_url) as anthropic_sdk:
            with pytest.raises(anthropic.NotFoundError) as refused:
                await anthropic_sdk.messages.create(
                    model=MODEL, max_tokens=5, messages=[{"role": "user", "content": QUESTION}]
                )
        assert message in refused.value.message
    else:
        genai_sdk = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=base_url))
        with pytest.raises(genai_errors.ClientError) as failed:
            await genai_sdk.aio.models.generate_content(model=MODEL, contents=QUESTION)
        assert message in (failed.value.message or "")
        await genai_sdk.aio.aclose()

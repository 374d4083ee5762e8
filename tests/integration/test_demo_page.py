"""The demo page in a real browser: the browser's own EventSource shows a stream as it is written."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.mock_upstream import Behaviour, mock_app, serving
from gateway.telemetry.exchange import Exchange
from tests import needing
from tests.integration.chromium import Chromium
from tests.running import KEY, OTHER_KEY, Running, environ, run_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock_app(Behaviour(pace=0.02))))
        yield await run_gateway(stack, environ(str(url).rstrip("/")))


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    needing.program("chromium")
    async with Chromium() as running:
        yield running


async def ask(browser: Chromium, gateway: Running, provider: str, key: str = KEY, model: str = "mock-model") -> None:
    await browser.goto(f"{gateway.url}/demo")
    await enter(browser, "key", key)
    await browser.until("/Ready|Refused/.test(document.getElementById('state').textContent)")
    await enter(browser, "provider", provider)
    await enter(browser, "model", model)
    await browser.evaluate("document.getElementById('start').click()")


async def enter(browser: Chromium, name: str, value: str) -> None:
    await browser.evaluate(
        f"{{const field = document.getElementById('{name}'); field.value = '{value}';"
        "field.dispatchEvent(new Event('change'))}"
    )


async def exchange_with_a_call(gateway: Running) -> Exchange:
    async with asyncio.timeout(5):
        while True:
            for exchange in gateway.exchanges:
                if exchange.calls:
                    return exchange
            await asyncio.sleep(0.01)


async def shown(browser: Chromium) -> dict[str, str]:
    """What stands in the fields that the page fills in."""
    return {name: await browser.evaluate(f"document.getElementById('{name}').value") for name in ("provider", "model")}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
async def test_a_stream_shows_as_it_is_written(browser: Chromium, gateway: Running, provider: str) -> None:
    await ask(browser, gateway, provider)
    early = await browser.until("document.getElementById('answer').textContent")
    await browser.until("document.getElementById('state').textContent.startsWith('Complete')")
    whole = await browser.evaluate("document.getElementById('answer').textContent")
    assert whole.startswith(early)
    assert len(whole) > len(early) > 0
    assert browser.complaints == []
    assert all(url.startswith((gateway.url, "data:", "about:")) for url in browser.requested)
    if shots := os.environ.get("GATEWAY_TEST_SCREENSHOTS"):
        await browser.screenshot(Path(shots) / f"demo-{provider}.png")


async def test_the_browser_does_not_ask_twice(browser: Chromium, gateway: Running) -> None:
    """A stream that is cut makes EventSource reconnect; the ticket is used up, and nothing is billed again."""
    await ask(browser, gateway, "openai", model="mock-model+cut-after=3")
    await browser.until("/Failed|broken off/.test(document.getElementById('state').textContent)")
    calls = [exchange for exchange in gateway.exchanges if exchange.calls]
    assert len(calls) == 1


async def test_a_wrong_key_is_told(browser: Chromium, gateway: Running) -> None:
    await ask(browser, gateway, "openai", key="wrong")
    await browser.until("document.getElementById('state').textContent.startsWith('Refused')")


async def test_it_is_filled_in_with_what_the_key_may_use(browser: Chromium, gateway: Running) -> None:
    await browser.goto(f"{gateway.url}/demo")
    assert await shown(browser) == {"provider": "", "model": ""}
    page = await browser.evaluate("document.documentElement.outerHTML")
    assert not any(name in page for name in ("/provider/", "gpt", "mock"))
    await enter(browser, "key", KEY)
    await browser.until("document.getElementById('provider').value")
    assert await shown(browser) == {"provider": "openai", "model": "gpt-6-sol"}
    await enter(browser, "provider", "gemini")
    assert await shown(browser) == {"provider": "gemini", "model": "gemini-3.8-flash"}
    await enter(browser, "key", OTHER_KEY)
    await browser.until("document.getElementById('provider').value === 'anthropic'")
    assert await shown(browser) == {"provider": "anthropic", "model": "claude-opus-5-5"}
    assert await browser.evaluate("document.getElementById('provider').options.length") == 1
    if shots := os.environ.get("GATEWAY_TEST_SCREENSHOTS"):
        await browser.screenshot(Path(shots) / "demo-filled-in.png")


async def test_a_provider_is_called_where_its_api_is(browser: Chromium) -> None:
    """Groq has OpenAI's API below /openai/v1."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock_app()))
        names = {"GATEWAY_API_KEYS": f"alice={KEY}", "GATEWAY_PORT": "0", "GATEWAY_PROVIDER_GROQ_API_KEY": "k"}
        gateway = await run_gateway(stack, {**names, "GATEWAY_PROVIDER_GROQ_BASE_URL": str(url).rstrip("/")})
        await ask(browser, gateway, "groq", model="m")
        await browser.until("document.getElementById('state').textContent.startsWith('The stream could not')")
        called = await exchange_with_a_call(gateway)
        assert called.calls[0].path == "/openai/v1/chat/completions"


async def test_a_stream_without_done_is_complete(browser: Chromium, gateway: Running) -> None:
    await ask(browser, gateway, "openai", model="mock-model+unmarked")
    await browser.until("document.getElementById('state').textContent.startsWith('Complete')")


async def test_a_key_that_was_just_typed_is_enough(browser: Chromium, gateway: Running) -> None:
    """Enter in the key's field both changes it and submits the form."""
    await browser.goto(f"{gateway.url}/demo")
    await browser.evaluate(f"document.getElementById('key').value = '{KEY}'")
    await browser.evaluate("document.getElementById('start').click()")
    await browser.until("document.getElementById('state').textContent.startsWith('Complete')")
    called = await exchange_with_a_call(gateway)
    assert (called.provider, called.calls[0].facts.request_model) == ("openai", "gpt-6-sol")

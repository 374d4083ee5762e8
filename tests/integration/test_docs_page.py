"""The documentation in a real browser: Swagger UI from the package alone, and "Try it out" with a key."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.mock_upstream import mock_app, serving
from tests.integration.chromium import Chromium
from tests.needing import program
from tests.running import KEY, Running, environ, run_gateway

ROLES = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
OPERATION = "#operations-demo-post_projects_demo_summary"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(stack: AsyncExitStack, **more: str) -> Running:
    url = await stack.enter_async_context(serving(mock_app()))
    bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/mock-model" for role in ROLES}
    return await run_gateway(stack, environ(str(url).rstrip("/"), GATEWAY_PROJECTS="demo", **bound, **more))


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    program("chromium")
    async with Chromium() as running:
        yield running


async def show_with_key(browser: Chromium, gateway: Running, key: str) -> None:
    await browser.goto(f"{gateway.url}/docs")
    await browser.until("!document.getElementById('ask').hidden")
    await browser.evaluate(f"document.getElementById('key').value = '{key}'")
    await browser.evaluate("document.querySelector('#ask button').click()")


async def shoot(browser: Chromium, name: str) -> None:
    if shots := os.environ.get("GATEWAY_TEST_SCREENSHOTS"):
        await browser.screenshot(Path(shots) / f"{name}.png")


async def try_out(browser: Chromium) -> str:
    """Open the summary's operation, send its example, and give the body that Swagger UI shows."""
    await browser.until(f"!!document.querySelector('{OPERATION} .opblock-summary-control')")
    await browser.evaluate(f"document.querySelector('{OPERATION} .opblock-summary-control').click()")
    await browser.until(f"!!document.querySelector('{OPERATION} .execute')")
    await browser.evaluate(f"document.querySelector('{OPERATION} .execute').click()")
    body = f"{OPERATION} .live-responses-table .highlight-code code"
    return str(await browser.until(f"document.querySelector('{body}')?.textContent"))


async def test_a_reader_with_a_key_sees_it_all_and_can_try_it_out(browser: Chromium, stack: AsyncExitStack) -> None:
    gateway = await started(stack)
    await show_with_key(browser, gateway, KEY)
    await browser.until("document.body.dataset.ready")
    await browser.until(f"!!document.querySelector('{OPERATION}')")
    await shoot(browser, "docs")
    answer = json.loads(await try_out(browser))
    assert answer["summary"].startswith("mock-model was told")
    await shoot(browser, "docs-try-it-out")
    exchange = next(exchange for exchange in gateway.exchanges if exchange.project == "demo")
    assert (exchange.client, exchange.status) == ("alice", 200)
    assert all(url.startswith((gateway.url, "data:", "about:")) for url in browser.requested)
    # The one complaint is the browser's own, of the document that asked for a key.
    assert [complaint for complaint in browser.complaints if "401" not in complaint] == []


async def test_where_the_document_is_open_nobody_is_asked(browser: Chromium, stack: AsyncExitStack) -> None:
    gateway = await started(stack, GATEWAY_DOCS="open")
    await browser.goto(f"{gateway.url}/docs")
    await browser.until("document.body.dataset.ready")
    await browser.until(f"!!document.querySelector('{OPERATION}')")
    assert await browser.evaluate("document.getElementById('ask')") is None
    assert browser.complaints == []


async def test_a_wrong_key_is_told(browser: Chromium, stack: AsyncExitStack) -> None:
    gateway = await started(stack)
    await show_with_key(browser, gateway, "wrong")
    told = await browser.until("document.getElementById('state').textContent")
    assert "not a key of this gateway" in told
    assert await browser.evaluate("document.body.dataset.ready") is None

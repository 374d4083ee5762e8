"""Pages of allowed and of foreign origins in a real browser, which alone decides what a page may read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from tests.integration.chromium import Chromium
from tests.needing import program
from tests.running import KEY, Running, environ, run_gateway
from tests.scripted import Received, ScriptedUpstream, begin, end, event

CHAT = "/provider/openai/v1/chat/completions"
DELTA = b'{"choices":[{"delta":{"content":"hi"}}]}'


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def upstream(stack: AsyncExitStack) -> ScriptedUpstream:
    return await stack.enter_async_context(ScriptedUpstream())


@pytest.fixture
async def site(stack: AsyncExitStack) -> int:
    """The port of a web site with one empty page, whatever host it is called by."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>page</title><link rel=icon href=data:,>", content_type="text/html"
        )

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return int(runner.addresses[0][1])


@pytest.fixture
async def browser(site: int) -> AsyncIterator[Chromium]:
    program("chromium")
    async with Chromium() as running:
        yield running


async def started(stack: AsyncExitStack, upstream: ScriptedUpstream, **cors: str) -> Running:
    return await run_gateway(
        stack, environ(upstream.url, **{f"GATEWAY_CORS_{name}": value for name, value in cors.items()})
    )


async def fetched(browser: Chromium, url: str, **options: Any) -> dict[str, Any]:
    """What a script of the open page gets, or why it gets nothing."""
    script = f"""
        fetch({json.dumps(url)}, {json.dumps(options)}).then(
            async (got) => ({{
                status: got.status,
                id: got.headers.get('x-gateway-request-id'),
                other: got.headers.get('date'),
                body: await got.text(),
            }}),
            (failure) => ({{failure: String(failure)}}),
        )
    """
    answer: dict[str, Any] = await browser.evaluate(script)
    return answer


def asking(key: str = KEY, **more: Any) -> dict[str, Any]:
    fields = {"X-API-Key": key, "Content-Type": "application/json"}
    return {"method": "POST", "headers": fields, "body": json.dumps({"stream": True}), **more}


async def test_an_allowed_page_reads_answers_and_refusals(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium
) -> None:
    gateway = await started(stack, upstream, ORIGINS=f"http://127.0.0.1:{site}")
    await browser.goto(f"http://127.0.0.1:{site}/")
    answer = await fetched(browser, gateway.url + CHAT, **asking())
    assert (answer["status"], json.loads(answer["body"])) == (200, {"ok": True})
    assert answer["id"] in {exchange.id for exchange in gateway.exchanges}
    assert answer["other"] is None, "a field that is not exposed"
    assert [exchange.method for exchange in gateway.exchanges] == ["OPTIONS", "POST"]
    for path, key, status in ((CHAT, "wrong", 401), ("/nothing", KEY, 404)):
        refused = await fetched(browser, gateway.url + path, **asking(key))
        assert refused["status"] == status
        assert "error" in refused["body"] or "title" in refused["body"]


async def test_an_allowed_page_reads_a_stream_as_it_is_written(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium
) -> None:
    gateway = await started(stack, upstream, ORIGINS=f"http://127.0.0.1:{site}")
    seen = asyncio.Event()

    async def until_seen(_: Received) -> None:
        await asyncio.wait_for(seen.wait(), 10)

    upstream.will(begin(), event(DELTA), until_seen, event(b"[DONE]"), end())
    await browser.goto(f"http://127.0.0.1:{site}/")
    await browser.evaluate(
        f"""
        window.heard = '';
        fetch({json.dumps(gateway.url + CHAT)}, {json.dumps(asking())}).then(async (got) => {{
            for await (const piece of got.body.pipeThrough(new TextDecoderStream())) window.heard += piece;
            window.over = true;
        }});
        null
        """
    )
    assert await browser.until("window.heard") == f"data: {DELTA.decode()}\n\n"
    seen.set()
    await browser.until("window.over")
    assert (await browser.evaluate("window.heard")).endswith("data: [DONE]\n\n")


async def test_a_subdomain_of_an_allowed_wildcard_is_allowed_and_its_parent_is_not(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium
) -> None:
    gateway = await started(stack, upstream, ORIGINS=f"http://*.localhost:{site}")
    await browser.goto(f"http://app.localhost:{site}/")
    assert (await fetched(browser, gateway.url + CHAT, **asking()))["status"] == 200
    await browser.goto(f"http://localhost:{site}/")
    assert "failure" in await fetched(browser, gateway.url + CHAT, **asking())
    assert len(upstream.requests) == 1


async def test_a_foreign_page_reads_nothing_and_its_request_is_never_made(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium
) -> None:
    gateway = await started(stack, upstream, ORIGINS=f"http://127.0.0.1:{site}")
    await browser.goto(f"http://localhost:{site}/")
    assert "failure" in await fetched(browser, gateway.url + CHAT, **asking())
    assert "failure" in await fetched(browser, gateway.url + "/health")
    assert any("CORS policy" in complaint for complaint in browser.complaints)
    assert upstream.requests == []
    assert [exchange.method for exchange in gateway.exchanges] == ["OPTIONS", "GET"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_credentials_go_along_only_where_that_is_set(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium, allowed: bool
) -> None:
    origin = f"http://127.0.0.1:{site}"
    gateway = await started(stack, upstream, ORIGINS=origin, CREDENTIALS=str(allowed).lower())
    await browser.goto(origin)
    answer = await fetched(browser, gateway.url + CHAT, **asking(credentials="include"))
    assert answer.get("status") == (200 if allowed else None)
    assert len(upstream.requests) == allowed


async def test_a_page_elsewhere_may_follow_a_stream_with_a_ticket(
    stack: AsyncExitStack, upstream: ScriptedUpstream, site: int, browser: Chromium
) -> None:
    gateway = await started(stack, upstream, ORIGINS=f"http://127.0.0.1:{site}")
    upstream.will(begin(), event(DELTA), event(b"[DONE]"), end())
    await browser.goto(f"http://127.0.0.1:{site}/")
    meant = json.dumps({"path": CHAT, "body": {"stream": True}})
    bought = await fetched(browser, gateway.url + "/tickets", **{**asking(), "body": meant})
    url = gateway.url + json.loads(bought["body"])["url"]
    await browser.evaluate(
        f"""
        window.heard = [];
        const source = new EventSource({json.dumps(url)});
        source.onmessage = (message) => {{
            window.heard.push(message.data);
            if (message.data === '[DONE]') source.close();
        }};
        null
        """
    )
    await browser.until("window.heard.length === 2")
    assert await browser.evaluate("window.heard[0]") == DELTA.decode()

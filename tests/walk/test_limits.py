"""Limits as clients meet them: told on every answer, held however requests end, settled with what was used."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from anthropic import Anthropic
from openai import OpenAI, RateLimitError

from gateway.mock_upstream import mock_app, serving
from gateway.settings import SettingsError
from gateway.telemetry.exchange import Outcome
from tests.running import KEY, OTHER_KEY, PROVIDER_KEY, Running, Start, environ, run_gateway
from tests.scripted import ScriptedUpstream, Step, answer, begin, end, event, until_left

CHAT = "/provider/openai/v1/chat/completions"
MESSAGES = "/provider/anthropic/v1/messages"
GENERATE = "/provider/gemini/v1beta/models/m:generateContent"
USED = b'{"model":"m","choices":[],"usage":{"prompt_tokens":300,"completion_tokens":200}}'


ROLES = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")


def said(model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


async def status(gateway: Running, path: str = CHAT, body: Any = None, key: str = KEY) -> int:
    sent = said(max_tokens=10) if body is None else body
    async with gateway.session.post(path, json=sent, headers={"X-API-Key": key}) as response:
        await response.read()
        return response.status


def remaining(response: aiohttp.ClientResponse) -> dict[str, int]:
    """What `RateLimit` tells, by policy."""
    policies = (member.strip().split(";") for member in response.headers["RateLimit"].split(","))
    return {policy[0].strip('"'): int(policy[1].removeprefix("r=")) for policy in policies}


async def test_of_many_requests_at_once_exactly_as_many_pass_as_may(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 40 requests/hour")
    statuses = await asyncio.gather(*(status(gateway) for _ in range(150)))
    assert (statuses.count(200), statuses.count(429)) == (40, 110)
    assert len(upstream.requests) == 40
    assert await status(gateway, MESSAGES, key=OTHER_KEY) == 200  # another key's business


@pytest.mark.parametrize(
    ("path", "found", "wanted"),
    [
        (CHAT, lambda body: body["error"]["type"], "rate_limit_error"),
        (MESSAGES, lambda body: body["error"]["type"], "rate_limit_error"),
        (GENERATE, lambda body: body["error"]["status"], "RESOURCE_EXHAUSTED"),
    ],
)
async def test_a_refusal_is_in_the_words_of_the_api(start: Start, path: str, found: Any, wanted: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 1 requests/10s")
    assert await status(gateway, path) == 200
    async with gateway.session.post(path, json=said()) as response:
        assert response.status == 429
        assert found(await response.json()) == wanted
        assert response.headers["Retry-After"] == "10"
        assert response.headers["RateLimit"] == '"key-requests-10s";r=0;t=10'
        assert response.headers["x-gateway-error"] == "rate_limit_exceeded"
    exchange = await gateway.exchange(2)
    assert (exchange.outcome, exchange.error, exchange.calls) == (Outcome.REFUSED, "rate_limit_exceeded", [])


async def test_stock_clients_understand_a_refusal(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 1 requests/hour")
    assert await status(gateway) == 200

    def refused_openai() -> RateLimitError:
        with OpenAI(base_url=f"{gateway.url}/provider/openai/v1", api_key=KEY, max_retries=0) as client:
            with pytest.raises(RateLimitError) as refused:
                client.models.list()
        return refused.value

    error = await asyncio.to_thread(refused_openai)
    assert error.code == "rate_limit_exceeded"
    assert error.response.headers["x-ratelimit-limit-requests"] == "1"
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"

    def refused_anthropic() -> str:
        with Anthropic(base_url=f"{gateway.url}/provider/anthropic", api_key=KEY, max_retries=0) as client:
            try:
                client.models.list()
            except Exception as error:
                return type(error).__name__
        return ""

    assert await asyncio.to_thread(refused_anthropic) == "RateLimitError"


async def test_good_answers_tell_where_a_client_stands_streams_too(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100 requests/hour, 100000 tokens/hour")
    upstream.will(answer(USED))
    async with gateway.session.post(CHAT, json=said(max_tokens=1000)) as response:
        assert remaining(response)["key-requests-hour"] == 99
        assert 98_000 < remaining(response)["key-tokens-hour"] < 99_100  # the estimate, so long
        assert response.headers["x-ratelimit-limit-tokens"] == "100000"
        assert response.headers["x-ratelimit-remaining-requests"] == "99"
    upstream.will(begin(), event(USED), event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json=said(stream=True, max_tokens=1000)) as response:
        assert remaining(response)["key-requests-hour"] == 98
        assert 98_400 < remaining(response)["key-tokens-hour"] < 98_600  # the first was settled with 500
        assert b"[DONE]" in await response.read()
    async with gateway.session.post(MESSAGES, json=said(max_tokens=10)) as response:
        assert response.headers["anthropic-ratelimit-tokens-limit"] == "100000"
        assert response.headers["anthropic-ratelimit-requests-remaining"] == "97"


async def test_a_providers_own_fields_pass_untouched(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100 requests/hour")
    upstream.will(answer(b"{}", "200 OK", "x-ratelimit-remaining-requests: 4999", "X-RateLimit-Reset-Tokens: 6m0s"))
    async with gateway.session.post(CHAT, json=said()) as response:
        told = {name.lower() for name in response.headers if name.lower().startswith("x-ratelimit")}
        assert told == {"x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"}
        assert response.headers["x-ratelimit-remaining-requests"] == "4999"
        assert remaining(response) == {"key-requests-hour": 99}


async def test_without_limits_nothing_is_told(gateway: Running) -> None:
    async with gateway.session.post(CHAT, json=said()) as response:
        assert not [name for name in response.headers if "ratelimit" in name.lower()]


async def test_places_are_given_back_whether_a_client_stays_or_leaves(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 2 concurrent")
    for _ in range(3):
        upstream.will(begin(), event(b"{}"), until_left())
        upstream.will(begin(), event(b"{}"), until_left())
        one = await gateway.session.post(CHAT, json=said(stream=True))
        two = await gateway.session.post(CHAT, json=said(stream=True))
        async with gateway.session.post(CHAT, json=said()) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "1"
            assert response.headers["RateLimit-Policy"] == '"key-concurrent";q=2;qu="concurrent-requests"'
        one.close()
        two.close()
        async with asyncio.timeout(5):
            while await status(gateway) != 200:
                await asyncio.sleep(0.005)
    assert await status(gateway) == 200


@pytest.mark.parametrize(
    ("script", "least", "most"),
    [
        ((answer(USED),), 500, 500),
        ((answer(b"{}", "500 Internal Server Error"),), 0, 0),
        ((begin(), event(USED), event(b"[DONE]"), end()), 500, 500),
        ((begin(), event(b"{}"), end()), 1, 100),  # broke off: its input, and what came
    ],
)
async def test_tokens_are_settled_with_what_was_used(
    start: Start, upstream: ScriptedUpstream, script: tuple[Step, ...], least: int, most: int
) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100000 tokens/day")
    upstream.will(*script)
    try:
        await status(gateway, body=said(max_tokens=50_000, stream=True))
    except aiohttp.ClientPayloadError:
        pass
    await gateway.exchange()
    async with gateway.session.get("/provider/openai/v1/models") as response:
        assert least <= 100_000 - remaining(response)["key-tokens-day"] <= most


async def test_a_stream_a_client_leaves_is_charged_what_came_of_it(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100000 tokens/day")
    upstream.will(begin(), event(b"x" * 1000), until_left())
    async with gateway.session.post(CHAT, json=said(stream=True, max_tokens=50_000)) as response:
        await response.content.readany()
        assert remaining(response)["key-tokens-day"] < 50_001
    assert (await gateway.exchange()).outcome is Outcome.CLIENT_GONE
    async with gateway.session.get("/provider/openai/v1/models") as response:
        assert 99_000 < remaining(response)["key-tokens-day"] < 100_000


async def test_a_keys_own_bounds_hold_for_it_alone(start: Start, upstream: ScriptedUpstream) -> None:
    keys = f"alice={KEY};requests=1/hour;cost=1/day,bob={OTHER_KEY}"
    gateway = await start(GATEWAY_API_KEYS=keys, GATEWAY_PRICES="m=1/1")
    assert [await status(gateway) for _ in range(2)] == [200, 429]
    assert [await status(gateway, key=OTHER_KEY) for _ in range(2)] == [200, 200]


async def test_each_model_of_a_key_has_its_own_limit(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key model small*: 2 requests/hour")
    assert [await status(gateway, body=said(model)) for model in ("small-1", "small-2", "small-1")] == [200, 200, 429]
    assert [await status(gateway, body=said("big")) for _ in range(3)] == [200, 200, 200]
    assert await status(gateway, body={"messages": []}) == 400  # no way round it


async def test_a_budget_in_dollars_is_not_tried_again(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 0.001 usd/day", GATEWAY_PRICES="m=2/2")
    upstream.will(answer(USED))
    assert await status(gateway) == 200  # 500 tokens are the tenth of a cent
    async with gateway.session.post(CHAT, json=said()) as response:
        assert response.status == 429
        assert (await response.json())["error"]["type"] == "insufficient_quota"
        assert response.headers["x-should-retry"] == "false"
    assert await status(gateway, body=said("unpriced")) == 403


async def test_a_browsers_ticket_is_used_by_its_key(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="provider openai: 1 requests/hour")
    tickets = []
    for _ in range(2):
        async with gateway.session.post("/tickets", json={"path": f"{CHAT}?stream_mode=sse", "body": said()}) as bought:
            tickets.append((await bought.json())["url"])
    upstream.will(begin(), event(b'{"choices":[]}'), event(b"[DONE]"), end())
    async with aiohttp.ClientSession(gateway.url) as browser:
        statuses = []
        for url in tickets:
            async with browser.get(url) as response:
                await response.read()
                statuses.append(response.status)
    assert statuses == [200, 429]


async def test_each_attempt_is_a_call_of_its_provider_and_one_request_of_its_key(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(
        GATEWAY_PROVIDER_OPENAI_RETRIES="1",
        GATEWAY_RETRY_BACKOFF="0.001",
        GATEWAY_RATE_LIMITS="key: 9 requests/hour, 100000 tokens/hour; provider openai: 3 requests/hour",
    )
    upstream.will(answer(b"{}", "503 Service Unavailable"))
    upstream.will(answer(USED))
    assert await status(gateway) == 200
    upstream.will(answer(b"{}", "503 Service Unavailable"))
    async with gateway.session.post(CHAT, json=said()) as response:  # its second attempt is one too many
        assert response.status == 429
        assert remaining(response) == {"provider-requests-hour": 0}
    async with gateway.session.post(MESSAGES, json=said()) as response:
        left = remaining(response)
        assert left["key-requests-hour"] == 6
    assert len(upstream.requests) == 4


async def test_a_workflow_counts_once_for_its_project_and_each_call_for_its_provider() -> None:
    async with AsyncExitStack() as stack:
        url = str(await stack.enter_async_context(serving(mock_app(required_key=PROVIDER_KEY))))
        names = environ(
            url.rstrip("/"),
            GATEWAY_PROJECTS="demo",
            **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ROLES},
            GATEWAY_RATE_LIMITS="project demo: 100 requests/hour; provider openai: 5 requests/hour",
        )
        gateway = await run_gateway(stack, names)
        text = {"text": "The moon is far."}
        for left in (99, 98):
            async with gateway.session.post("/projects/demo/summary", json=text) as response:
                assert response.status == 200
                assert remaining(response) == {"project-requests-hour": left}
        async with gateway.session.post(
            "/projects/demo/summary", json=text
        ) as response:  # its second call is one too many
            assert response.status == 429
            assert (await response.json())["code"] == "rate_limit_exceeded"
            assert remaining(response) == {"provider-requests-hour": 0}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"GATEWAY_RATE_LIMITS": "key: 5 usd/day"}, "GATEWAY_PRICES: must be set where a limit of cost is"),
        ({"GATEWAY_RATE_LIMITS": "nonsense"}, "GATEWAY_RATE_LIMITS: rule 1 (nonsense)"),
    ],
)
async def test_what_cannot_be_held_is_refused_at_start(start: Start, names: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told.replace("(", r"\(").replace(")", r"\)")):
        await start(**names)

"""A wrong base URL or a misspelt name is answered with where to go, and never with a name the key may not use."""

from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.running import DIALECTS, KEY, OTHER_KEY, Running, Start, environ, run_gateway
from tests.scripted import ScriptedUpstream

ROLES = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
DEMO = {"GATEWAY_PROJECTS": "demo", **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/gpt-4o-mini" for role in ROLES}}
OTHER = {"X-API-Key": OTHER_KEY}  # may use anthropic alone


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start(**DEMO)


async def told(gateway: Running, path: str, **more: object) -> str:
    """The message of the 404 at `path`, which is the same in both of its places."""
    async with gateway.session.post(path, json={}, **more) as response:  # type: ignore[arg-type]
        assert response.status == 404, await response.text()
        assert response.headers["x-gateway-error"] in ("not_found", "provider_not_configured")
        body = await response.json(content_type=None)
        assert "detail" not in body or body["detail"] == body["error"]["message"]
        return str(body["error"]["message"])


async def test_the_providers_a_key_may_use_are_listed(gateway: Running) -> None:
    for path in ("/provider", "/provider/"):
        async with gateway.session.get(path) as response:
            listed = (await response.json())["providers"]
            assert response.headers["Cache-Control"] == "no-store"
        assert [(each["name"], each["dialect"], each["base_url"]) for each in listed] == [
            ("openai", "openai", f"{gateway.url}/provider/openai/v1"),
            ("anthropic", "anthropic", f"{gateway.url}/provider/anthropic"),
            ("gemini", "gemini", f"{gateway.url}/provider/gemini"),
        ]
        assert "gpt-5" in listed[0]["models"]
    async with gateway.session.get("/provider", headers=OTHER) as response:
        assert [each["name"] for each in (await response.json())["providers"]] == ["anthropic"]


async def test_a_base_url_has_what_the_provider_puts_before_the_version(start: Start) -> None:
    names = ("GROQ", "COHERE", "AZURE_OPENAI", "VLLM", "MY_LLM")
    keys = {f"GATEWAY_PROVIDER_{name}_API_KEY": "k" for name in names}
    gateway = await start(**keys, **{f"GATEWAY_PROVIDER_{name}_BASE_URL": "http://127.0.0.1:9" for name in names})
    async with gateway.session.get("/provider") as response:
        base_urls = {each["name"]: each["base_url"] for each in (await response.json())["providers"]}
    assert {name: base_urls[name].removeprefix(gateway.url) for name in list(base_urls)[3:]} == {
        "groq": "/provider/groq/openai/v1",
        "cohere": "/provider/cohere/compatibility/v1",
        "azure-openai": "/provider/azure-openai/openai/v1",
        "vllm": "/provider/vllm/v1",
        "my-llm": "/provider/my-llm/v1",
    }


async def test_the_base_urls_are_those_that_a_proxy_in_front_has(start: Start) -> None:
    behind = await start(GATEWAY_TRUSTED_PROXIES="127.0.0.1")
    fields = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "Host": "llm.example.com"}
    async with behind.session.get("/provider", headers=fields) as response:
        assert (await response.json())["providers"][0]["base_url"] == "https://llm.example.com/provider/openai/v1"


async def test_without_a_key_nothing_is_listed_or_suggested(gateway: Running) -> None:
    async with aiohttp.ClientSession(gateway.url) as stranger:
        for path in ("/provider", "/provider/", "/v1/models", "/provider/opneai/v1", "/projects/", "/provider/groq"):
            async with stranger.get(path) as response:
                text = await response.text()
                assert response.status == 401
                assert not any(name in text for name in ("openai", "anthropic", "gemini", "demo"))


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/v1/chat/completions", "openai/v1"),
        ("/v1", "openai/v1"),
        ("/v1/models?limit=1", "openai/v1"),
        ("/chat/completions", "openai/v1"),
        ("/responses", "openai/v1"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini"),
        ("/v1/models/gemini-2.5-flash:generateContent", "gemini"),
    ],
)
async def test_an_api_s_path_at_the_root_says_the_base_url(gateway: Running, path: str, base: str) -> None:
    message = await told(gateway, path)
    assert f"The base URL for {base.partition('/')[0]} is {gateway.url}/provider/{base}." in message
    assert "This key may use openai, anthropic, gemini; GET /provider lists them." in message


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions", {"message", "type", "param", "code"}),
        ("/v1/messages", {"type", "message"}),
        ("/messages", {"type", "message"}),
        ("/provider/antropic/v1/messages", {"type", "message"}),
        ("/v1beta/models/m:generateContent", {"code", "message", "status"}),
        ("/provider/gemni/v1beta/models/m:generateContent", {"code", "message", "status"}),
        ("/provider/gemni/v1/models/m:generateContent", {"code", "message", "status"}),
        ("/provider/opneai/v1/models", {"message", "type", "param", "code"}),
    ],
)
async def test_an_api_s_path_is_refused_as_its_sdks_read_it(gateway: Running, path: str, shape: set[str]) -> None:
    for key, status in ((KEY, 404), ("wrong", 401)):
        async with gateway.session.post(path, json={}, headers={"X-API-Key": key}) as response:
            body = await response.json(content_type=None)
        assert (response.status, body["error"].keys()) == (status, shape)
        is_problem = response.content_type == "application/problem+json"
        assert is_problem == ("code" in shape and "status" not in shape) == ("detail" in body)


async def test_a_key_is_told_of_its_own_providers_alone(gateway: Running) -> None:
    for path in ("/v1/chat/completions", "/provider/opneai/v1/models", "/openai/v1/models", "/provider/groq/v1/models"):
        message = await told(gateway, path, headers=OTHER)
        assert "openai" not in message.replace("opneai", "") and "gemini" not in message, path
        assert path == "/openai/v1/models" or "This key may use anthropic" in message
    assert f"{gateway.url}/provider/anthropic." in await told(gateway, "/v1/messages", headers=OTHER)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/provider/opneai/v1/chat/completions", "Did you mean openai?"),
        ("/provider/OpenAI/v1/chat/completions", "Did you mean openai?"),
        ("/provider/antropic", "Did you mean anthropic?"),
        ("/openai/v1/chat/completions", "Did you mean /provider/openai/?"),
        ("/Anthropic/v1/messages", "Did you mean /provider/anthropic/?"),
        ("/providers/openai/v1/chat/completions", "Did you mean /provider/openai/?"),
        ("/Provider/openai/v1/chat/completions", "Did you mean /provider/openai/?"),
        ("/provider//v1/chat/completions", "The path names no provider."),
        ("/provider/mistral/v1/chat/completions", "No provider mistral is configured on this gateway."),
        ("/project/demo/summary", "Did you mean /projects/demo/?"),
        ("/projects/dmeo/summary", "No project dmeo is served. Did you mean demo?"),
        ("/projects/Demo/summary", "Did you mean demo?"),
        ("/projects/demo", "The project demo is at /projects/demo/summary, "),
        ("/projects/demo/", "The project demo is at /projects/demo/summary, "),
        ("/projects/demo/sumary", "The project demo is at /projects/demo/summary, "),
        ("/anything/else", "Providers are at /provider/<name>/, projects at /projects/<name>/"),
    ],
)
async def test_a_misspelt_path_says_what_may_be_meant(gateway: Running, path: str, meant: str) -> None:
    assert meant in await told(gateway, path)


@pytest.mark.parametrize("name", ["x" * 300, "%0d%0aSet-Cookie:a", "<script>", "caf%C3%A9", "a" * 65])
async def test_what_is_no_plain_name_is_not_repeated(gateway: Running, name: str) -> None:
    for path in (f"/provider/{name}/v1", f"/projects/{name}/summary", f"/{name}/v1"):
        message = await told(gateway, path)
        assert name not in message and "script" not in message and "Cookie" not in message
        assert len(message) < 400


async def test_a_project_that_a_key_may_not_use_is_not_suggested(upstream: ScriptedUpstream) -> None:
    keys = f"alice={KEY};projects=search,bob={OTHER_KEY};projects=demo"
    async with AsyncExitStack() as stack:
        gateway = await run_gateway(stack, environ(upstream.url, **DEMO) | {"GATEWAY_API_KEYS": keys})
        for path in ("/projects/dmeo/summary", "/projects/demo", "/projects/demo/sumary", "/project/demo"):
            message = await told(gateway, path)
            assert "Did you mean" not in message and "/summary" not in message, path
        assert "Did you mean demo?" in await told(gateway, "/projects/dmeo/summary", headers=OTHER)


async def test_a_long_list_of_providers_is_cut(start: Start) -> None:
    many = await start(**{f"GATEWAY_PROVIDER_LLM{n}_BASE_URL": "http://127.0.0.1:9" for n in range(20)})
    message = await told(many, "/v1/chat/completions")
    assert "and 15 more; GET /provider lists them." in message


@pytest.mark.parametrize("provider", DIALECTS)
async def test_a_provider_without_a_path_is_its_root(
    gateway: Running, upstream: ScriptedUpstream, provider: str
) -> None:
    for number, (below, target) in enumerate([("", "/"), ("/", "/"), ("?a=1", "/?a=1"), ("/?a=1", "/?a=1")], start=1):
        for method in ("POST", "GET"):
            async with gateway.session.request(method, f"/provider/{provider}{below}") as response:
                assert response.status == 200
            assert upstream.requests[-1].target == target.encode(), below
        exchange = await gateway.exchange(2 * number)
        assert (exchange.provider, exchange.route) == (
            provider,
            f"/provider/{provider}" if below[:1] != "/" else f"/provider/{provider}/{{tail}}",
        )


async def test_a_refused_key_is_told_where_its_own_are_listed(gateway: Running) -> None:
    async with gateway.session.post("/provider/openai/v1/chat/completions", json={}, headers=OTHER) as response:
        assert response.status == 403
        assert "GET /provider lists those that it may use." in (await response.json())["error"]["message"]


async def test_a_provider_without_a_path_is_within_its_limits(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="provider openai: 2 requests/h")
    paths = ["/provider/", "/provider/openai", "/provider/openai?a=1", "/provider/openai", "/provider/openai/v1/models"]
    statuses = []
    for path in paths:
        async with gateway.session.get(path) as response:
            statuses.append(response.status)
            limit = response.headers.get("RateLimit-Policy")
        assert (limit is not None) == ("openai" in path), path
    assert statuses == [200, 200, 200, 429, 429]
    assert len(upstream.requests) == 2

"""The path below `/provider/<name>` is the provider's own, whichever of its APIs and SDKs it belongs to.

The paths are those that the SDKs were seen to send, with the base URL of docs/providers.md: mistralai 3.7, groq 1.7,
together 3.1, cohere 7.3, openai 3.57 (`AzureOpenAI` too), openrouter 1.3, ollama 0.6, anthropic 2.14, google-genai 3.6.
"""

import pytest

from gateway.providers.catalog import KNOWN
from tests.running import PROVIDER_KEY, Start
from tests.scripted import ScriptedUpstream

BEARER, X_API_KEY, API_KEY, GOOGLE = "authorization", "x-api-key", "api-key", "x-goog-api-key"
CHAT, TEXT, EMBEDDINGS, GEMINI, NONE = "chat", "text_completion", "embeddings", "generate_content", ""

# provider, the target that its SDK sends below the route, what is called at the provider, operation, credential
SENT = [
    ("openai", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions", CHAT, BEARER),
    ("openai", "/v1/responses", "https://api.openai.com/v1/responses", CHAT, BEARER),
    ("openai", "/v1/embeddings", "https://api.openai.com/v1/embeddings", EMBEDDINGS, BEARER),
    ("anthropic", "/v1/messages", "https://api.anthropic.com/v1/messages", CHAT, X_API_KEY),
    ("anthropic", "/v1/messages/batches", "https://api.anthropic.com/v1/messages/batches", NONE, X_API_KEY),
    ("anthropic", "/v1/chat/completions", "https://api.anthropic.com/v1/chat/completions", CHAT, BEARER),
    (
        "gemini",
        "/v1beta/models/g:generateContent",
        "https://generativelanguage.googleapis.com/v1beta/models/g:generateContent",
        GEMINI,
        GOOGLE,
    ),
    (
        "gemini",
        "/upload/v1beta/files",
        "https://generativelanguage.googleapis.com/upload/v1beta/files",
        NONE,
        GOOGLE,
    ),
    (
        "gemini",
        "/v1beta/openai/chat/completions",
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        CHAT,
        BEARER,
    ),
    ("mistral", "/v1/chat/completions", "https://api.mistral.ai/v1/chat/completions", CHAT, BEARER),
    ("mistral", "/v1/agents/completions", "https://api.mistral.ai/v1/agents/completions", CHAT, BEARER),
    ("mistral", "/v1/fim/completions", "https://api.mistral.ai/v1/fim/completions", TEXT, BEARER),
    ("mistral", "/v1/embeddings", "https://api.mistral.ai/v1/embeddings", EMBEDDINGS, BEARER),
    ("groq", "/openai/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions", CHAT, BEARER),
    ("groq", "/openai/v1/models", "https://api.groq.com/openai/v1/models", NONE, BEARER),
    ("together", "/v1/chat/completions", "https://api.together.ai/v1/chat/completions", CHAT, BEARER),
    ("together", "/v1/completions", "https://api.together.ai/v1/completions", TEXT, BEARER),
    ("openrouter", "/v1/chat/completions", "https://openrouter.ai/api/v1/chat/completions", CHAT, BEARER),
    ("openrouter", "/v1/messages", "https://openrouter.ai/api/v1/messages", CHAT, BEARER),
    ("deepseek", "/chat/completions", "https://api.deepseek.com/chat/completions", CHAT, BEARER),
    ("deepseek", "/v1/chat/completions", "https://api.deepseek.com/v1/chat/completions", CHAT, BEARER),
    ("deepseek", "/beta/completions", "https://api.deepseek.com/beta/completions", TEXT, BEARER),
    ("deepseek", "/anthropic/v1/messages", "https://api.deepseek.com/anthropic/v1/messages", CHAT, BEARER),
    ("xai", "/v1/chat/completions", "https://api.x.ai/v1/chat/completions", CHAT, BEARER),
    ("cohere", "/v2/chat", "https://api.cohere.com/v2/chat", CHAT, BEARER),
    ("cohere", "/v1/embed", "https://api.cohere.com/v1/embed", EMBEDDINGS, BEARER),
    (
        "cohere",
        "/compatibility/v1/chat/completions",
        "https://api.cohere.com/compatibility/v1/chat/completions",
        CHAT,
        BEARER,
    ),
    (
        "azure-openai",
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "https://us.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        CHAT,
        API_KEY,
    ),
    (
        "azure-openai",
        "/openai/deployments/d/embeddings?api-version=2024-10-21",
        "https://us.openai.azure.com/openai/deployments/d/embeddings?api-version=2024-10-21",
        EMBEDDINGS,
        API_KEY,
    ),
    ("azure-openai", "/openai/v1/responses", "https://us.openai.azure.com/openai/v1/responses", CHAT, API_KEY),
    ("ollama", "/api/chat", "http://127.0.0.1:11434/api/chat", NONE, BEARER),
    ("ollama", "/v1/chat/completions", "http://127.0.0.1:11434/v1/chat/completions", CHAT, BEARER),
    ("vllm", "/v1/chat/completions", "http://127.0.0.1:8000/v1/chat/completions", CHAT, BEARER),
]
OPERATORS = {
    "azure-openai": "https://us.openai.azure.com",
    "ollama": "http://127.0.0.1:11434",
    "vllm": "http://127.0.0.1:8000",
}
CREDENTIALS = {BEARER, X_API_KEY, API_KEY, GOOGLE}


def test_no_built_in_provider_is_left_out() -> None:
    assert {name for name, *_ in SENT} == set(KNOWN)


@pytest.mark.parametrize(("name", "target", "called", "operation", "credential"), SENT)
async def test_what_an_sdk_sends_is_called_at_its_provider(
    start: Start, upstream: ScriptedUpstream, name: str, target: str, called: str, operation: str, credential: str
) -> None:
    base = str(KNOWN[name].base_url or OPERATORS[name]).rstrip("/")
    origin = "/".join(base.split("/")[:3])
    own = f"GATEWAY_PROVIDER_{name.upper().replace('-', '_')}"
    gateway = await start(
        **{f"{own}_BASE_URL": upstream.url + base.removeprefix(origin), f"{own}_API_KEY": PROVIDER_KEY}
    )
    async with gateway.session.post(f"/provider/{name}{target}", json={"model": "m"}) as response:
        assert response.status == 200
    got = await upstream.received()
    assert origin + got.target.decode() == called
    assert CREDENTIALS & {field.lower() for field in got.fields} == {credential}
    assert got.fields[credential] == (f"Bearer {PROVIDER_KEY}" if credential == BEARER else PROVIDER_KEY)
    assert (await gateway.exchange()).calls[0].facts.operation == operation


async def test_a_fallback_with_another_root_is_called_below_its_own(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(
        GATEWAY_PROVIDER_GROQ_BASE_URL="http://127.0.0.1:1",
        GROQ_API_KEY="gsk-0123456789",
        GATEWAY_PROVIDER_GROQ_FALLBACK="openai",
    )
    target = "/provider/groq/openai/v1/chat/completions?a=b"
    async with gateway.session.post(target, json={"model": "m"}) as response:
        assert (response.status, response.headers["x-gateway-provider"]) == (200, "openai")
    assert (await upstream.received()).target == b"/v1/chat/completions?a=b"

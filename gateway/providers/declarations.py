"""The providers the gateway knows by name, as data.

A base URL is the provider's origin, or what its own SDK has as base URL, without a version: the path below the route is
the provider's own, so that `/provider/openai/v1/models` calls `/v1/models`, and every API of the origin can be called.
A dialect's `root` says where workflows find OpenAI's API there. Providers without a base URL stand wherever their
operator put them. `models` are what metrics tell by name where nothing else is
configured; a model that is missing there is relayed like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from yarl import URL

from gateway.providers.anthropic import VERSION, AnthropicDialect
from gateway.providers.gemini import GeminiDialect
from gateway.providers.openai import OpenAIDialect
from gateway.providers.provider import BEARER, Credential, Dialect, Provider
from gateway.settings import Secret

ANTHROPIC_VERSION = "anthropic-version"


@dataclass(frozen=True, slots=True)
class Custom:
    """What an API of a dialect asks for, unless a provider has it otherwise."""

    dialect: Dialect
    credential: Credential
    default_headers: Mapping[str, str] = field(default_factory=dict)


OPENAI = Custom(OpenAIDialect(), Credential("authorization", BEARER))
# Compatible APIs take the key as OpenAI's SDK sends it.
ANTHROPIC = Custom(
    AnthropicDialect(),
    Credential("x-api-key", bearer_below="/v1/chat/completions"),
    {ANTHROPIC_VERSION: VERSION},
)
# Google's refuses a request to its OpenAI-compatible API without `Authorization`.
GEMINI = Custom(GeminiDialect(), Credential("x-goog-api-key", bearer_below="/v1beta/openai/"))

CUSTOMS: Mapping[str, Custom] = {custom.dialect.name: custom for custom in (OPENAI, ANTHROPIC, GEMINI)}

OPENAI_MODELS = (
    "gpt-6-sol",
    "gpt-6-luna",
    "gpt-5.5",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5",
    "gpt-5-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
)


def compatible(
    name: str,
    base_url: str,
    env: tuple[str, ...],
    *,
    system: str = "",
    models: tuple[str, ...] = (),
    dialect: Dialect = OPENAI.dialect,
) -> Provider:
    """A provider in the cloud that speaks OpenAI's dialect, key and all."""
    return Provider(
        name, URL(base_url), dialect, Credential("authorization", BEARER, env), system=system, models=models
    )


def local(name: str, base_url_env: str, key_env: str) -> Provider:
    """A server of the operator's own: it needs an address, and a key only if he gave it one."""
    credential = Credential("authorization", BEARER, (key_env,), required=False)
    return Provider(name, None, OPENAI.dialect, credential, base_url_env=(base_url_env,))


DECLARATIONS = (
    compatible("openai", "https://api.openai.com", ("OPENAI_API_KEY",), models=OPENAI_MODELS),
    Provider(
        "anthropic",
        URL("https://api.anthropic.com"),
        ANTHROPIC.dialect,
        replace(ANTHROPIC.credential, env=("ANTHROPIC_API_KEY",)),
        default_headers=ANTHROPIC.default_headers,
        models=(
            "claude-opus-5-5",
            "claude-sonnet-5-5",
            "claude-haiku-5-5",
            "claude-opus-5",
            "claude-sonnet-5",
            "claude-opus-4-8",
            "claude-sonnet-4-6",
            "claude-haiku-4-5",
        ),
    ),
    Provider(
        "gemini",
        URL("https://generativelanguage.googleapis.com"),
        GEMINI.dialect,
        # GOOGLE_API_KEY may be meant for other APIs of Google, hence second.
        replace(GEMINI.credential, env=("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        system="google",
        models=("gemini-3.8-flash", "gemini-3.5-flash", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-embedding-001"),
    ),
    compatible(
        "mistral",
        "https://api.mistral.ai",
        ("MISTRAL_API_KEY",),
        system="mistralai",
        # It tells a stream's usage unasked, and refuses `stream_options` as an unknown member.
        dialect=OpenAIDialect(stream_usage=False),
        models=(
            "mistral-large-latest",
            "mistral-medium-latest",
            "mistral-small-latest",
            "codestral-latest",
            "mistral-embed",
        ),
    ),
    compatible(
        "groq",
        "https://api.groq.com",
        ("GROQ_API_KEY",),
        dialect=OpenAIDialect(root="/openai/v1"),
        models=("openai/gpt-oss-120b", "openai/gpt-oss-20b", "llama-3.3-70b-versatile", "llama-3.1-8b-instant"),
    ),
    compatible(
        "together",
        "https://api.together.ai",
        ("TOGETHER_API_KEY",),
        models=("openai/gpt-oss-120b", "openai/gpt-oss-20b", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ),
    compatible("openrouter", "https://openrouter.ai/api", ("OPENROUTER_API_KEY",), models=("openrouter/auto",)),
    compatible(
        "deepseek", "https://api.deepseek.com", ("DEEPSEEK_API_KEY",), models=("deepseek-v4-pro", "deepseek-v4-flash")
    ),
    compatible("xai", "https://api.x.ai", ("XAI_API_KEY",), models=("grok-4", "grok-4.20", "grok-code-fast-1")),
    compatible(
        "cohere",
        "https://api.cohere.com",
        ("COHERE_API_KEY", "CO_API_KEY"),
        # Its compatible API refuses `stream_options`.
        dialect=OpenAIDialect(root="/compatibility/v1", stream_usage=False),
        models=("command-a-03-2025", "command-r-plus-08-2024", "embed-v4.0"),
    ),
    Provider(
        "azure-openai",
        None,
        OpenAIDialect(root="/openai/v1"),
        Credential("api-key", env=("AZURE_OPENAI_API_KEY",)),
        base_url_env=("AZURE_OPENAI_ENDPOINT",),
        system="azure",
        models=OPENAI_MODELS,
    ),
    # Not OLLAMA_HOST: there it is the address the server listens on, often 0.0.0.0, and seldom a URL.
    local("ollama", "OLLAMA_BASE_URL", "OLLAMA_API_KEY"),
    local("vllm", "VLLM_BASE_URL", "VLLM_API_KEY"),
)

KNOWN: Mapping[str, Provider] = {provider.name: provider for provider in DECLARATIONS}


def mock(base_url: URL) -> Provider:
    """The bundled mock upstream, which takes any key."""
    models = ("mock-model", "mock-model-mini", "mock-embedding")
    return Provider("mock", base_url, OPENAI.dialect, OPENAI.credential, key=Secret("any-key"), models=models)

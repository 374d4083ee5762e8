"""Declarations and settings -> the providers that are served."""

from pathlib import Path

import pytest
from yarl import URL

from gateway.providers import declarations
from gateway.providers.anthropic import AnthropicDialect
from gateway.providers.catalog import KNOWN, configured_providers, missing, sources
from gateway.providers.provider import Prompt, Provider
from gateway.settings import Reader, Secret, SettingsError, Timeouts
from gateway.settings.upstream import CircuitSettings, Policy

TIMEOUTS = Timeouts(connect=1, first_byte=2, idle=3)

# What each provider's own SDK has as its base URL, less the version.
CLOUD = {
    "openai": ("OPENAI_API_KEY", "https://api.openai.com", "openai", "authorization"),
    "anthropic": ("ANTHROPIC_API_KEY", "https://api.anthropic.com", "anthropic", "x-api-key"),
    "gemini": ("GEMINI_API_KEY", "https://generativelanguage.googleapis.com", "gemini", "x-goog-api-key"),
    "mistral": ("MISTRAL_API_KEY", "https://api.mistral.ai", "openai", "authorization"),
    "groq": ("GROQ_API_KEY", "https://api.groq.com", "openai", "authorization"),
    "together": ("TOGETHER_API_KEY", "https://api.together.ai", "openai", "authorization"),
    "openrouter": ("OPENROUTER_API_KEY", "https://openrouter.ai/api", "openai", "authorization"),
    "deepseek": ("DEEPSEEK_API_KEY", "https://api.deepseek.com", "openai", "authorization"),
    "xai": ("XAI_API_KEY", "https://api.x.ai", "openai", "authorization"),
    "cohere": ("COHERE_API_KEY", "https://api.cohere.com", "openai", "authorization"),
}
LOCAL = {"ollama": "OLLAMA_BASE_URL", "vllm": "VLLM_BASE_URL"}


def read(**environ: str) -> dict[str, Provider]:
    reader = Reader(environ)
    providers = configured_providers(reader, TIMEOUTS)
    reader.finish()
    return {provider.name: provider for provider in providers}


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    return list(caught.value.problems)


def test_nothing_is_on_by_itself() -> None:
    assert read() == {}


def test_all_that_were_promised_are_known() -> None:
    assert set(KNOWN) == {*CLOUD, *LOCAL, "azure-openai"}


@pytest.mark.parametrize("name", CLOUD)
def test_a_cloud_provider_is_switched_on_by_its_customary_key(name: str) -> None:
    env, base_url, dialect, header = CLOUD[name]
    providers = read(**{env: "sk-123"})
    assert list(providers) == [name]
    provider = providers[name]
    assert (str(provider.base_url).rstrip("/"), provider.dialect.name) == (base_url, dialect)
    assert provider.key == Secret("sk-123")
    assert provider.credential is not None
    assert provider.credential.header == header
    assert provider.timeouts == TIMEOUTS


@pytest.mark.parametrize("name", CLOUD)
def test_the_gateways_own_variable_switches_it_on_and_wins(name: str) -> None:
    own = f"GATEWAY_PROVIDER_{name.upper()}_API_KEY"
    assert read(**{own: "sk-own"})[name].key == Secret("sk-own")
    assert read(**{own: "sk-own", CLOUD[name][0]: "sk-customary"})[name].key == Secret("sk-own")


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [("GEMINI_API_KEY", "GOOGLE_API_KEY", "gemini"), ("COHERE_API_KEY", "CO_API_KEY", "cohere")],
)
def test_of_two_customary_keys_the_more_particular_wins(first: str, second: str, name: str) -> None:
    assert read(**{second: "b"})[name].key == Secret("b")
    assert read(**{first: "a", second: "b"})[name].key == Secret("a")


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_provider_is_switched_on_by_its_base_url_and_needs_no_key(name: str) -> None:
    provider = read(**{LOCAL[name]: "http://127.0.0.1:11434"})[name]
    assert (str(provider.base_url), provider.key) == ("http://127.0.0.1:11434", None)
    assert read(**{f"GATEWAY_PROVIDER_{name.upper()}_BASE_URL": "http://10.0.0.1"})[name].base_url == URL(
        "http://10.0.0.1"
    )
    assert read(**{f"{name.upper()}_API_KEY": "k", LOCAL[name]: "http://10.0.0.1"})[name].key == Secret("k")
    assert read(**{f"{name.upper()}_API_KEY": "k"}) == {}


def test_the_address_a_local_server_listens_on_switches_nothing_on() -> None:
    assert read(OLLAMA_HOST="0.0.0.0:11434") == {}


def test_azure_needs_its_key_and_its_endpoint() -> None:
    assert read(AZURE_OPENAI_API_KEY="k") == {}
    assert read(AZURE_OPENAI_ENDPOINT="https://us.openai.azure.com") == {}
    provider = read(AZURE_OPENAI_API_KEY="k", AZURE_OPENAI_ENDPOINT="https://us.openai.azure.com/")["azure-openai"]
    assert provider.base_url == URL("https://us.openai.azure.com/")
    assert provider.credential is not None
    assert (provider.credential.header, provider.credential.template) == ("api-key", "{}")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("openai", "/v1/chat/completions"),
        ("groq", "/openai/v1/chat/completions"),
        ("cohere", "/compatibility/v1/chat/completions"),
        ("azure-openai", "/openai/v1/chat/completions"),
    ],
)
def test_workflows_find_the_api_below_the_base_url(name: str, target: str) -> None:
    assert KNOWN[name].dialect.chat("m", Prompt([("user", "hi")]), {}, stream=False).target == target


def test_cohere_is_not_asked_for_a_streams_usage() -> None:
    body = KNOWN["cohere"].dialect.chat("m", Prompt([("user", "hi")]), {}, stream=True).body
    assert isinstance(body, bytes)
    assert b"stream_options" not in body


def test_anthropic_is_sent_a_version_where_the_client_sends_none() -> None:
    assert read(ANTHROPIC_API_KEY="k")["anthropic"].default_headers == {"anthropic-version": "2023-06-01"}


def test_the_version_that_anthropics_api_is_sent_is_a_setting() -> None:
    providers = read(
        ANTHROPIC_API_KEY="k",
        OPENAI_API_KEY="k",
        GATEWAY_PROVIDER_CLAUDE_BASE_URL="http://10.0.0.1",
        GATEWAY_PROVIDER_CLAUDE_DIALECT="anthropic",
        GATEWAY_ANTHROPIC_VERSION="2026-10-21",
    )
    for name in ("anthropic", "claude"):
        assert providers[name].default_headers == {"anthropic-version": "2026-10-21"}
        assert providers[name].dialect == AnthropicDialect("2026-10-21")
    assert providers["openai"].default_headers == {}


def test_an_anthropic_version_is_a_date() -> None:
    told = "GATEWAY_ANTHROPIC_VERSION: must be a date, such as 2023-06-01"
    assert problems(ANTHROPIC_API_KEY="k", GATEWAY_ANTHROPIC_VERSION="latest\r\nX-A: b") == [told]


def test_no_base_url_that_is_built_in_holds_a_version() -> None:
    assert [name for name, provider in KNOWN.items() if "/v" in str(provider.base_url)] == []


@pytest.mark.parametrize("name", [*CLOUD, *LOCAL, "azure-openai"])
def test_every_base_url_can_be_overridden(name: str) -> None:
    own = f"GATEWAY_PROVIDER_{name.upper().replace('-', '_')}"
    provider = read(**{f"{own}_BASE_URL": "http://127.0.0.1:8081/base", f"{own}_API_KEY": "k"})[name]
    assert str(provider.base_url) == "http://127.0.0.1:8081/base"


def test_a_base_url_of_the_operators_own_needs_no_key() -> None:
    assert read(GATEWAY_PROVIDER_OPENAI_BASE_URL="http://mock:8081")["openai"].key is None


def test_a_clients_own_base_url_is_never_read() -> None:
    environ = {
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": "http://127.0.0.1:8080/provider/openai/v1",
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080/provider/anthropic",
        "GEMINI_API_KEY": "k",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:8080/provider/gemini",
    }
    assert {str(provider.base_url).rstrip("/") for provider in read(**environ).values()} == {
        CLOUD[name][1] for name in ("openai", "anthropic", "gemini")
    }


def test_any_other_name_makes_a_further_provider() -> None:
    provider = read(GATEWAY_PROVIDER_MY_LLM_BASE_URL="http://10.0.0.9:8000/llm", GATEWAY_PROVIDER_MY_LLM_API_KEY="k")[
        "my-llm"
    ]
    assert (str(provider.base_url), provider.dialect.name) == ("http://10.0.0.9:8000/llm", "openai")
    assert provider.key == Secret("k")
    assert read(GATEWAY_PROVIDER_MOCK_BASE_URL="http://127.0.0.1:1")["mock"].key is None


@pytest.mark.parametrize(
    ("dialect", "header", "bearer_below", "headers"),
    [
        ("anthropic", "x-api-key", "/v1/chat/completions", {"anthropic-version": "2023-06-01"}),
        ("GEMINI", "x-goog-api-key", "/v1beta/openai/", {}),
        ("openai", "authorization", "", {}),
    ],
)
def test_a_dialect_brings_its_customs(dialect: str, header: str, bearer_below: str, headers: dict[str, str]) -> None:
    environ = {"GATEWAY_PROVIDER_X1_BASE_URL": "http://10.0.0.9", "GATEWAY_PROVIDER_X1_DIALECT": dialect}
    provider = read(**environ)["x1"]
    assert provider.dialect.name == dialect.lower()
    assert provider.credential is not None
    assert (provider.credential.header, provider.credential.bearer_below) == (header, bearer_below)
    assert provider.credential.required is False
    assert provider.default_headers == headers


def test_a_known_provider_may_be_spoken_to_in_another_dialect() -> None:
    provider = read(
        DEEPSEEK_API_KEY="k",
        GATEWAY_PROVIDER_DEEPSEEK_BASE_URL="https://api.deepseek.com/anthropic",
        GATEWAY_PROVIDER_DEEPSEEK_DIALECT="anthropic",
    )["deepseek"]
    assert provider.credential is not None
    assert (provider.dialect.name, provider.credential.header, provider.key) == ("anthropic", "x-api-key", Secret("k"))


def test_each_provider_may_have_timeouts_and_models_of_its_own() -> None:
    provider = read(
        OPENAI_API_KEY="k", GATEWAY_PROVIDER_OPENAI_IDLE_TIMEOUT="0.5", GATEWAY_PROVIDER_OPENAI_MODELS="gpt-a, gpt-b"
    )["openai"]
    assert provider.timeouts == Timeouts(connect=1, first_byte=2, idle=0.5)
    assert provider.models == ("gpt-a", "gpt-b")
    assert read(GATEWAY_PROVIDER_OPENAI_IDLE_TIMEOUT="0.5") == {}


def test_each_provider_may_say_how_long_connections_rest() -> None:
    own = {"GATEWAY_PROVIDER_VLLM_BASE_URL": "http://vllm:8000", "GATEWAY_PROVIDER_VLLM_POOL_IDLE_SECONDS": "2"}
    providers = read(OPENAI_API_KEY="k", **own)
    assert {name: provider.timeouts.pool_idle for name, provider in providers.items()} == {"openai": 4, "vllm": 2}


def test_a_key_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    assert read(OPENAI_API_KEY_FILE=str(file))["openai"].key == Secret("sk-from-a-file")
    assert read(GATEWAY_PROVIDER_OPENAI_API_KEY_FILE=str(file))["openai"].key == Secret("sk-from-a-file")


@pytest.mark.parametrize("key", ["sk 123", "sk-1\r\nx-evil: 1", "sk-é", "Bearer sk-123", "sk\t1", "sk\x7f"])
def test_a_key_that_no_header_field_can_carry_is_a_problem_and_not_shown(key: str) -> None:
    for name in ("OPENAI_API_KEY", "GATEWAY_PROVIDER_OPENAI_API_KEY"):
        [problem] = problems(**{name: key})
        assert problem.startswith(f"{name}: must be visible ASCII characters without blanks")
        assert key not in problem


def test_what_a_further_provider_lacks_is_a_problem() -> None:
    told = "GATEWAY_PROVIDER_MY_LLM_BASE_URL: is needed, since there is none for my-llm"
    assert problems(GATEWAY_PROVIDER_MY_LLM_API_KEY="k") == [told]
    assert problems(GATEWAY_PROVIDER_MY_LLM_DIALECT="anthropic") == [told]
    assert problems(GATEWAY_PROVIDER_VLLM_API_KEY="k") == [
        "GATEWAY_PROVIDER_VLLM_BASE_URL: is needed, since there is none for vllm"
    ]


@pytest.mark.parametrize("name", ["my-llm", "My_LLM", "MY__LLM", "_LLM", "LLM_", "Ü"])
def test_a_name_that_could_be_read_in_two_ways_is_a_problem(name: str) -> None:
    [problem] = problems(**{f"GATEWAY_PROVIDER_{name}_BASE_URL": "http://10.0.0.9"})
    assert problem.startswith(f"GATEWAY_PROVIDER_{name}: a provider's name must be A-Z and 0-9 here")


def test_all_problems_are_told_at_once() -> None:
    assert [
        problem.partition(":")[0]
        for problem in problems(
            OPENAI_API_KEY="a b",
            GATEWAY_PROVIDER_GROQ_BASE_URL="nowhere",
            GATEWAY_PROVIDER_X_BASE_URL="http://user:secret@10.0.0.9",
            GATEWAY_PROVIDER_X_DIALECT="klingon",
            GATEWAY_PROVIDER_X_IDLE_TIMEOUT="0",
        )
    ] == [
        "OPENAI_API_KEY",
        "GATEWAY_PROVIDER_GROQ_BASE_URL",
        "GATEWAY_PROVIDER_X_BASE_URL",
        "GATEWAY_PROVIDER_X_DIALECT",
        "GATEWAY_PROVIDER_X_IDLE_TIMEOUT",
    ]


def test_it_can_be_told_what_switched_a_provider_on() -> None:
    environ = {
        "GEMINI_API_KEY": "k",
        "GOOGLE_API_KEY": "k",
        "AZURE_OPENAI_API_KEY": "k",
        "AZURE_OPENAI_ENDPOINT": "https://us.openai.azure.com",
        "GATEWAY_PROVIDER_MY_LLM_BASE_URL": "http://10.0.0.9",
    }
    reader = Reader(environ)
    told = {provider.name: sources(reader, provider) for provider in configured_providers(reader, TIMEOUTS)}
    assert told == {
        "gemini": ("GEMINI_API_KEY",),
        "azure-openai": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        "my-llm": ("GATEWAY_PROVIDER_MY_LLM_BASE_URL",),
    }


@pytest.mark.parametrize("name", KNOWN)
def test_setting_what_is_missing_switches_a_provider_on(name: str) -> None:
    environ = dict.fromkeys(missing(KNOWN[name]), "http://10.0.0.9")
    assert environ
    assert list(read(**environ)) == [name]


def test_every_name_that_is_read_is_documented() -> None:
    reader = Reader({})
    configured_providers(reader, TIMEOUTS)
    expected = {env for env, *_ in CLOUD.values()} | set(LOCAL.values()) | {"AZURE_OPENAI_ENDPOINT", "GOOGLE_API_KEY"}
    assert expected <= set(reader.variables)
    assert {
        f"GATEWAY_PROVIDER_<NAME>{suffix}" for suffix in ("_BASE_URL", "_API_KEY", "_DIALECT", "_IDLE_TIMEOUT")
    } <= set(reader.variables)
    assert not [name for name in reader.variables if name.endswith("_BASE_URL") and name.startswith("OPENAI")]


def test_the_mock_takes_any_key_and_is_sent_one() -> None:
    provider = declarations.mock(URL("http://127.0.0.1:1"))
    assert (provider.name, provider.dialect.name) == ("mock", "openai")
    assert provider.key is not None


def test_no_key_is_shown() -> None:
    assert "sk-123" not in repr(read(OPENAI_API_KEY="sk-123"))


POLICY = Policy(max_concurrent=1000, retries=1, circuit=CircuitSettings(failures=7))


def with_policy(**environ: str) -> dict[str, Policy]:
    reader = Reader({"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": "sk-2", "ANTHROPIC_API_KEY": "sk-3", **environ})
    providers = configured_providers(reader, TIMEOUTS, POLICY)
    reader.finish()
    assert not reader.unknown("GATEWAY_")
    return {provider.name: provider.policy for provider in providers}


def test_a_provider_is_called_as_all_are_unless_it_is_said_otherwise() -> None:
    policies = with_policy(
        GATEWAY_PROVIDER_GROQ_MAX_CONCURRENT="5",
        GATEWAY_PROVIDER_GROQ_RETRIES="0",
        GATEWAY_PROVIDER_GROQ_CIRCUIT_FAILURES="0",
        GATEWAY_PROVIDER_GROQ_FALLBACK="OpenAI",
    )
    assert policies["openai"] == policies["anthropic"] == POLICY
    assert policies["groq"] == Policy(5, 0, "openai", CircuitSettings(failures=0))


@pytest.mark.parametrize("fallback", ["groq", "mistral", "nobody"])
def test_a_fallback_is_another_provider_that_is_on(fallback: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_PROVIDER_GROQ_FALLBACK: must be the name of another provider"):
        with_policy(GATEWAY_PROVIDER_GROQ_FALLBACK=fallback)


def test_a_fallback_speaks_the_same_dialect() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_PROVIDER_GROQ_FALLBACK: anthropic does not speak the dialect"):
        with_policy(GATEWAY_PROVIDER_GROQ_FALLBACK="anthropic")

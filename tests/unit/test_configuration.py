"""All that is configured, from one look at the environment."""

import pickle
from pathlib import Path

import pytest
from yarl import URL

from gateway.access.keys import new_key
from gateway.configuration import Configuration, is_loopback, load, reloaded
from gateway.settings import SettingsError

KEY = new_key()
KEYS = f"team-a={KEY}"


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return list(caught.value.problems)


def test_settings_providers_and_clients_are_read_together() -> None:
    configuration = load(
        {"GATEWAY_PORT": "9000", "GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k", "GATEWAY_IDLE_TIMEOUT": "7"}
    )
    assert configuration.settings.server.port == 9000
    assert [(provider.name, provider.timeouts.idle) for provider in configuration.providers] == [("openai", 7)]
    assert configuration.clients.named("team-a") is not None
    assert not configuration.is_embedded_default
    assert configuration.warnings == ()


def test_without_a_provider_and_a_key_the_gateway_serves_itself() -> None:
    configuration = load({"GATEWAY_PORT": "9000"})
    assert configuration.is_embedded_default
    assert configuration.demo_key is not None
    client = configuration.clients.find(configuration.demo_key.reveal().encode())
    assert client is not None
    assert client.id == "demo"
    [mock] = configuration.with_mock(URL("http://127.0.0.1:4711")).providers
    assert (mock.name, str(mock.base_url)) == ("mock", "http://127.0.0.1:4711")
    assert configuration.warnings == ()


def test_the_demo_key_is_another_at_each_start() -> None:
    assert load({}).demo_key != load({}).demo_key


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example.com"])
def test_the_embedded_default_listens_on_loopback_only(host: str) -> None:
    [problem] = problems(GATEWAY_HOST=host)
    assert problem.startswith("GATEWAY_HOST: the embedded default is served on loopback only")
    load({"GATEWAY_HOST": host, "GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_loopback_has_several_names(host: str) -> None:
    assert is_loopback(host)
    assert load({"GATEWAY_HOST": host}).is_embedded_default


def test_a_provider_without_a_client_key_is_a_problem_that_tells_why() -> None:
    [problem] = problems(OPENAI_API_KEY="sk-secret")
    assert problem.startswith("GATEWAY_API_KEYS: no client key is configured, though a provider is (OPENAI_API_KEY)")
    assert "sk-secret" not in problem


def test_keys_without_a_provider_are_served_with_a_warning() -> None:
    configuration = load({"GATEWAY_API_KEYS": KEYS})
    assert configuration.providers == ()
    assert configuration.warnings == (
        "no provider is on; set OPENAI_API_KEY, for example, or GATEWAY_PROVIDER_<NAME>_BASE_URL",
    )


def test_every_problem_of_every_room_is_told_at_once() -> None:
    told = problems(
        GATEWAY_PORT="x", GATEWAY_API_KEYS="a=weak", OPENAI_API_KEY="a b", GATEWAY_PROVIDER_X_BASE_URL="nowhere"
    )
    assert [problem.partition(":")[0] for problem in told] == [
        "GATEWAY_API_KEYS",
        "GATEWAY_PORT",
        "OPENAI_API_KEY",
        "GATEWAY_PROVIDER_X_BASE_URL",
    ]


def test_a_bad_setting_alone_tells_nothing_about_keys() -> None:
    assert [problem.partition(":")[0] for problem in problems(GATEWAY_PORT="x")] == ["GATEWAY_PORT"]


@pytest.mark.parametrize("mark", ["'", '"'])
def test_quotation_marks_around_a_value_are_a_warning(mark: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{mark}sk-quoted{mark}\n")
    configuration = load(
        {
            "GATEWAY_API_KEYS": KEYS,
            "OPENAI_API_KEY": f"{mark}sk-quoted{mark}",
            "ANTHROPIC_API_KEY_FILE": str(tmp_path / "key"),
            "GEMINI_API_KEY": f"sk-{mark}plain",
        }
    )
    doubt = (
        "its value has quotation marks around it, which count as part of it; `docker --env-file` does not remove them"
    )
    assert configuration.warnings == (f"OPENAI_API_KEY: {doubt}", f"ANTHROPIC_API_KEY_FILE: {doubt}")


def test_names_of_opentelemetry_and_phoenix_without_effect_are_a_warning() -> None:
    configuration = load(
        {
            "GATEWAY_API_KEYS": KEYS,
            "OPENAI_API_KEY": "k",
            "OTEL_SERVICE_NAME": "edge",
            "OTEL_TRACES_SAMPLER": "always_on",
            "PHOENIX_GRPC_PORT": "4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
    )
    assert configuration.warnings == (
        "OTEL_TRACES_SAMPLER is set and has no effect on this gateway",
        "PHOENIX_GRPC_PORT is set and has no effect on this gateway",
        "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is supported; spans are sent that way",
    )


def test_what_is_probably_an_error_is_a_warning() -> None:
    configuration = load(
        {
            "GATEWAY_API_KEYS": f"{KEYS};providers=openai|opnai",
            "GATEWAY_PROT": "1",
            "OPENAI_API_KEY": "k",
            "GATEWAY_PROVIDER_GROQ_BASE_URL": "http://10.0.0.1/openai/v1/",
            "GATEWAY_RATE_LIMITS": "key team-a: 1 requests/minute; provider opnai: 1 requests/minute",
        }
    )
    assert configuration.warnings == (
        "GATEWAY_PROT is not a setting of this gateway",
        "groq: is on without a key",
        "groq: its base URL ends in a version; clients send that too, and it would be there twice",
        "GATEWAY_RATE_LIMITS: there is no provider opnai",
        "GATEWAY_API_KEYS: team-a may use opnai, which is not a provider that is on",
    )


@pytest.mark.parametrize(
    ("url", "doubtful"),
    [("https://api.groq.com/openai", True), ("https://api.groq.com/openai/", True), ("https://api.groq.com", False)],
)
def test_a_base_url_that_holds_a_part_of_its_clients_paths_is_a_warning(url: str, doubtful: bool) -> None:
    warnings = load(
        {"GATEWAY_API_KEYS": KEYS, "GROQ_API_KEY": "k", "GATEWAY_PROVIDER_GROQ_BASE_URL": url, "OPENAI_API_KEY": "k"}
    ).warnings
    told = "groq: its base URL ends in a part of the path that clients also send, so it would be there twice"
    assert warnings == ((told,) if doubtful else ())


def test_a_reload_takes_what_is_configured_now() -> None:
    current = load({"GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k"})
    fresh = reloaded(current, {"GATEWAY_API_KEYS": f"team-b={new_key()}", "OPENAI_API_KEY": "k"})
    assert [client.id for client in fresh.clients] == ["team-b"]


def test_a_reload_keeps_the_demo_key() -> None:
    current = load({})
    assert reloaded(current, {}) is current


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k"}), ({"GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k"}, {})],
)
def test_a_reload_never_turns_into_the_embedded_default_or_out_of_it(
    before: dict[str, str], after: dict[str, str]
) -> None:
    with pytest.raises(SettingsError, match="embedded default"):
        reloaded(load(before), after)


def test_a_bad_configuration_is_refused_by_a_reload() -> None:
    current = load({"GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "k"})
    with pytest.raises(SettingsError):
        reloaded(current, {"GATEWAY_API_KEYS": "team-a=weak", "OPENAI_API_KEY": "k"})


def test_a_configuration_shows_no_secret_and_reaches_another_process_whole() -> None:
    configuration = load({"GATEWAY_API_KEYS": KEYS, "OPENAI_API_KEY": "sk-secret", "GATEWAY_TICKET_SECRET": "t-secret"})
    demo = load({})
    assert demo.demo_key is not None
    shown = repr(configuration) + repr(demo)
    for secret in (KEY, "sk-secret", "t-secret", demo.demo_key.reveal()):
        assert secret not in shown
    other: Configuration = pickle.loads(pickle.dumps(configuration))
    assert other.clients.find(KEY.encode()) == configuration.clients.named("team-a")
    assert other.providers == configuration.providers

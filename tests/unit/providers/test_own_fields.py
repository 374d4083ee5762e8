"""The fields that an operator gives to requests to one provider."""

from pathlib import Path

import pytest

from gateway.configuration import read as configured
from gateway.providers.catalog import configured_providers
from gateway.providers.own_fields import WRONG_CREDENTIAL, WRONG_FIELDS
from gateway.providers.provider import Provider
from gateway.settings import Reader, Secret, Timeouts
from gateway.summary import resolved

URL = {"GATEWAY_PROVIDER_VOICE_BASE_URL": "http://10.0.0.1", "GATEWAY_PROVIDER_VOICE_API_KEY": "sk-voice-0123"}
CREDENTIAL, FIELDS = "GATEWAY_PROVIDER_VOICE_CREDENTIAL_FIELD", "GATEWAY_PROVIDER_VOICE_FIELDS"


def read(**environ: str) -> tuple[Provider, Reader]:
    reader = Reader({**URL, **environ})
    (provider,) = configured_providers(reader, Timeouts())
    return provider, reader


@pytest.mark.parametrize(
    ("told", "header", "template"),
    [
        ("xi-api-key", "xi-api-key", "{}"),
        ("Ocp-Apim-Subscription-Key", "Ocp-Apim-Subscription-Key", "{}"),
        ("X-Acme-Key", "X-Acme-Key", "{}"),
        ("Authorization: Token {}", "Authorization", "Token {}"),
        ("authorization:Key key={}, v=1", "authorization", "Key key={}, v=1"),
    ],
)
def test_a_providers_key_goes_in_the_field_that_is_set(told: str, header: str, template: str) -> None:
    provider, reader = read(**{CREDENTIAL: told})
    assert reader.problems == []
    assert provider.credential is not None
    assert (provider.credential.header, provider.credential.template) == (header, template)


@pytest.mark.parametrize(
    "told",
    [
        "Authorization: sk-voice-0123",
        "Authorization: {} {}",
        "Authorization: {0}",
        "Authorization:",
        "two words",
        "x-a\u00e4",
        "Host",
        "Cookie",
        "Connection",
        "Proxy-Authorization",
        "X-Forwarded-For",
        "X-Gateway-Key",
        "Content-Type",
        "traceparent",
        "Via",
    ],
)
def test_a_field_that_cannot_hold_a_key_is_refused_and_not_shown(told: str) -> None:
    _, reader = read(**{CREDENTIAL: told})
    assert reader.problems == [f"{CREDENTIAL}: {WRONG_CREDENTIAL}"]
    assert "sk-voice-0123" not in str(reader.values)


def test_geminis_key_goes_in_the_one_field_that_is_set_for_all_its_apis() -> None:
    reader = Reader({"GEMINI_API_KEY": "k", "GATEWAY_PROVIDER_GEMINI_CREDENTIAL_FIELD": "X-Acme-Key"})
    (provider,) = configured_providers(reader, Timeouts())
    assert provider.credential is not None
    assert (provider.credential.header, provider.credential.bearer_below) == ("X-Acme-Key", "")


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        ("X-Team=search", [("X-Team", "search")]),
        (" X-Team = search ;; X-Tier=batch;", [("X-Team", "search"), ("X-Tier", "batch")]),
        ("X-Team=a b=c, d\nX-Tier=batch", [("X-Team", "a b=c, d"), ("X-Tier", "batch")]),
        ("anthropic-beta=a;anthropic-beta=b", [("anthropic-beta", "a"), ("anthropic-beta", "b")]),
    ],
)
def test_further_fields_are_pairs(told: str, fields: list[tuple[str, str]]) -> None:
    provider, reader = read(**{FIELDS: told})
    assert reader.problems == []
    assert provider.fields == tuple((name, Secret(value)) for name, value in fields)


@pytest.mark.parametrize(
    "told",
    [
        "X-Team",
        "X-Team=",
        "=secret",
        "X-Team=caf\u00e9",
        "X-Team=a\x01b",
        "two words=a",
        "Host=example.com",
        "Connection=close",
        "Transfer-Encoding=chunked",
        "Authorization=Bearer secret",
        "X-API-Key=secret",
        "Cookie=a=b",
        "Content-Type=text/plain",
        "Accept-Encoding=br",
        "X-Forwarded-For=1.2.3.4",
        "X-Gateway-Retries=5",
        "traceparent=00",
    ],
)
def test_a_field_that_is_not_the_operators_to_set_is_refused_and_not_shown(told: str) -> None:
    provider, reader = read(**{FIELDS: f"X-Tier=batch;{told}"})
    assert reader.problems == [f"{FIELDS}: {WRONG_FIELDS}"]
    assert provider.fields == ()
    assert "secret" not in str(reader.problems) + str(reader.values)


def test_the_field_with_the_key_is_not_set_twice() -> None:
    _, reader = read(**{CREDENTIAL: "X-Acme-Key", FIELDS: "x-acme-key=other"})
    assert reader.problems == [f"{FIELDS}: {WRONG_FIELDS}"]


def test_a_file_can_hold_them_and_nothing_shows_their_values(tmp_path: Path) -> None:
    file = tmp_path / "fields"
    file.write_text("X-Team=planted-1\nX-Tier=planted-2\n")
    reader = Reader({**URL, f"{FIELDS}_FILE": str(file), "GATEWAY_API_KEYS": f"alice={'0123456789abcdef' * 3}"})
    configuration = configured(reader)
    assert [name for name, _ in configuration.providers[0].fields] == ["X-Team", "X-Tier"]
    shown = resolved(reader, configuration, 0.0)
    assert "X-Team=***; X-Tier=***" in shown
    assert "planted" not in shown + repr(configuration)

"""Which pages may call, as an operator writes it down."""

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.cors import CorsSettings, read_cors


def read(**environ: str) -> CorsSettings:
    reader = Reader({f"GATEWAY_CORS_{name}": value for name, value in environ.items()})
    settings = read_cors(reader)
    reader.finish()
    assert not reader.unknown("GATEWAY_")
    return settings


def test_none_by_default() -> None:
    assert read() == CorsSettings()
    assert read().origins == ()


def test_everything_is_told_by_the_environment() -> None:
    settings = read(
        ORIGINS="https://app.example.com, http://localhost:3000",
        METHODS="get,POST",
        HEADERS="X-API-Key,Content-Type",
        EXPOSE_HEADERS="*",
        CREDENTIALS="true",
        MAX_AGE="60",
    )
    assert settings == CorsSettings(
        origins=("https://app.example.com", "http://localhost:3000"),
        methods=("GET", "POST"),
        headers=("X-API-Key", "Content-Type"),
        expose_headers=("*",),
        credentials=True,
        max_age=60,
    )


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://App.Example.COM", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("http://*.localhost:3000", "http://*.localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("*", "*"),
    ],
)
def test_an_origin_is_taken_as_browsers_write_it(written: str, sent: str) -> None:
    assert read(ORIGINS=written).origins == (sent,)


@pytest.mark.parametrize(
    "origin",
    [
        "example.com",
        "https://example.com/",
        "https://example.com/app",
        "https://",
        "https://*",
        "https://*.",
        "https://a*.example.com",
        "https://*example.com",
        "https://a.*.example.com",
        "https://*.*.example.com",
        "*.example.com",
        "https://user@example.com",
        "https://example.com?x",
        "null",
        "https://exa mple.com",
    ],
)
def test_what_is_no_origin_is_told(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_CORS_ORIGINS: .*is no origin"):
        read(ORIGINS=origin)


def test_a_whole_top_level_domain_is_refused() -> None:
    with pytest.raises(SettingsError, match="allows a whole top-level domain"):
        read(ORIGINS="https://*.com")


def test_everybody_with_credentials_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"GATEWAY_CORS_CREDENTIALS: cannot be true where GATEWAY_CORS_ORIGINS is \*"
    ):
        read(ORIGINS="*", CREDENTIALS="true")


def test_everybody_and_somebody_is_a_contradiction() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_CORS_ORIGINS"):
        read(ORIGINS="*,https://app.example.com")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METHODS", "GET POST"),
        ("HEADERS", "X API Key"),
        ("HEADERS", "*,X-API-Key"),
        ("EXPOSE_HEADERS", "a:b"),
        ("MAX_AGE", "-1"),
        ("MAX_AGE", "86401"),
    ],
)
def test_what_is_no_list_of_names_is_told(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"GATEWAY_CORS_{name}"):
        read(**{name: value})

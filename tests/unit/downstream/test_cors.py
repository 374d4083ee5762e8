"""Which origins are allowed."""

import pytest

from gateway.downstream.cors import Origins
from gateway.settings.cors import CorsSettings

LISTED = Origins(
    CorsSettings(origins=("https://app.example.com", "https://*.example.org", "http://*.example.net:8080"))
)
ALL = Origins(CorsSettings(origins=("*",)))


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "https://a.example.org",
        "https://a.b-c.example.org",
        "https://xn--bcher-kva.example.org",
        "http://a.example.net:8080",
    ],
)
def test_allowed(origin: str) -> None:
    assert LISTED.get(origin) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.com",
        "https://app.example.com:444",
        "https://app.example.com.",
        "https://app.example.com.evil.test",
        "https://evil.test/https://app.example.com",
        "https://sub.app.example.com",
        "https://evilapp.example.com",
        "https://example.org",
        "https://evilexample.org",
        "https://.example.org",
        "https://a..example.org",
        "https://a.example.org.evil.test",
        "https://evil.test#.example.org",
        "https://evil.test/.example.org",
        "https://evil.test:80.example.org",
        "https://user@a.example.org",
        "https://aXexampleXorg",
        "https://a.example.org\n",
        "https://A.example.org",
        "http://a.example.net",
        "http://a.example.net:80801",
        "https://*.example.org",
        "null",
        "*",
        "",
    ],
)
def test_foreign(origin: str) -> None:
    assert LISTED.get(origin) is None


@pytest.mark.parametrize("origin", ["https://anybody.test", "null", "http://127.0.0.1:1"])
def test_all_are_allowed(origin: str) -> None:
    assert ALL.get(origin) is not None


@pytest.mark.parametrize("origin", ["caf\udce9", "a\r\nb", "\x00", "*"])
def test_what_could_not_be_repeated_is_not_an_origin(origin: str) -> None:
    assert ALL.get(origin) is None

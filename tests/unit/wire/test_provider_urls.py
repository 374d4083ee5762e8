"""A provider's own URLs become the gateway's; every other byte stays."""

import pytest
from yarl import URL

from gateway.wire.headers import layout_of
from gateway.wire.provider_urls import ProviderUrls, mapped_values

ORIGIN = b"https://gw.example.com"
PLAIN = ProviderUrls(URL("https://api.example.com"), "/provider/x")
BELOW_A_PATH = ProviderUrls(URL("https://api.example.com/openai/"), "/provider/x")
WITH_A_PORT = ProviderUrls(URL("http://127.0.0.1:8000"), "/provider/x")
IPV6 = ProviderUrls(URL("http://[::1]:8000"), "/provider/x")


@pytest.mark.parametrize(
    ("urls", "url", "mapped"),
    [
        (PLAIN, b"https://api.example.com/v1/x/", b"/provider/x/v1/x/"),
        (PLAIN, b"https://api.example.com/v1/x?a=%2F&b=+&&=#f", b"/provider/x/v1/x?a=%2F&b=+&&=#f"),
        (PLAIN, b"/v1/x/", b"/provider/x/v1/x/"),
        (PLAIN, b"//api.example.com/v1", b"/provider/x/v1"),
        (PLAIN, b"http://api.example.com/v1", b"/provider/x/v1"),
        (PLAIN, b"HTTPS://API.Example.COM:443/V1", b"/provider/x/V1"),
        (PLAIN, b"https://api.example.com", b"/provider/x/"),
        (PLAIN, b"https://api.example.com?a=/b", b"/provider/x/?a=/b"),
        (PLAIN, b"https://api.example.com/caf\xe9", b"/provider/x/caf\xe9"),
        (BELOW_A_PATH, b"https://api.example.com/openai/v1/x", b"/provider/x/v1/x"),
        (BELOW_A_PATH, b"/openai/v1/x?y", b"/provider/x/v1/x?y"),
        (BELOW_A_PATH, b"/openai", b"/provider/x/"),
        (WITH_A_PORT, b"http://127.0.0.1:8000/v1/x/", b"/provider/x/v1/x/"),
        (IPV6, b"http://[::1]:8000/v1", b"/provider/x/v1"),
    ],
)
def test_what_is_below_the_base_url_is_mapped(urls: ProviderUrls, url: bytes, mapped: bytes) -> None:
    assert urls.mapped(url) == mapped
    absolute = not url.startswith(b"/") or url.startswith(b"//")
    assert urls.mapped(url, ORIGIN) == (ORIGIN + mapped if absolute else mapped)


@pytest.mark.parametrize(
    ("urls", "url"),
    [
        (PLAIN, b"https://elsewhere.example.com/v1/x"),
        (PLAIN, b"https://api.example.com.evil.com/v1/x"),
        (PLAIN, b"https://user@api.example.com/v1/x"),
        (PLAIN, b"https://api.example.com:8443/v1/x"),
        (PLAIN, b"ftp://api.example.com/v1/x"),
        (PLAIN, b"//elsewhere/v1"),
        (PLAIN, b"?page=2"),
        (PLAIN, b"next/"),
        (PLAIN, b"../next"),
        (PLAIN, b"#top"),
        (PLAIN, b""),
        (PLAIN, b"urn:x//api.example.com/"),
        (PLAIN, b"https://api.example.com/../provider/other/v1"),
        (PLAIN, b"/v1/%2e%2e/%2e%2e/x"),
        (BELOW_A_PATH, b"https://api.example.com/other/v1"),
        (BELOW_A_PATH, b"/openaix/v1"),
        (BELOW_A_PATH, b"/v1/x"),
        (WITH_A_PORT, b"http://127.0.0.1/v1"),
        (WITH_A_PORT, b"http://127.0.0.1:80/v1"),
    ],
)
def test_anything_else_stays_as_it_came(urls: ProviderUrls, url: bytes) -> None:
    assert urls.mapped(url, ORIGIN) == url


@pytest.mark.parametrize(
    ("name", "value", "mapped"),
    [
        (b"Location", b"https://api.example.com/v1/x", b"/provider/x/v1/x"),
        (b"CONTENT-LOCATION", b"https://api.example.com/v1/x", b"/provider/x/v1/x"),
        (b"Operation-Location", b"https://api.example.com/v1/x", ORIGIN + b"/provider/x/v1/x"),
        (b"Operation-Location", b"/v1/x", b"/provider/x/v1/x"),
        (b"Azure-AsyncOperation", b"https://api.example.com/v1/x", ORIGIN + b"/provider/x/v1/x"),
        (b"X-Goog-Upload-URL", b"https://api.example.com/v1/x?upload_id=1", ORIGIN + b"/provider/x/v1/x?upload_id=1"),
        (b"X-Goog-Upload-Control-URL", b"https://api.example.com/v1/x", ORIGIN + b"/provider/x/v1/x"),
        (b"Refresh", b"0; url=https://api.example.com/v1/x", b"0; url=/provider/x/v1/x"),
        (b"Refresh", b"5,URL = '/v1/x'", b"5,URL = '/provider/x/v1/x'"),
        (b"Refresh", b"5", b"5"),
        (
            b"Link",
            b'<https://api.example.com/v1/x?after=a,b>; rel="next", </v1/y>; rel=prev; title="</v1/z>",<https://e.com/>',
            b'</provider/x/v1/x?after=a,b>; rel="next", </provider/x/v1/y>; rel=prev; title="</v1/z>",<https://e.com/>',
        ),
        (b"Link", b"", b""),
        (b"X-Other", b"https://api.example.com/v1/x", b"https://api.example.com/v1/x"),
    ],
)
def test_each_field_keeps_its_form(name: bytes, value: bytes, mapped: bytes) -> None:
    fields = [(b"Date", b"/v1/date"), (name, value)]
    values = mapped_values([value for _, value in fields], layout_of(fields).urls, PLAIN, ORIGIN)
    assert [*values] == [b"/v1/date", mapped]


def test_a_field_that_is_repeated_is_mapped_each_time() -> None:
    fields = [(b"Link", b"</v1/a>"), (b"Content-Type", b"text/plain"), (b"Link", b"</v1/b>")]
    values = mapped_values([value for _, value in fields], layout_of(fields).urls, PLAIN, ORIGIN)
    assert [*values] == [b"</provider/x/v1/a>", b"text/plain", b"</provider/x/v1/b>"]


def test_a_response_without_such_fields_has_nothing_to_map() -> None:
    assert layout_of([(b"Content-Type", b"application/json"), (b"Content-Length", b"2")]).urls == ()

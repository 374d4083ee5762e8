"""The client's address as proxies in front tell it."""

import time
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from gateway.downstream.client_address import Origin, origin_reader
from gateway.settings import Reader
from gateway.settings.proxies import read_proxies

PROXY = "10.0.0.1"
CLIENT = "192.0.2.60"


def origin(
    *fields: tuple[str, str], peer: str = PROXY, trusted: str = "10.0.0.0/8,2001:db8:1::/48", how: str = ""
) -> Origin:
    reader = Reader({"GATEWAY_TRUSTED_PROXIES": trusted, "GATEWAY_TRUSTED_PROXY_FIELDS": how})
    settings = read_proxies(reader)
    reader.finish()
    return origin_reader(settings)(peer, "gateway:8080", Mock(headers=CIMultiDict(fields)))


def address(*fields: tuple[str, str], peer: str = PROXY, how: str = "") -> str:
    return origin(*fields, peer=peer, how=how).address


EVERYTHING = (
    ("X-Forwarded-For", CLIENT),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "api.example.com"),
    ("Forwarded", f"for={CLIENT};proto=https;host=api.example.com"),
    ("X-Request-ID", "edge-1"),
)


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_nobody_else_is_believed(trusted: str) -> None:
    assert origin(*EVERYTHING, peer="192.0.2.1", trusted=trusted) == Origin("192.0.2.1", "http", "gateway:8080")


def test_a_trusted_proxy_tells_address_scheme_host_and_its_own_id() -> None:
    assert origin(*EVERYTHING) == Origin(CLIENT, "https", "api.example.com", "edge-1")


def test_a_trusted_proxy_that_says_nothing_is_the_client() -> None:
    assert origin() == Origin(PROXY, "http", "gateway:8080")


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (CLIENT, CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:192.0.2.60", CLIENT),
        ("203.0.113.9, 192.0.2.60", CLIENT),
        ("203.0.113.9, 192.0.2.60, 10.9.9.9", CLIENT),
        ("203.0.113.9, 192.0.2.60, 2001:db8:1::2, 10.9.9.9,10.1.1.1", CLIENT),
        ("10.2.2.2, 10.3.3.3", "10.2.2.2"),
        (",192.0.2.60,,", CLIENT),
    ],
)
def test_the_list_is_read_from_its_end_as_far_as_trusted_proxies_reach(told: str, read: str) -> None:
    assert address(("X-Forwarded-For", told)) == read


@pytest.mark.parametrize(
    "told", ["unknown", "_hidden", "nonsense", "1.2.3", "1.2.3.4.5", "[::1", "", "fe80::1%eth0", "-", "1.2.3.4:80:80"]
)
def test_what_is_no_address_ends_the_list(told: str) -> None:
    assert address(("X-Forwarded-For", told)) in (PROXY, "::1")
    assert address(("X-Forwarded-For", f"{CLIENT}, {told or '?'}, 10.9.9.9")) in ("10.9.9.9", "::1")


def test_several_lines_are_one_list() -> None:
    assert address(("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", CLIENT)) == CLIENT
    assert address(("Forwarded", "for=203.0.113.9"), ("Forwarded", f"for={CLIENT}, for=10.1.1.1")) == CLIENT


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={CLIENT};Proto=https;By=10.0.0.1", CLIENT),
        (f'for="{CLIENT}:4711"', CLIENT),
        ('for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ('for="[2001:db8:cafe::17]"', "2001:db8:cafe::17"),
        (f"by=_x; for={CLIENT} ; proto=https", CLIENT),
        (f"for=203.0.113.9, for={CLIENT}, for=10.3.3.3;proto=http", CLIENT),
        ('for="\\1\\9\\2.0.2.60"', CLIENT),
        ("for=unknown", PROXY),
        ("for=_gazonk", PROXY),
        ("proto=https", PROXY),
        ("for", PROXY),
        ("for=", PROXY),
        ("=;,,;=,", PROXY),
    ],
)
def test_the_standard_field_is_read_as_well(told: str, read: str) -> None:
    assert address(("Forwarded", told)) == read


@pytest.mark.parametrize(
    "forged",
    ['for="203.0.113.9', 'for=203.0.113.9;x="', 'for="', 'x="\\', '"', 'for=203.0.113.9;"', "for=203.0.113.9;"],
)
@pytest.mark.parametrize("added", [f"for={CLIENT}", f'for="{CLIENT}:99"', f'for="{CLIENT}";proto=https'])
def test_a_client_cannot_hide_what_the_proxy_adds(forged: str, added: str) -> None:
    assert address(("Forwarded", f"{forged}, {added}")) == CLIENT
    assert address(("Forwarded", forged), ("Forwarded", added)) == CLIENT


def test_a_proxy_that_writes_one_kind_passes_the_other_on_as_a_client_wrote_it() -> None:
    both = (("X-Forwarded-For", CLIENT), ("Forwarded", "for=203.0.113.9"))
    assert address(*both) == CLIENT
    assert address(*both, how="x-forwarded") == CLIENT
    assert address(*both, how="forwarded") == "203.0.113.9"
    assert address(("Forwarded", f"for={CLIENT}"), how="x-forwarded") == PROXY
    assert address(("X-Forwarded-For", CLIENT), how="forwarded") == PROXY


def test_scheme_and_host_are_those_that_the_outermost_trusted_proxy_saw() -> None:
    fields = (("X-Forwarded-For", f"{CLIENT}, 10.1.1.1"),)
    assert origin(*fields, ("X-Forwarded-Proto", "https")).scheme == "https"
    assert origin(*fields, ("X-Forwarded-Proto", "https, http")).scheme == "https"
    assert origin(("X-Forwarded-For", CLIENT), ("X-Forwarded-Proto", "https, http")).scheme == "http"
    assert origin(("X-Forwarded-Proto", "HTTPS")).scheme == "https"
    outer = f"for={CLIENT};proto=https;host=api.example.com"
    chain = f"for=203.0.113.9;host=forged, {outer}, for=10.1.1.1;proto=http;host=inner"
    found = origin(("Forwarded", chain))
    assert (found.address, found.scheme, found.host) == (CLIENT, "https", "api.example.com")


@pytest.mark.parametrize("host", ["a b", "<script>", "", "a/b", "[::1", "x" * 300, "caf\udce9"])
def test_a_host_that_is_none_is_not_taken_over(host: str) -> None:
    assert origin(("X-Forwarded-Host", host)).host == "gateway:8080"


@pytest.mark.parametrize("scheme", ["ftp", "", "javascript", "https:"])
def test_a_scheme_that_is_none_is_not_taken_over(scheme: str) -> None:
    assert origin(("X-Forwarded-Proto", scheme)).scheme == "http"


@pytest.mark.parametrize("told", ["a b", "x" * 129, '"', "", "caf\udce9", "a\tb"])
def test_an_id_that_could_do_harm_in_a_log_is_dropped(told: str) -> None:
    assert origin(("X-Request-ID", told)).request_id is None


def test_a_peer_on_an_ipv6_socket_is_known_by_its_ipv4_address() -> None:
    assert address(("X-Forwarded-For", CLIENT), peer="::ffff:10.0.0.1") == CLIENT


@pytest.mark.parametrize("peer", ["", "local", "/run/socket"])
def test_a_peer_without_an_address_is_trusted_by_nobody(peer: str) -> None:
    assert address(("X-Forwarded-For", CLIENT), peer=peer) == peer


@pytest.mark.parametrize(
    "field",
    [
        ("Forwarded", "a" * 16_000),
        ("Forwarded", "for=" + " " * 16_000),
        ("Forwarded", 'for="' + "\\a" * 8_000),
        ("Forwarded", '"' * 16_000),
        ("Forwarded", "for=1.1.1.1;" * 1_300),
        ("X-Forwarded-For", "10.0.0.2," * 1_700),
        ("X-Forwarded-For", "9" * 16_000),
    ],
)
def test_a_field_as_large_as_there_can_be_takes_no_time(field: tuple[str, str]) -> None:
    reader = Reader({"GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8"})
    read = origin_reader(read_proxies(reader))
    began = time.monotonic()
    read(PROXY, "gateway:8080", Mock(headers=CIMultiDict([field])))
    assert time.monotonic() - began < 0.2

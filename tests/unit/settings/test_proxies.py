"""Which proxies are believed."""

from ipaddress import ip_network

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.proxies import ProxySettings, read_proxies


def read(**environ: str) -> ProxySettings:
    reader = Reader(environ)
    settings = read_proxies(reader)
    reader.finish()
    assert not reader.unknown("GATEWAY_")
    return settings


def test_nobody_by_default() -> None:
    assert read() == ProxySettings()


def test_addresses_and_networks_of_both_kinds() -> None:
    settings = read(
        GATEWAY_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8,::1 ,2001:db8::/32", GATEWAY_TRUSTED_PROXY_FIELDS="forwarded"
    )
    assert settings.trusted == tuple(map(ip_network, ("127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32")))
    assert settings.fields == "forwarded"


@pytest.mark.parametrize("entry", ["nginx", "10.0.0.1/8", "10.0.0", "*", "300.1.1.1", "10.0.0.0/33", "10.0.0.1:80"])
def test_what_is_neither_is_told(entry: str) -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_TRUSTED_PROXIES: .*neither an address nor a network"):
        read(GATEWAY_TRUSTED_PROXIES=f"127.0.0.1,{entry}")


def test_fields_are_one_of_three() -> None:
    with pytest.raises(
        SettingsError, match="GATEWAY_TRUSTED_PROXY_FIELDS: must be one of auto, x-forwarded, forwarded"
    ):
        read(GATEWAY_TRUSTED_PROXY_FIELDS="x-real-ip")

"""Which proxies in front of the gateway are believed about the client, and in which fields they tell it."""

import ipaddress
from dataclasses import dataclass

from gateway.settings.reader import Reader

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NAME = "GATEWAY_TRUSTED_PROXIES"
ABOUT = (
    "Addresses and networks (10.0.0.0/8) of proxies in front, separated by commas: what these say about the client's "
    "address, scheme and host is believed, and nobody else"
)
ABOUT_FIELDS = (
    "Where trusted proxies tell it: x-forwarded (X-Forwarded-For, -Proto, -Host), forwarded (RFC 7239), or auto: "
    "x-forwarded where a request has X-Forwarded-For, else forwarded"
)
AUTO, FORWARDED, X_FORWARDED = "auto", "forwarded", "x-forwarded"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`fields` is auto, forwarded or x-forwarded."""

    trusted: tuple[Network, ...] = ()
    fields: str = AUTO


def read_proxies(reader: Reader) -> ProxySettings:
    """The section; an entry that is neither an address nor a network is a problem."""
    reader.chapter("Proxies in front")
    trusted = []
    for entry in reader.names(NAME, (), ABOUT):
        network = _network(entry)
        if network is None:
            reader.problem(NAME, f"`{entry}` is neither an address nor a network such as 10.0.0.0/8")
        else:
            trusted.append(network)
    fields = reader.choice("GATEWAY_TRUSTED_PROXY_FIELDS", AUTO, (AUTO, X_FORWARDED, FORWARDED), ABOUT_FIELDS)
    return ProxySettings(tuple(trusted), fields)


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None

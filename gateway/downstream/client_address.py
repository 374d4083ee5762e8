"""Who the client is where proxies stand in front: what a trusted proxy says of it, and nobody else.

Rule 1: a field is read only if the connection comes from a trusted proxy. Each proxy adds what it saw at the end, so a
list is read from there, and only as far as trusted proxies reach: what stands before that was written by anyone.
Rule 2: what cannot be read ends the list. The client's address is then the last one that was told by somebody trusted.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, Protocol

from msgspec import Struct
from multidict import MultiMapping

from gateway.settings.proxies import AUTO, FORWARDED, ProxySettings

MOST_HOPS = 32
LONGEST_ELEMENT = 512  # characters of what one proxy says in a Forwarded field
LONGEST_ID = 128
SCHEMES = ("http", "https")


class Origin(Struct, frozen=True, gc=False):
    """Where a request comes from, and what it asked for there. `request_id` is what a trusted proxy calls it."""

    address: str
    scheme: str
    host: str
    request_id: str | None = None


class Hop(NamedTuple):
    """What one proxy says of whoever connected to it; "" for what it does not say, or says in a way nobody can read."""

    address: str
    scheme: str = ""
    host: str = ""


class Told(Protocol):
    """A request that tells its fields."""

    @property
    def headers(self) -> MultiMapping[str]: ...


Trusts = Callable[[str], bool]
"""Whether an address is a trusted proxy's."""
ReadOrigin = Callable[[str, str, Told], Origin]


def origin_reader(settings: ProxySettings) -> ReadOrigin:
    """What reads a request's origin off the sending address, its Host and, where they are believed, its fields."""
    if not settings.trusted:
        return _as_connected
    return _Believing(settings).origin


def trusts_none(address: str) -> bool:
    return False


def trusted_proxies(settings: ProxySettings) -> Trusts:
    """A predicate for the addresses of trusted proxies."""
    return _Believing(settings).trusts if settings.trusted else trusts_none


def _as_connected(peer: str, host: str, told: Told) -> Origin:
    return Origin(peer, "http", host)


class _Believing:
    """Reads what trusted proxies say."""

    def __init__(self, settings: ProxySettings) -> None:
        self._networks = settings.trusted
        self._fields = settings.fields
        self.trusts = lru_cache(4096)(self._is_trusted)

    def origin(self, peer: str, own_host: str, told: Told) -> Origin:
        if not self.trusts(peer):
            return _as_connected(peer, own_host, told)
        farthest, fields = Hop(peer), told.headers
        scheme, host = "", ""
        for hop in islice(self._hops(fields), MOST_HOPS):
            # Each hop was told by a trusted proxy; the outermost word on scheme and host counts.
            scheme, host = hop.scheme or scheme, hop.host or host
            if not hop.address:
                break
            farthest = hop
            if not self.trusts(hop.address):
                break
        return Origin(farthest.address, scheme or "http", host or own_host, _request_id(fields))

    def _hops(self, fields: MultiMapping[str]) -> Iterator[Hop]:
        forwarded_for = _members(fields, "x-forwarded-for")
        standard = self._fields == FORWARDED or (self._fields == AUTO and not forwarded_for and "forwarded" in fields)
        if standard:
            return map(_forwarded, reversed(_members(fields, "forwarded")))
        return _x_forwarded(forwarded_for, fields)

    def _is_trusted(self, address: str) -> bool:
        try:
            known = _unmapped(ipaddress.ip_address(address))
        except ValueError:
            return False
        return any(known in network for network in self._networks)


def _x_forwarded(forwarded_for: Sequence[str], fields: MultiMapping[str]) -> Iterator[Hop]:
    """The hops, nearest first. A proxy that sets scheme or host anew leaves one value, which holds for all hops."""
    schemes, hosts = _members(fields, "x-forwarded-proto"), _members(fields, "x-forwarded-host")
    for number in range(max(len(forwarded_for), 1 if schemes or hosts else 0)):
        address = _address(forwarded_for[-1 - number]) if number < len(forwarded_for) else ""
        scheme = schemes[-1 - number] if number < len(schemes) else ""
        host = hosts[-1 - number] if number < len(hosts) else ""
        yield Hop(address, _scheme(scheme), _host(host))


def _forwarded(element: str) -> Hop:
    """One element of a Forwarded field, `for=192.0.2.60;proto=http;by=203.0.113.43` (RFC 7239, section 4)."""
    if len(element) > LONGEST_ELEMENT:
        return Hop("")
    told = {name.lower(): value for name, value in _pairs(element)}
    return Hop(_address(told.get("for", "")), _scheme(told.get("proto", "")), _host(told.get("host", "")))


def _pairs(element: str) -> Iterator[tuple[str, str]]:
    for found in _PAIRS.finditer(element):
        name, quoted, token = found.groups()
        yield name, token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


_PAIRS = re.compile(r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(?:;|$)""")
_MEMBERS = re.compile(r"""(?:[^,"]|"(?:[^"\\]|\\.)*"?)+""")


def _members(fields: MultiMapping[str], name: str) -> list[str]:
    """The members of a list field, however many lines it came in. A comma between quotes parts nothing."""
    if name not in fields:
        return []
    joined = ",".join(fields.getall(name))
    found = _MEMBERS.findall(joined) if '"' in joined else joined.split(",")
    return [member.strip() for member in found if member.strip()]


def _address(node: str) -> str:
    """The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; "" if there is none in it.

    `unknown` and `_hidden` (RFC 7239, section 6.3) are none.
    """
    if node.startswith("["):
        node = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        node = node.partition(":")[0]
    if "%" in node:  # a zone means something on the machine that wrote it, and may hold anything
        return ""
    try:
        return str(_unmapped(ipaddress.ip_address(node)))
    except ValueError:
        return ""


def _unmapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An IPv4 address that an IPv6 socket wrote as `::ffff:192.0.2.1`, as itself."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _scheme(told: str) -> str:
    told = told.lower()
    return told if told in SCHEMES else ""


def _host(told: str) -> str:
    return told if _is_host(told) else ""


_is_host = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?").fullmatch


def _request_id(fields: MultiMapping[str]) -> str | None:
    told = fields.get("x-request-id", "")
    return told if len(told) <= LONGEST_ID and _is_id(told) else None


_is_id = re.compile(r"[A-Za-z0-9._:/=+-]+").fullmatch

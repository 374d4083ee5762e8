"""Listening sockets, bound before anybody serves on them.

All workers accept from the same socket. Had each one of its own (SO_REUSEPORT), a connection would be given to a worker
before anyone accepted it, and be reset or left waiting when that worker ends; from a common queue the others take it,
and whoever is free takes the next. The price is that long-lived connections are not spread quite evenly.
"""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from typing import Any

from gateway.settings import Settings
from gateway.wire.tcp import keep_alive

BACKLOG = 4096
CLIENTS, METRICS = "GATEWAY_HOST, GATEWAY_PORT", "GATEWAY_METRICS_HOST, GATEWAY_METRICS_PORT"

Address = tuple[Any, ...]


class CannotServe(Exception):
    """The gateway cannot serve at all; the text says why."""


class PortTaken(CannotServe):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """Those that clients come to, and those of the metrics' own listener where there is one."""

    clients: Sequence[socket.socket]
    metrics: Sequence[socket.socket] = field(default=())

    def __iter__(self) -> Iterator[socket.socket]:
        yield from (*self.clients, *self.metrics)

    @property
    def address(self) -> str:
        """The base URL that clients use."""
        return address_of(self.clients)


def listening(settings: Settings, inherited: Sequence[socket.socket] = ()) -> Sockets:
    """All that `settings` ask for, from `inherited` as far as it has them; the others of that are let go.

    Raises PortTaken.
    """
    server, metrics = settings.server, settings.metrics
    taken: list[socket.socket] = []
    try:
        clients = serving_at(server.host, server.port, inherited) or bound(server.host, server.port, CLIENTS)
        taken += clients
        scrapers = []
        if metrics.on_own_listener:
            scrapers = serving_at(metrics.host, metrics.port, inherited) or bound(metrics.host, metrics.port, METRICS)
            taken += scrapers
    except PortTaken:
        close(taken)
        raise
    finally:
        close(each for each in inherited if each not in taken)
    for each in taken:
        keep_alive(each, settings.tcp_keepalive)
    return Sockets(clients, scrapers)


def bound(host: str, port: int, settings: str) -> list[socket.socket]:
    """A listening socket for each address of `host`. Raises PortTaken, naming `settings` to look at.

    Port 0 takes a free one, the same for every address.
    """
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            number = address[1] or (sockets[0].getsockname()[1] if sockets else 0)
            listening = _listening(family, (address[0], number, *address[2:]))
            sockets += [listening] if listening else []
        if not sockets:
            raise OSError(EADDRNOTAVAIL, os.strerror(EADDRNOTAVAIL))
    except OSError as error:
        close(sockets)
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror or error} (see {settings})") from error
    return sockets


def close(sockets: Iterable[socket.socket]) -> None:
    """Let go of them; who else has one of them listens on."""
    for each in sockets:
        each.close()


def address_of(sockets: Sequence[socket.socket]) -> str:
    """The base URL that is served on the first of them."""
    host, port = sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serving_at(host: str, port: int, sockets: Iterable[socket.socket]) -> list[socket.socket]:
    """Those of `sockets` that listen where `bound(host, port)` would."""
    try:
        wanted = {address[:2] for _, address in _addresses(host, port)}
    except OSError:
        return []
    return [each for each in sockets if each.getsockname()[:2] in wanted]


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listening(family: socket.AddressFamily, address: Address) -> socket.socket | None:
    """None where the machine does not speak that family, though its names do."""
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno == EAFNOSUPPORT:
            return None
        raise
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        if family == socket.AF_INET6 and error.errno == EADDRNOTAVAIL:
            return None
        raise
    return made

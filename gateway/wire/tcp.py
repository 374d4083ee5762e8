"""TCP keep-alive: a NAT keeps a silent connection, and a peer that is gone is noticed (RFC 9293, section 3.8.4)."""

import socket
from collections.abc import Callable
from typing import Any

from gateway.settings import TcpKeepalive

_IDLE: int | None = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # the latter on macOS
_INTERVAL: int | None = getattr(socket, "TCP_KEEPINTVL", None)
_PROBES: int | None = getattr(socket, "TCP_KEEPCNT", None)


def keep_alive(sock: socket.socket, keepalive: TcpKeepalive) -> None:
    """Send probes on `sock`, or on what it accepts if it listens; as far as the platform lets it be set."""
    if not keepalive.idle:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((_IDLE, keepalive.idle), (_INTERVAL, keepalive.interval), (_PROBES, keepalive.probes)):
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def socket_factory(keepalive: TcpKeepalive) -> Callable[[Any], socket.socket]:
    """A factory for a connector's sockets, each for one entry of `getaddrinfo`."""

    def made(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        sock = socket.socket(family, kind, protocol)
        keep_alive(sock, keepalive)
        return sock

    return made

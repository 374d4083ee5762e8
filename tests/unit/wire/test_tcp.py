"""TCP keep-alive on a socket, on platforms that know all of its options and on others."""

import socket
from collections.abc import Iterator

import pytest

from gateway.settings import TcpKeepalive
from gateway.wire import tcp
from gateway.wire.tcp import keep_alive, socket_factory

SET = TcpKeepalive(idle=41, interval=7, probes=3)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def option(sock: socket.socket, name: int) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, name)


def test_what_a_listening_socket_accepts_has_its_options(sock: socket.socket) -> None:
    keep_alive(sock, SET)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    with socket.create_connection(sock.getsockname()), sock.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [option(accepted, name) for name in names] == [41, 7, 3]


@pytest.mark.parametrize("lacking", ["_IDLE", "_INTERVAL", "_PROBES"])
def test_what_the_platform_does_not_know_is_left_out(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    names = {"_IDLE": socket.TCP_KEEPIDLE, "_INTERVAL": socket.TCP_KEEPINTVL, "_PROBES": socket.TCP_KEEPCNT}
    before = option(sock, names[lacking])
    monkeypatch.setattr(tcp, lacking, None)
    keep_alive(sock, SET)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert option(sock, names[lacking]) == before


def test_an_idle_time_of_0_changes_nothing(sock: socket.socket) -> None:
    keep_alive(sock, TcpKeepalive(idle=0))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_a_factory_makes_sockets_of_the_family_that_is_wanted() -> None:
    address = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 80, 0, 0))
    with socket_factory(SET)(address) as made:
        assert (made.family, made.type) == (socket.AF_INET6, socket.SOCK_STREAM)
        assert option(made, socket.TCP_KEEPIDLE) == 41

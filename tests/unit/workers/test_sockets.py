"""Sockets that listen before anybody serves on them."""

import socket
from collections.abc import Iterator

import pytest

from gateway.settings import Server, Settings
from gateway.settings.metrics import MetricsSettings
from gateway.workers.sockets import PortTaken, address_of, bound, close, listening, serving_at


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    close(made)


def settings(port: int, metrics_port: int | None = None) -> Settings:
    metrics = MetricsSettings() if metrics_port is None else MetricsSettings("listener", port=metrics_port)
    return Settings(Server(port=port), metrics=metrics)


def test_port_0_takes_one_port_for_every_address(sockets: list[socket.socket]) -> None:
    sockets += bound("localhost", 0, "")
    assert len({each.getsockname()[1] for each in sockets}) == 1
    for each in sockets:
        socket.create_connection(each.getsockname()[:2]).close()


def test_an_address_is_written_as_a_url(sockets: list[socket.socket]) -> None:
    sockets += bound("127.0.0.1", 0, "")
    assert address_of(sockets) == f"http://127.0.0.1:{sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.1", "no-such-host.invalid"])
def test_who_cannot_listen_is_told_where_and_what_to_look_at(sockets: list[socket.socket], host: str) -> None:
    sockets += bound("127.0.0.1", 0, "")
    port = sockets[0].getsockname()[1]
    with pytest.raises(PortTaken, match=rf"^cannot listen on {host}:{port}: .* \(see GATEWAY_PORT\)$"):
        bound(host, port, "GATEWAY_PORT")


def test_what_is_inherited_is_listened_on_and_the_rest_let_go(sockets: list[socket.socket]) -> None:
    clients, metrics, other = (bound("127.0.0.1", 0, "") for _ in range(3))
    sockets += [*clients, *metrics, *other]
    port, metrics_port = clients[0].getsockname()[1], metrics[0].getsockname()[1]
    taken = listening(settings(port, metrics_port), sockets)
    assert (taken.clients, taken.metrics) == (clients, metrics)
    assert list(taken) == [*clients, *metrics]
    assert other[0].fileno() == -1
    assert serving_at("127.0.0.1", metrics_port, taken) == metrics


def test_what_is_not_inherited_is_bound(sockets: list[socket.socket]) -> None:
    sockets += bound("127.0.0.1", 0, "")
    sockets += (taken := listening(settings(0), sockets))
    assert taken.address.startswith("http://127.0.0.1:")
    assert sockets[0].fileno() == -1


def test_nothing_stays_bound_where_something_cannot_be(sockets: list[socket.socket]) -> None:
    sockets += bound("127.0.0.1", 0, "")
    free = bound("127.0.0.1", 0, "")
    port = free[0].getsockname()[1]
    close(free)
    with pytest.raises(PortTaken, match="GATEWAY_METRICS_PORT"):
        listening(settings(port, sockets[0].getsockname()[1]))
    sockets += bound("127.0.0.1", port, "")

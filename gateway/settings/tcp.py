"""TCP keep-alive, towards clients and towards providers."""

from dataclasses import dataclass

from gateway.settings.reader import Reader

ABOUT_IDLE = (
    "Seconds of silence after which TCP keep-alive probes begin, towards clients and providers, so that no NAT or "
    "firewall drops a waiting call; 0: the system's own setting, often 2 hours"
)


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Whole seconds; 0 `idle` leaves it to the system. After `probes` without an answer the connection ends."""

    idle: int = 60
    interval: int = 15
    probes: int = 4


DEFAULT_KEEPALIVE = TcpKeepalive()


def read_tcp_keepalive(reader: Reader) -> TcpKeepalive:
    """The section."""
    reader.chapter("TCP keep-alive")
    defaults = DEFAULT_KEEPALIVE
    most = 32_767  # Linux takes no more
    return TcpKeepalive(
        idle=reader.integer("GATEWAY_TCP_KEEPALIVE_IDLE", defaults.idle, ABOUT_IDLE, most=most),
        interval=reader.integer(
            "GATEWAY_TCP_KEEPALIVE_INTERVAL", defaults.interval, "Seconds between two probes", least=1, most=most
        ),
        probes=reader.integer(
            "GATEWAY_TCP_KEEPALIVE_PROBES",
            defaults.probes,
            "Unanswered probes after which a connection is closed",
            least=1,
            most=127,
        ),
    )

"""Every setting, typed, read once from a mapping. Nothing else in the gateway looks at the environment.

A section is a frozen dataclass beside the function that reads it. Providers, clients and projects are read by their
own rooms, from the same `Reader`.
"""

import re
from dataclasses import dataclass, field, replace

from gateway.settings.cors import CorsSettings, read_cors
from gateway.settings.limits import RateSettings, read_rates
from gateway.settings.metrics import MetricsSettings, read_metrics
from gateway.settings.prices import Prices, read_prices
from gateway.settings.projects import read_key_providers
from gateway.settings.proxies import ProxySettings, read_proxies
from gateway.settings.reader import Reader, Secret, SettingsError, Variable
from gateway.settings.redis import RedisSettings, read_redis
from gateway.settings.tcp import TcpKeepalive, read_tcp_keepalive
from gateway.settings.tracing import TracingSettings, read_tracing
from gateway.settings.upstream import Policy, UpstreamSettings, read_upstream

__all__ = [
    "Limits",
    "Log",
    "Reader",
    "Secret",
    "Server",
    "Settings",
    "SettingsError",
    "TcpKeepalive",
    "Tickets",
    "Timeouts",
    "Variable",
]

MIB = 1 << 20
ABOUT_BUFFERED = (
    "Memory for JSON bodies larger than 1 MiB, in bytes, per worker; requests beyond it are answered 503; not set: "
    "512 MiB, or GATEWAY_MAX_BODY_BYTES if that is more"
)
POOL_IDLE = 4.0  # seconds; uvicorn, which vLLM and many others run on, and Node close after 5
_VIA_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # a token (RFC 9110, section 5.6.2)


@dataclass(frozen=True, slots=True)
class Server:
    """Where the gateway listens and how it stops. Seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    handover: str = ""
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
    build: str = ""
    timing: bool = False
    via_name: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may send. Bytes and seconds."""

    max_body_bytes: int = 100 * MIB
    max_upload_bytes: int = 1024 * MIB
    max_buffered_bytes: int = 512 * MIB
    max_header_bytes: int = 65_536
    max_field_bytes: int = 16_384
    max_target_bytes: int = 8192
    max_fields: int = 128
    max_connections: int = 20_000
    max_concurrent: int = 10_000
    head_timeout: float = 15.0
    body_timeout: float = 30.0
    min_body_rate: int = 500
    send_timeout: float = 300.0
    keepalive_timeout: float = 75.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Waiting for a provider. Seconds; a healthy stream has no total."""

    connect: float = 5.0
    first_byte: float = 600.0
    idle: float = 300.0
    pool_idle: float = POOL_IDLE


@dataclass(frozen=True, slots=True)
class Log:
    """`format` is json, text, or auto: text on a terminal. `file` "" is standard output.

    `provider_messages` shows the messages of errors that providers answer, in spans too; `without_key_rate` is the
    number of lines a second for requests without an accepted key.
    """

    level: str = "info"
    format: str = "auto"
    file: str = ""
    without_key_rate: int = 100
    provider_messages: bool = False


@dataclass(frozen=True, slots=True)
class Tickets:
    """Single-use tickets for browsers. Without a secret of its own each start mints one."""

    secret: Secret | None = None
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    server: Server = field(default_factory=Server)
    limits: Limits = field(default_factory=Limits)
    rates: RateSettings = field(default_factory=RateSettings)
    prices: Prices = field(default_factory=Prices)
    redis: RedisSettings = field(default_factory=RedisSettings)
    timeouts: Timeouts = field(default_factory=Timeouts)
    log: Log = field(default_factory=Log)
    tickets: Tickets = field(default_factory=Tickets)
    cors: CorsSettings = field(default_factory=CorsSettings)
    proxies: ProxySettings = field(default_factory=ProxySettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    tcp_keepalive: TcpKeepalive = field(default_factory=TcpKeepalive)
    pool_size: int = 1000
    project_key_providers: bool = False

    @classmethod
    def read(cls, reader: Reader) -> "Settings":
        """All sections; problems stay with the reader."""
        return cls(
            server=_server(reader),
            limits=_limits(reader),
            rates=read_rates(reader),
            prices=read_prices(reader),
            redis=read_redis(reader),
            timeouts=_timeouts(reader),
            log=_log(reader),
            tickets=_tickets(reader),
            cors=read_cors(reader),
            proxies=read_proxies(reader),
            metrics=read_metrics(reader),
            tracing=read_tracing(reader),
            upstream=read_upstream(reader),
            tcp_keepalive=read_tcp_keepalive(reader),
            pool_size=_pool_size(reader),
            project_key_providers=read_key_providers(reader),
        )

    @property
    def policy(self) -> Policy:
        """How a provider is called that has no settings of its own: no call waits for a connection."""
        return replace(self.upstream.policy, max_concurrent=self.pool_size)


def _server(reader: Reader) -> Server:
    reader.chapter("Serving")
    return Server(
        host=reader.text("GATEWAY_HOST", "127.0.0.1", "Address to listen on"),
        port=reader.integer("GATEWAY_PORT", 8080, "Port to listen on; 0 takes a free one", most=65535),
        workers=reader.integer("GATEWAY_WORKERS", 1, "Processes that serve, sharing the port", least=1, most=256),
        handover=reader.writable_file(
            "GATEWAY_HANDOVER",
            "Unix socket at which a gateway that starts gets the listening sockets of the one that runs, to take its "
            "place without losing a connection; not set: none",
        ),
        drain_delay=reader.seconds(
            "GATEWAY_DRAIN_DELAY", 0, "Seconds between /readyz answering 503 and the listener closing", zero=True
        ),
        drain_timeout=reader.seconds("GATEWAY_DRAIN_TIMEOUT", 30, "Seconds that running exchanges get to finish"),
        timing=reader.flag("GATEWAY_SERVER_TIMING", False, "Tell clients in Server-Timing where the time went"),
        build=reader.text("GATEWAY_BUILD", "", "Commit or build number, shown by /health"),
        via_name=_via_name(reader),
    )


def _via_name(reader: Reader) -> str:
    about = (
        "Name of this deployment in the Via field, to detect loops: the same for all replicas, a different one for "
        "each gateway in a chain; not set: a random one at each start"
    )
    name = reader.text("GATEWAY_VIA_NAME", "", about)
    if not name or _VIA_NAME.fullmatch(name):
        return name
    reader.problem("GATEWAY_VIA_NAME", "must be 1 to 64 of A-Z a-z 0-9 and !#$%&'*+.^_`|~-")
    return ""


def _limits(reader: Reader) -> Limits:
    reader.chapter("Limits")
    defaults = Limits()
    body = reader.optional_integer(
        "GATEWAY_MAX_BODY_BYTES",
        "Largest request body; not set: 100 MiB for JSON, GATEWAY_MAX_UPLOAD_BYTES for others",
        least=1,
    )
    upload = reader.optional_integer(
        "GATEWAY_MAX_UPLOAD_BYTES",
        "Largest streamed (not JSON) body; not set: GATEWAY_MAX_BODY_BYTES, or 1 GiB",
        least=1,
    )
    most_of_one = body or defaults.max_body_bytes
    buffered = reader.optional_integer("GATEWAY_MAX_BUFFERED_BYTES", ABOUT_BUFFERED, least=1)
    if buffered is not None and buffered < most_of_one:
        reader.problem("GATEWAY_MAX_BUFFERED_BYTES", f"must have room for one body of {most_of_one} bytes at least")
    return Limits(
        max_body_bytes=most_of_one,
        max_upload_bytes=upload or body or defaults.max_upload_bytes,
        max_buffered_bytes=buffered or max(defaults.max_buffered_bytes, most_of_one),
        max_header_bytes=reader.integer("GATEWAY_MAX_HEADER_BYTES", 65_536, "Largest request head", least=1024),
        max_field_bytes=reader.integer(
            "GATEWAY_MAX_FIELD_BYTES", 16_384, "Largest single field of a request's head", least=256
        ),
        max_target_bytes=reader.integer("GATEWAY_MAX_TARGET_BYTES", 8192, "Longest request target", least=256),
        max_fields=reader.integer("GATEWAY_MAX_FIELDS", 128, "Most fields of a request's head", least=8),
        max_connections=reader.integer(
            "GATEWAY_MAX_CONNECTIONS", 20_000, "Open client connections per worker; more are answered 503", least=1
        ),
        max_concurrent=reader.integer(
            "GATEWAY_MAX_CONCURRENT", 10_000, "Requests served at once, per worker; more are answered 503", least=1
        ),
        head_timeout=reader.seconds("GATEWAY_HEAD_TIMEOUT", 15, "Seconds a request's head may take to arrive"),
        body_timeout=reader.seconds("GATEWAY_BODY_TIMEOUT", 30, "Seconds without a byte of a request's body"),
        min_body_rate=reader.integer(
            "GATEWAY_MIN_BODY_RATE", 500, "Bytes a second below which a request's body is too slow", least=1
        ),
        send_timeout=reader.seconds(
            "GATEWAY_SEND_TIMEOUT", 300, "Seconds a client may take nothing of a response that is there for it"
        ),
        keepalive_timeout=reader.seconds(
            "GATEWAY_KEEPALIVE_TIMEOUT", 75, "Seconds an idle client connection stays open"
        ),
    )


def _timeouts(reader: Reader) -> Timeouts:
    reader.chapter("Waiting for providers")
    about = (
        "Seconds a connection to a provider may be idle and still be used again; fewer than the provider keeps it "
        "open. A shorter timeout in its Keep-Alive field wins"
    )
    return Timeouts(
        connect=reader.seconds("GATEWAY_CONNECT_TIMEOUT", 5, "Seconds to connect to a provider"),
        first_byte=reader.seconds(
            "GATEWAY_FIRST_BYTE_TIMEOUT", 600, "Seconds from a request to the first byte of its answer's body"
        ),
        idle=reader.seconds(
            "GATEWAY_IDLE_TIMEOUT", 300, "Seconds a provider may fall silent inside the body of an answer"
        ),
        pool_idle=reader.seconds("GATEWAY_POOL_IDLE_SECONDS", POOL_IDLE, about),
    )


def _log(reader: Reader) -> Log:
    reader.chapter("Log")
    return Log(
        level=reader.choice(
            "GATEWAY_LOG_LEVEL", "info", ("debug", "info", "warning", "error"), "Least level that is logged"
        ),
        format=reader.choice(
            "GATEWAY_LOG_FORMAT", "auto", ("auto", "json", "text"), "auto: text on a terminal, else JSON"
        ),
        file=reader.writable_file("GATEWAY_LOG_FILE", "File to log to, reopened on SIGHUP; not set: standard output"),
        without_key_rate=reader.integer(
            "GATEWAY_LOG_WITHOUT_KEY_RATE",
            100,
            "Log lines a second, per worker, for requests without an accepted key; further ones are only counted",
            least=1,
        ),
        provider_messages=reader.flag(
            "GATEWAY_PROVIDER_ERROR_MESSAGES",
            False,
            "Show the messages of errors that providers answer, in log and spans; they may quote what was sent",
        ),
    )


def _tickets(reader: Reader) -> Tickets:
    reader.chapter("Browser tickets")
    return Tickets(
        secret=reader.secret("GATEWAY_TICKET_SECRET", "Signs browser tickets; not set: a new one at each start"),
        seconds=reader.seconds("GATEWAY_TICKET_SECONDS", 30, "Seconds a browser ticket is valid"),
    )


def _pool_size(reader: Reader) -> int:
    reader.chapter("Limits")
    about = "Connections to one provider, per worker"
    return reader.integer("GATEWAY_POOL_SIZE", 1000, about, least=1)

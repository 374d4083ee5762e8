"""Who may read `/metrics`, and where."""

from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from gateway.settings.reader import Reader, Secret

OPEN, BEARER, LISTENER = "open", "bearer", "listener"
SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`access` is open (on the gateway's port), bearer (the same, with `token`), or listener.

    With listener the gateway's port does not serve `/metrics`; `host` and `port` do, with `token` if there is one.
    """

    access: str = OPEN
    token: Secret | None = None
    host: str = "127.0.0.1"
    port: int = 9464
    max_series: int = 500

    @property
    def on_own_listener(self) -> bool:
        return self.access == LISTENER

    def admits(self, authorization: str | None) -> bool:
        """Whether a request with this `Authorization` field may read; in constant time."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").strip().partition(" ")
        return compare_digest(_digest(given.strip()), _digest(self.token.reveal())) and scheme.lower() == "bearer"


def read_metrics(reader: Reader) -> MetricsSettings:
    """The section; contradictions between its variables are problems."""
    reader.chapter("Metrics")
    defaults = MetricsSettings()
    access = reader.choice(
        "GATEWAY_METRICS_ACCESS",
        OPEN,
        (OPEN, BEARER, LISTENER),
        "Who may read /metrics: open to all, a bearer token, or a listener of its own",
    )
    token = reader.secret("GATEWAY_METRICS_TOKEN", "Bearer token for /metrics, with access bearer or listener")
    if token is None and access == BEARER:
        reader.problem("GATEWAY_METRICS_TOKEN", "must be set where GATEWAY_METRICS_ACCESS is bearer")
    if token is not None and access == OPEN:
        reader.problem("GATEWAY_METRICS_ACCESS", "must be bearer or listener where GATEWAY_METRICS_TOKEN is set")
    if token is not None and len(token.reveal()) < SHORTEST_TOKEN:
        reader.problem("GATEWAY_METRICS_TOKEN", f"must have at least {SHORTEST_TOKEN} characters")
    return MetricsSettings(
        access=access,
        token=token,
        host=reader.text("GATEWAY_METRICS_HOST", defaults.host, "Address of the metrics' own listener"),
        port=reader.integer(
            "GATEWAY_METRICS_PORT", defaults.port, "Port of the metrics' own listener", least=1, most=65_535
        ),
        max_series=reader.integer(
            "GATEWAY_METRICS_MAX_SERIES",
            defaults.max_series,
            "Label sets a metric may have; further ones are counted together",
            least=10,
            most=10_000,
        ),
    )


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()

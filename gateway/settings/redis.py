"""A Redis that several gateways share: for rate limits and browser tickets."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from gateway.settings.reader import Reader, Secret

NAME = "GATEWAY_REDIS_URL"
ABOUT = (
    "Redis that keeps limits and browser tickets for all workers and replicas: redis://, rediss:// (TLS) or unix://, "
    "with user and password inside; not set: each gateway keeps its own"
)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """`timeout` in seconds; every key begins with `prefix`."""

    url: Secret | None = None
    timeout: float = 0.05
    prefix: str = "gateway"


def read_redis(reader: Reader) -> RedisSettings:
    """The section; nothing of the URL is told, since it may hold a password."""
    reader.chapter("Redis")
    url = reader.secret(NAME, ABOUT)
    if url is not None and not _is_usable(url.reveal()):
        reader.problem(NAME, "must be redis://HOST:PORT/NUMBER, rediss:// the same, or unix:///PATH")
        url = None
    prefix = reader.text("GATEWAY_REDIS_PREFIX", "gateway", "What the gateway's keys in Redis begin with")
    if not _PREFIX.fullmatch(prefix):
        reader.problem("GATEWAY_REDIS_PREFIX", "must be 1 to 64 of A-Z a-z 0-9 . _ : -")
        prefix = "gateway"
    timeout = reader.seconds("GATEWAY_REDIS_TIMEOUT", 0.05, "Seconds that Redis gets to decide whether a limit is hit")
    return RedisSettings(url, timeout, prefix)


def _is_usable(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in _RIGHT and not url.fragment and _RIGHT[url.scheme](url) and url.port != 0
    except ValueError:
        return False


def _names_a_host(url: SplitResult) -> bool:
    return bool(url.hostname) and re.fullmatch(r"/?|/\d{1,4}", url.path) is not None


def _names_a_path(url: SplitResult) -> bool:
    return len(url.path) > 1


_RIGHT = {"redis": _names_a_host, "rediss": _names_a_host, "unix": _names_a_path}
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")

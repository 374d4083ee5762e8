"""How providers are called: how many calls at once, how often again, and when one that keeps failing is left alone."""

import re
from dataclasses import dataclass, field

from gateway.settings.reader import Reader

STATUSES = ("500", "502", "503", "504", "520", "521", "522", "523", "524", "529")
"""Of a provider that is down, at its limit, or behind an edge that cannot reach it; not of one that refuses."""

ABOUT_FAILURES = (
    "Failures in a row, without an answer between them, after which a provider is not called for a while; 0: never"
)
ABOUT_STATUSES = "Statuses that count as failures, beside connections that fail and answers that do not come"
ABOUT_RETRIES = (
    "How often a call to a provider that could not be reached, or answered 429 or 5xx, is repeated where its route "
    "passes requests through; 0: not at all"
)
ABOUT_MOST_RETRIES = "The most that a client can ask for with X-Gateway-Retries"
ABOUT_BACKOFF = "Seconds before a first retry, at most; twice that before the next, up to 8; how long is left to chance"
ROADS = ("auto", "direct", "session")
ABOUT_ROAD = (
    "How requests travel to providers: direct, session (through aiohttp's ClientSession), or auto: session for bodies "
    "that are streamed up, else direct"
)
ABOUT_RESULTS_URL = (
    "Map `results_url` in the JSON of Anthropic's message batches to this gateway, so that SDKs, which send their key "
    "there, fetch results through it"
)
ABOUT_LONGEST_WAIT = "Seconds that a provider may ask to be left alone (Retry-After) and still be called again"


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """After `failures` in a row nothing is sent for `seconds`; then one call may try. 0 `failures` never end it."""

    failures: int = 50
    seconds: float = 5.0
    statuses: frozenset[int] = frozenset(map(int, STATUSES))


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """What holds for all repeated calls. Seconds."""

    most: int = 5
    backoff: float = 0.5
    longest_wait: float = 20.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How one provider is called. 0 `max_concurrent` calls are not bounded; `fallback` names another provider."""

    max_concurrent: int = 0
    retries: int = 0
    fallback: str = ""
    circuit: CircuitSettings = field(default_factory=CircuitSettings)


UNBOUNDED = Policy()


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`policy` holds where a provider has none of its own; `road` is one of ROADS."""

    policy: Policy = field(default_factory=Policy)
    retry: RetrySettings = field(default_factory=RetrySettings)
    road: str = "auto"
    map_results_url: bool = False


def read_upstream(reader: Reader) -> UpstreamSettings:
    """The section; what is said of single providers is read with them."""
    reader.chapter("Calling providers")
    road = reader.choice("GATEWAY_UPSTREAM_ROAD", "auto", ROADS, ABOUT_ROAD)
    map_results_url = reader.flag("GATEWAY_MAP_RESULTS_URL", False, ABOUT_RESULTS_URL)
    reader.chapter("Providers that fail")
    defaults = RetrySettings()
    circuit = CircuitSettings(
        failures=reader.integer("GATEWAY_CIRCUIT_FAILURES", 50, ABOUT_FAILURES),
        seconds=reader.seconds(
            "GATEWAY_CIRCUIT_SECONDS", 5, "Seconds until such a provider gets one call to prove itself"
        ),
        statuses=_statuses(reader),
    )
    retries = reader.integer("GATEWAY_RETRIES", 0, ABOUT_RETRIES, most=10)
    return UpstreamSettings(
        policy=Policy(retries=retries, circuit=circuit),
        retry=RetrySettings(
            most=reader.integer("GATEWAY_MAX_RETRIES", defaults.most, ABOUT_MOST_RETRIES, most=10),
            backoff=reader.seconds("GATEWAY_RETRY_BACKOFF", defaults.backoff, ABOUT_BACKOFF),
            longest_wait=reader.seconds("GATEWAY_RETRY_LONGEST_WAIT", defaults.longest_wait, ABOUT_LONGEST_WAIT),
        ),
        road=road,
        map_results_url=map_results_url,
    )


def _statuses(reader: Reader) -> frozenset[int]:
    name = "GATEWAY_CIRCUIT_STATUSES"
    told = reader.names(name, STATUSES, ABOUT_STATUSES)
    if all(re.fullmatch("[45][0-9][0-9]", status) for status in told):
        return frozenset(map(int, told))
    reader.problem(name, "must be statuses from 400 to 599, separated by commas")
    return frozenset()

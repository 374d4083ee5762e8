"""How providers are called, as an operator writes it down."""

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.upstream import CircuitSettings, Policy, RetrySettings, UpstreamSettings, read_upstream


def read(**environ: str) -> UpstreamSettings:
    reader = Reader(environ)
    settings = read_upstream(reader)
    reader.finish()
    assert not reader.unknown("GATEWAY_")
    return settings


def test_nothing_is_repeated_by_default_and_only_a_long_run_of_failures_counts() -> None:
    settings = read()
    assert settings == UpstreamSettings()
    assert settings.policy.retries == 0
    assert settings.policy.circuit.failures == 50
    assert {501, 505, 429}.isdisjoint(settings.policy.circuit.statuses)


def test_everything_is_told_by_the_environment() -> None:
    assert read(
        GATEWAY_CIRCUIT_FAILURES="0",
        GATEWAY_CIRCUIT_SECONDS="0.5",
        GATEWAY_CIRCUIT_STATUSES="500, 429",
        GATEWAY_RETRIES="2",
        GATEWAY_MAX_RETRIES="3",
        GATEWAY_RETRY_BACKOFF="0.1",
        GATEWAY_RETRY_LONGEST_WAIT="5",
        GATEWAY_UPSTREAM_ROAD="session",
    ) == UpstreamSettings(
        policy=Policy(retries=2, circuit=CircuitSettings(failures=0, seconds=0.5, statuses=frozenset({500, 429}))),
        retry=RetrySettings(most=3, backoff=0.1, longest_wait=5),
        road="session",
    )


@pytest.mark.parametrize("told", ["5xx", "200", "600", "0500", "500 502", "-500", "\u0665\u0660\u0660"])
def test_what_is_no_status_of_a_failure_is_told(told: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_CIRCUIT_STATUSES: must be statuses from 400 to 599"):
        read(GATEWAY_CIRCUIT_STATUSES=f"500,{told}")


@pytest.mark.parametrize("name", ["GATEWAY_RETRIES", "GATEWAY_MAX_RETRIES"])
def test_tries_are_bounded(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read(**{name: "11"})

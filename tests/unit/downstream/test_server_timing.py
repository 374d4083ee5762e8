"""`Server-Timing` adds up, and names only what happened."""

import re

from gateway.downstream.server_timing import server_timing
from tests.made_exchanges import MS, call, exchange


def durations(value: str) -> dict[str, float]:
    return {name: float(duration) for name, duration in re.findall(r"(\w+);dur=([\d.]+)", value)}


def test_the_parts_add_up_to_the_time_so_far() -> None:
    made = exchange(call(at=1_001, head=3))
    made.authenticated = made.started + 250_000
    made.admitted = made.started + 500_000
    told = durations(server_timing(made, made.started + 6 * MS))
    assert told == {"auth": 0.25, "limit": 0.25, "upstream": 3.0, "gateway": 3.0}


def test_the_whole_of_a_workflows_finished_calls_is_the_upstreams() -> None:
    made = exchange(call(at=1_001, head=2, took=10), call(at=1_005, head=3, took=16), call(at=1_031, head=4, took=9))
    told = durations(server_timing(made, made.started + 37 * MS))
    assert told["upstream"] == 20.0 + 4.0
    assert told["gateway"] == 37.0 - 24.0


def test_what_did_not_happen_is_not_told() -> None:
    made = exchange()
    assert durations(server_timing(made, made.started + MS)) == {"gateway": 1.0}

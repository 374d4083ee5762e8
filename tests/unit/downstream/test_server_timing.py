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


def test_what_did_not_happen_is_not_told() -> None:
    made = exchange()
    assert durations(server_timing(made, made.started + MS)) == {"gateway": 1.0}

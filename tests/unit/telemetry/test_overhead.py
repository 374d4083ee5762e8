"""What counts as the gateway's own time."""

import pytest

from gateway.telemetry.overhead import overhead_ns
from tests.made_exchanges import MS, call, exchange


def overhead(made: object) -> float:
    return overhead_ns(made, made.ended) / MS  # type: ignore[attr-defined]


def test_without_a_call_all_the_time_is_the_gateways() -> None:
    assert overhead(exchange(took=4)) == 4


def test_the_time_of_an_open_call_is_the_upstreams() -> None:
    assert overhead(exchange(call(took=8), took=10)) == 2


def test_calls_side_by_side_are_waited_for_once() -> None:
    made = exchange(call(at=1_001, took=10), call(at=1_005, took=10), call(at=1_003, took=2), took=20)
    assert overhead(made) == 20 - 14


def test_calls_one_after_the_other_leave_the_time_between_them() -> None:
    assert overhead(exchange(call(at=1_001, took=10), call(at=1_016, took=10), took=30)) == 10


def test_calls_may_be_recorded_in_any_order() -> None:
    first, second = call(at=1_001, took=10), call(at=1_016, took=10)
    made = exchange(first, second, took=30)
    made.calls.reverse()
    assert overhead(made) == 10


def test_a_slow_upload_is_the_clients_time() -> None:
    assert overhead(exchange(took=100, waited_for_body_ns=97 * MS)) == 3


@pytest.mark.parametrize(("waited", "own"), [(0, 6), (2, 4), (5, 1), (90, 1)])
def test_a_client_slow_to_take_the_last_of_the_answer_is_not_held_against_the_gateway(waited: int, own: int) -> None:
    """Back-pressure while the call was open is in the call's time already."""
    made = exchange(call(at=1_001, took=4), took=10, waited_for_client_ns=waited * MS)
    assert overhead(made) == own


def test_a_call_that_never_ended_lasts_as_long_as_its_exchange() -> None:
    open_still = call(took=8)
    open_still.ended = None
    assert overhead(exchange(open_still, took=10)) == 1


def test_it_is_never_negative() -> None:
    assert overhead(exchange(call(took=50), took=10, waited_for_body_ns=20 * MS)) == 0

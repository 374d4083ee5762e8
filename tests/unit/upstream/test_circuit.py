"""When a provider may be called."""

from dataclasses import dataclass

import pytest

from gateway.errors import (
    CircuitOpen,
    GatewayError,
    IdleTimeout,
    Overloaded,
    PayloadTooLarge,
    UpstreamDisconnected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.settings.upstream import CircuitSettings, Policy
from gateway.upstream.circuit import Door, State


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> Door:
    return Door("p", Policy(max_concurrent=3, circuit=CircuitSettings(failures=3, seconds=10)), clock)


def answer(door: Door, *statuses: int) -> None:
    for status in statuses:
        passage = door.enter()
        passage.answered(status)
        passage.leave()


def fail(door: Door, *errors: GatewayError) -> None:
    for error in errors:
        passage = door.enter()
        passage.failed(error)
        passage.leave()


def test_a_run_of_failures_opens_it_whatever_they_are(door: Door) -> None:
    answer(door, 503)
    fail(door, UpstreamUnreachable())
    assert door.circuit.state is State.CLOSED
    fail(door, UpstreamTimeout())
    assert door.circuit.state is State.OPEN
    assert door.circuit.openings == 1
    with pytest.raises(CircuitOpen) as caught:
        door.enter()
    assert caught.value.retry_after == 10
    with pytest.raises(CircuitOpen):
        door.check()
    assert door.open == 0


def test_an_answer_between_them_ends_the_run(door: Door) -> None:
    for _ in range(5):
        answer(door, 500, 500, 200)
    assert door.circuit.state is State.CLOSED


@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 429, 499, 501, 505])
def test_a_provider_that_refuses_has_answered(door: Door, status: int) -> None:
    answer(door, *[status] * 10)
    answer(door, 500, 500, status, 500, 500)
    assert door.circuit.state is State.CLOSED


def test_what_was_not_the_providers_doing_says_nothing(door: Door) -> None:
    fail(door, *[PayloadTooLarge()] * 10)
    assert door.circuit.state is State.CLOSED
    fail(door, UpstreamTimeout(), PayloadTooLarge(), UpstreamTimeout())
    assert door.circuit.state is State.CLOSED
    fail(door, UpstreamTimeout())
    assert door.circuit.state is State.OPEN


@pytest.mark.parametrize("kind", [UpstreamUnreachable, UpstreamTimeout, UpstreamDisconnected])
def test_what_says_that_a_provider_is_unwell_counts(door: Door, kind: type[GatewayError]) -> None:
    fail(door, *[kind()] * 3)
    assert door.circuit.state is State.OPEN


def test_nothing_else_counts(door: Door) -> None:
    illnesses = {UpstreamUnreachable, UpstreamTimeout, UpstreamDisconnected}
    for kind in all_below(GatewayError) - illnesses:
        fail(door, *[kind()] * 3)
        assert door.circuit.state is State.CLOSED, kind


def all_below(kind: type[GatewayError]) -> set[type[GatewayError]]:
    return {kind}.union(*(all_below(each) for each in kind.__subclasses__()))


def test_a_stream_that_breaks_has_been_answered(door: Door) -> None:
    for _ in range(10):
        passage = door.enter()
        passage.answered(200)
        passage.failed(IdleTimeout())
        passage.leave()
    assert door.circuit.state is State.CLOSED


def test_after_a_while_one_call_is_let_through_to_see(door: Door, clock: Clock) -> None:
    answer(door, 500, 500, 500)
    clock.now += 9.5
    with pytest.raises(CircuitOpen) as caught:
        door.enter()
    assert caught.value.retry_after == 1
    clock.now += 0.5
    seeing = door.enter()
    assert door.circuit.state is State.HALF_OPEN
    with pytest.raises(CircuitOpen):
        door.enter()
    seeing.answered(200)
    assert door.circuit.state is State.CLOSED
    seeing.leave()
    answer(door, 500, 500)
    assert door.circuit.state is State.CLOSED


def test_a_call_that_saw_a_failure_keeps_it_open(door: Door, clock: Clock) -> None:
    answer(door, 500, 500, 500)
    clock.now += 10
    fail(door, UpstreamDisconnected())
    assert door.circuit.state is State.OPEN
    with pytest.raises(CircuitOpen):
        door.enter()
    clock.now += 10
    answer(door, 200)
    assert door.circuit.state is State.CLOSED
    assert door.circuit.openings == 1


def test_a_client_that_leaves_lets_the_next_one_see(door: Door, clock: Clock) -> None:
    answer(door, 500, 500, 500)
    clock.now += 10
    door.enter().leave()
    assert door.circuit.state is State.OPEN
    answer(door, 200)
    assert door.circuit.state is State.CLOSED


def test_one_that_takes_its_time_does_not_hold_up_the_others_for_ever(door: Door, clock: Clock) -> None:
    answer(door, 500, 500, 500)
    clock.now += 10
    slow = door.enter()
    clock.now += 10
    answer(door, 200)
    assert door.circuit.state is State.CLOSED
    slow.leave()
    assert door.circuit.state is State.CLOSED


def test_what_was_under_way_closes_it_but_does_not_keep_it_open(door: Door, clock: Clock) -> None:
    under_way = [door.enter() for _ in range(2)]
    answer(door, 500, 500, 500)
    clock.now += 9
    under_way[0].failed(UpstreamTimeout())
    clock.now += 1
    door.check()
    under_way[1].answered(200)
    assert door.circuit.state is State.CLOSED


def test_no_number_of_failures_opens_what_is_switched_off(clock: Clock) -> None:
    door = Door("p", Policy(circuit=CircuitSettings(failures=0)), clock)
    answer(door, *[500] * 1000)
    assert door.circuit.state is State.CLOSED


def test_statuses_are_the_operators_choice(clock: Clock) -> None:
    door = Door("p", Policy(circuit=CircuitSettings(failures=1, statuses=frozenset({429}))), clock)
    answer(door, 500)
    assert door.circuit.state is State.CLOSED
    answer(door, 429)
    assert door.circuit.state is State.OPEN


def test_no_more_calls_than_that_are_open_at_once(door: Door) -> None:
    inside = [door.enter() for _ in range(3)]
    for refuse in (door.enter, door.check):
        with pytest.raises(Overloaded) as caught:
            refuse()
        assert caught.value.retry_after == 1
    inside.pop().leave()
    door.enter()


def test_a_call_that_does_not_get_in_is_not_the_one_to_see(door: Door, clock: Clock) -> None:
    inside = [door.enter() for _ in range(3)]
    for passage in inside:
        passage.failed(UpstreamTimeout())
    clock.now += 10
    with pytest.raises(Overloaded):
        door.enter()
    assert door.circuit.state is State.OPEN
    inside.pop().leave()
    door.enter()
    assert door.circuit.state is State.HALF_OPEN


def test_nothing_is_bounded_where_no_number_is_given(clock: Clock) -> None:
    door = Door("p", Policy(), clock)
    for _ in range(5000):
        door.enter()
    assert door.open == 5000

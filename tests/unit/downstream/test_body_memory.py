"""How much memory large bodies may take together."""

import pytest

from gateway.downstream.body_memory import SMALL, BodyMemory, HeldBody
from gateway.errors import Overloaded, PayloadTooLarge


def test_bodies_fit_until_the_bound_is_met_and_again_when_one_is_gone() -> None:
    memory = BodyMemory(10 * SMALL)
    first, second = HeldBody(memory), HeldBody(memory)
    first.grow_to(6 * SMALL)
    with pytest.raises(Overloaded) as caught:
        second.grow_to(5 * SMALL)
    assert caught.value.retry_after == 1
    second.grow_to(4 * SMALL)
    assert memory.held == memory.max_bytes
    first.release()
    first.release()
    assert memory.held == 4 * SMALL
    second.grow_to(10 * SMALL)
    second.release()
    assert memory.held == 0


def test_one_that_grows_is_counted_once() -> None:
    memory = BodyMemory(10 * SMALL)
    body = HeldBody(memory)
    for size in (SMALL, 2 * SMALL, 2 * SMALL, SMALL, 10 * SMALL):
        body.grow_to(size)
    assert memory.held == 10 * SMALL


def test_small_ones_are_not_counted() -> None:
    memory = BodyMemory(2 * SMALL)
    for _ in range(10):
        HeldBody(memory).grow_to(SMALL)
    assert memory.held == 0


def test_what_never_fits_is_too_large() -> None:
    with pytest.raises(PayloadTooLarge):
        HeldBody(BodyMemory(2 * SMALL)).grow_to(2 * SMALL + 1)

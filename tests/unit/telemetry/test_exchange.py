"""Every failure stands for exactly one outcome, and the first one counts."""

import inspect

import pytest

from gateway import errors
from gateway.telemetry.exchange import Outcome, outcome_of
from tests.made_exchanges import call, exchange

FAILURES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.GatewayError)]


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_has_an_outcome_that_fits_its_fault(kind: type[errors.GatewayError]) -> None:
    outcome = outcome_of(kind())
    if kind.fault in (errors.Fault.CALLER, errors.Fault.POLICY):
        assert outcome is Outcome.REFUSED
    else:
        assert outcome not in (Outcome.REFUSED, Outcome.COMPLETE, Outcome.CLIENT_GONE)


def test_the_first_failure_counts() -> None:
    made, upstream = exchange(), call()
    for record in (made, upstream):
        record.failed(errors.IdleTimeout())
        record.failed(errors.InternalFault())
        assert (record.outcome, record.error) == (Outcome.IDLE_TIMEOUT, "idle_timeout")
    made.client_left()
    assert made.outcome is Outcome.IDLE_TIMEOUT


def test_a_client_that_leaves_is_told_apart_from_what_was_complete() -> None:
    made = exchange()
    made.client_left()
    assert made.outcome is Outcome.CLIENT_GONE

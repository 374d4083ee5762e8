"""Each failure says all that a response needs, in words that can be relied on."""

import inspect
import re

import pytest

from gateway import errors

FAILURES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.GatewayError)]
# Distinguished by class, told alike.
SAME_CODE = {errors.GatewayError, errors.InternalFault, errors.UpstreamDisconnected, errors.PoolTimeout}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_complete(kind: type[errors.GatewayError]) -> None:
    error = kind()
    assert 400 <= error.status <= 599
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.message == str(error) == f"{kind.title}."
    assert kind.fault in errors.Fault
    if error.status < 500:
        assert kind.fault in (errors.Fault.CALLER, errors.Fault.POLICY)


def test_a_code_and_a_status_tell_failures_apart() -> None:
    told = [(kind.code, kind.status) for kind in FAILURES if kind not in SAME_CODE]
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    "kind", [kind for kind in FAILURES if kind.fault is errors.Fault.CALLER and kind.status != 408]
)
def test_what_the_caller_has_to_change_is_not_worth_a_retry(kind: type[errors.GatewayError]) -> None:
    assert not kind.retryable

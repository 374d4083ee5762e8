"""An Operation knows its own errors, and can be seen from further up."""

import msgspec

from gateway.errors import DeadlineExceeded, InternalFault, MalformedRequest, UpstreamTimeout
from gateway.schema.operation import Operation


class Asked(msgspec.Struct):
    text: str


def test_an_open_operation_can_only_fail_by_a_malformed_request_or_our_own_fault() -> None:
    assert Operation("GET", "/health", "Health", public=True).every_error == (MalformedRequest, InternalFault)


def test_an_operation_with_a_body_tells_what_can_be_wrong_with_it() -> None:
    codes = [error.code for error in Operation("POST", "/", "Ask", request=Asked).every_error]
    assert codes == [
        "invalid_request",
        "malformed_request",
        "invalid_api_key",
        "permission_denied",
        "request_timeout",
        "request_too_large",
        "unsupported_media_type",
        "rate_limit_exceeded",
        "internal_error",
        "draining",
        "overloaded",
    ]


def test_errors_of_its_own_are_told_once_and_in_the_order_of_statuses() -> None:
    operation = Operation("GET", "/", "Get", public=True, errors=(UpstreamTimeout, DeadlineExceeded, InternalFault))
    assert operation.every_error == (MalformedRequest, InternalFault, DeadlineExceeded, UpstreamTimeout)


def test_an_operation_can_be_mounted_under_a_prefix() -> None:
    operation = Operation("POST", "/summary", "Summarise", tags=("demo",))
    assert operation.under("/projects/demo").path == "/projects/demo/summary"
    assert operation.under("/projects/demo").tags == ("demo",)
    assert operation.path == "/summary"

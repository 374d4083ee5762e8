"""Error bodies say what is wrong, and keep to their contract."""

import msgspec

from gateway.errors import GatewayError, InvalidRequest, NotFound
from gateway.schema.error_bodies import PROBLEM, ProblemBody


def test_a_problem_tells_kind_reason_and_request() -> None:
    error = InvalidRequest("`text` is missing.", param="text")
    assert msgspec.json.decode(PROBLEM.render(error, "req_1", "/projects/demo/summary")) == {
        "type": "urn:gateway:error:invalid_request",
        "title": "Invalid request",
        "status": 400,
        "detail": "`text` is missing.",
        "instance": "/projects/demo/summary",
        "code": "invalid_request",
        "request_id": "req_1",
        "param": "text",
        "error": {
            "message": "`text` is missing.",
            "type": "invalid_request_error",
            "param": "text",
            "code": "invalid_request",
        },
    }


def test_a_problem_without_a_wrong_field_has_no_param() -> None:
    assert "param" not in msgspec.json.decode(PROBLEM.render(NotFound(), "req_1", "/x"))


def test_a_path_that_is_not_utf_8_is_told_in_escapes() -> None:
    body = PROBLEM.render(NotFound(), "req_1", "/caf\udce9")
    assert msgspec.json.decode(body)["instance"] == "/caf\\udce9"


def test_every_error_keeps_to_the_contract() -> None:
    for error in _all_errors(GatewayError):
        assert msgspec.json.decode(PROBLEM.render(error(), "req_1", "/x"), type=ProblemBody).code == error.code


def _all_errors(error: type[GatewayError]) -> list[type[GatewayError]]:
    return [error, *(below for kind in error.__subclasses__() for below in _all_errors(kind))]

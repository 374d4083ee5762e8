"""What the client is told when its request never became one (that it arrives is for `walk/test_hostile_http.py`)."""

import json

import pytest

from gateway.downstream.refusal import openai_shape, refusal
from gateway.downstream.request_head import HEAD_TIMEOUT, HEAD_TOO_LARGE, TOO_MANY_CONNECTIONS
from gateway.errors import GatewayError, MethodNotAllowed


def test_a_refusal_speaks_the_words_most_clients_know() -> None:
    assert json.loads(openai_shape(HEAD_TIMEOUT.raised())) == {
        "error": {
            "message": "The request did not arrive in time: head timeout.",
            "type": "invalid_request_error",
            "param": None,
            "code": "request_timeout",
        }
    }


@pytest.mark.parametrize(
    ("error", "status", "fields"),
    [
        (HEAD_TOO_LARGE.raised(), 431, {"x-gateway-error": "malformed_request", "x-should-retry": "false"}),
        (TOO_MANY_CONNECTIONS.raised(), 503, {"x-gateway-error": "overloaded", "Retry-After": "1"}),
        (HEAD_TIMEOUT.raised(), 408, {"x-gateway-error": "request_timeout"}),
        (MethodNotAllowed(headers={"Allow": "GET"}), 405, {"x-gateway-error": "method_not_allowed", "Allow": "GET"}),
    ],
)
def test_it_says_whose_it_is_and_whether_to_come_back(error: GatewayError, status: int, fields: dict[str, str]) -> None:
    response = refusal(error, b"words", "req_1")
    assert response.status == status
    assert response.keep_alive is False
    assert response.content_type == "application/json"
    assert response.content_length == 5
    assert response.headers["x-gateway-request-id"] == "req_1"
    assert {name: response.headers.get(name) for name in fields} == fields
    asked_to_stay_away = "x-should-retry" in response.headers
    assert asked_to_stay_away is not error.retryable

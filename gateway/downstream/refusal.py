"""How a request that never became one is told: to the client in a small answer, to the operator in one line."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.downstream.middlewares.observe import REQUEST_ID_FIELD
from gateway.downstream.relayed import RelayedResponse
from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request that never became one: who sent it, why it was refused. Safe to log: no byte of it is in here.

    `request_id` stands on the answer, whose body has `bytes_out` bytes. `begun` if the request's body alone was broken:
    then it has become an exchange, with an answer of its own.
    """

    request_id: str
    peer: str
    status: int
    code: str
    reason: str
    bytes_out: int = 0
    begun: bool = False


RefusalBody = Callable[[GatewayError], bytes]


def openai_shape(error: GatewayError) -> bytes:
    """The body of a refusal in the words most clients know: which route it was for is not known yet."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return orjson.dumps({"error": said})


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def refusal(error: GatewayError, body: bytes, request_id: str) -> RelayedResponse:
    """The whole answer; the connection ends with it."""
    fields = {"Content-Type": "application/json", "x-gateway-error": error.code, REQUEST_ID_FIELD: request_id}
    if not error.retryable:
        fields["x-should-retry"] = "false"
    if error.retry_after is not None:
        fields["Retry-After"] = str(error.retry_after)
    raw = [(name.encode(), value.encode()) for name, value in (fields | error.headers).items()]
    response = RelayedResponse(error.status, None, raw, body=body)
    response.force_close()
    return response

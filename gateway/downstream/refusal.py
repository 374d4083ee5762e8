"""How a request that never became one is told: to the client in a small answer, to the operator in one line."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from gateway.downstream.relayed import RelayedResponse
from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Malformed:
    """A request that never became one: who sent it, why it was refused. Safe to log: no byte of it is in here.

    `begun` if its body alone was broken: then it has become an exchange, which tells how it ended.
    """

    peer: str
    status: int
    code: str
    reason: str
    begun: bool = False


RefusalBody = Callable[[GatewayError], bytes]


def openai_shape(error: GatewayError) -> bytes:
    """The body of a refusal in the words most clients know: which route it was for is not known yet."""
    said = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return orjson.dumps({"error": said})


def refusal(error: GatewayError, body: bytes) -> RelayedResponse:
    """The whole answer; the connection ends with it."""
    fields = {"Content-Type": "application/json", "x-gateway-error": error.code}
    if not error.retryable:
        fields["x-should-retry"] = "false"
    if error.retry_after is not None:
        fields["Retry-After"] = str(error.retry_after)
    raw = [(name.encode(), value.encode()) for name, value in (fields | error.headers).items()]
    response = RelayedResponse(error.status, None, raw, body=body)
    response.force_close()
    return response

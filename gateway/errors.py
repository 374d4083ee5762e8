"""Every way a request can fail.

Rule 1: an error status is chosen in this file and nowhere else.
Rule 2: a message is written for the caller; text from an upstream, a traceback or a secret never enters it.

`type` and `code` are the OpenAI dialect's words; other dialects derive theirs from the class (see `providers/`).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose doing a failure was."""

    __hash__ = str.__hash__  # Enum's is a function in Python, and views look up by these

    CALLER = "caller"
    POLICY = "policy"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class UpstreamFailure(StrEnum):
    """Why there was no answer that could be passed on, more closely than by the error's code."""

    __hash__ = str.__hash__

    DNS = "dns"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    UNREACHABLE = "unreachable"
    TLS_CERTIFICATE = "tls_certificate"
    TLS_PROTOCOL = "tls_protocol"
    CONNECT_TIMEOUT = "connect_timeout"
    POOL_TIMEOUT = "pool_timeout"
    SEND_TIMEOUT = "send_timeout"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    DISCONNECTED = "disconnected"
    MALFORMED_STATUS_LINE = "malformed_status_line"
    MALFORMED_FIELD = "malformed_field"
    MALFORMED_CONTENT_LENGTH = "malformed_content_length"
    MALFORMED_TRANSFER_ENCODING = "malformed_transfer_encoding"
    MALFORMED_HEAD = "malformed_head"
    HEAD_TOO_LARGE = "head_too_large"
    UNEXPECTED_UPGRADE = "unexpected_upgrade"
    INTERIM_RESPONSES = "interim_responses"


class GatewayError(Exception):
    """A failure the caller is told about.

    `message` is a sentence for people, `param` the offending field if there is one, `headers` go out with the
    response, `retry_after` is in whole seconds, `failure` says why a provider gave no answer.
    `retryable` False answers `x-should-retry: false`.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    fault: ClassVar[Fault] = Fault.GATEWAY
    retryable: ClassVar[bool] = True

    def __init__(
        self,
        message: str = "",
        *,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        failure: UpstreamFailure | None = None,
    ) -> None:
        super().__init__(message or f"{self.title}.")
        self.message = message or f"{self.title}."
        self.param = param
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.failure = failure


class InvalidRequest(GatewayError):
    status, type, code, title = 400, "invalid_request_error", "invalid_request", "Invalid request"
    fault, retryable = Fault.CALLER, False


class MalformedRequest(InvalidRequest):
    code, title = "malformed_request", "Malformed HTTP request"


class TargetTooLong(MalformedRequest):
    status, title = 414, "Request target too long"


class HeadTooLarge(MalformedRequest):
    status, title = 431, "Request head too large"


class MethodNotImplemented(MalformedRequest):
    status, title = 501, "Method not implemented"


class VersionNotSupported(MalformedRequest):
    status, title = 505, "HTTP version not supported"


class Unauthenticated(GatewayError):
    status, type, code, title = 401, "invalid_request_error", "invalid_api_key", "No valid gateway key"
    fault, retryable = Fault.CALLER, False


class Forbidden(GatewayError):
    status, type, code, title = 403, "permission_error", "permission_denied", "This key may not be used here"
    fault, retryable = Fault.POLICY, False


class OriginRefused(Forbidden):
    code, title = "origin_refused", "Pages of this origin may not call this gateway, or not so"


class NotFound(GatewayError):
    status, type, code, title = 404, "invalid_request_error", "not_found", "Nothing is served at this path"
    fault, retryable = Fault.CALLER, False


class ProviderNotConfigured(NotFound):
    code, title = "provider_not_configured", "This provider is not configured"


class MethodNotAllowed(GatewayError):
    status, type, code, title = 405, "invalid_request_error", "method_not_allowed", "Method not allowed"
    fault, retryable = Fault.CALLER, False


class RequestTimeout(GatewayError):
    status, type, code, title = 408, "invalid_request_error", "request_timeout", "The request did not arrive in time"
    fault = Fault.CALLER


class PayloadTooLarge(GatewayError):
    status, type, code, title = 413, "invalid_request_error", "request_too_large", "The request body is too large"
    fault, retryable = Fault.CALLER, False


class UnsupportedMediaType(GatewayError):
    status, type, code, title = 415, "invalid_request_error", "unsupported_media_type", "Unsupported media type"
    fault, retryable = Fault.CALLER, False


class ExpectationFailed(GatewayError):
    status, type, code, title = 417, "invalid_request_error", "expectation_failed", "Unknown expectation"
    fault, retryable = Fault.CALLER, False


class UpgradeRequired(GatewayError):
    """A WebSocket handshake. Codex and others use HTTP at once after a 426, and try again after any other status."""

    status, type, code, title = 426, "invalid_request_error", "websocket_not_supported", "WebSocket is not served here"
    fault, retryable = Fault.CALLER, False


class RateLimited(GatewayError):
    status, type, code, title = 429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded"
    fault = Fault.POLICY


class LimitsUnavailable(GatewayError):
    """Limits hold, those who keep them cannot be asked, and settings say to refuse then."""

    status, code, title = 503, "limits_unavailable", "Rate limits cannot be checked at the moment"


class BudgetExhausted(GatewayError):
    status, type, code, title = 429, "insufficient_quota", "insufficient_quota", "Budget exhausted"
    fault, retryable = Fault.POLICY, False


class LoopDetected(GatewayError):
    status, type, code, title = 508, "server_error", "loop_detected", "The request came through this gateway already"
    retryable = False


class InternalFault(GatewayError):
    """Our own bug; the message never says more than that."""


class Overloaded(GatewayError):
    status, code, title = 503, "overloaded", "The gateway is at capacity"
    fault = Fault.POLICY


class Draining(GatewayError):
    status, code, title = 503, "draining", "The gateway is shutting down"


class CircuitOpen(GatewayError):
    status, code, title = 503, "circuit_open", "The provider has been failing and is not called for a while"
    fault = Fault.UPSTREAM


class UpstreamError(GatewayError):
    """The upstream answered, but not with HTTP that could be passed on."""

    status, code, title = 502, "upstream_error", "The provider sent a malformed response"
    fault = Fault.UPSTREAM


class UpstreamUnreachable(UpstreamError):
    code, title = "upstream_unreachable", "The provider could not be reached"


class UpstreamDisconnected(UpstreamError):
    """The connection ended before an answer did, and neither its age nor the size of the request explains that."""


class UpstreamTruncated(UpstreamError):
    code, title = "upstream_truncated", "The provider broke off its response"


class UpstreamRejected(UpstreamError):
    """An upstream's own error status, met inside a workflow, where it cannot be relayed as it came."""

    code, title = "upstream_rejected", "The provider refused a call of this workflow"


class UpstreamTimeout(GatewayError):
    status, code, title = 504, "upstream_timeout", "The provider took too long to answer"
    fault = Fault.UPSTREAM


class PoolTimeout(UpstreamTimeout):
    """All connections of the pool were in use; no request was sent to the provider."""


class IdleTimeout(UpstreamTimeout):
    code, title = "idle_timeout", "The provider fell silent in the middle of its response"


class DeadlineExceeded(UpstreamTimeout):
    code, title = "deadline_exceeded", "The request ran out of its allotted time"


class Drained(GatewayError):
    """The gateway had to end a running stream in order to stop."""

    status, code, title = 503, "drained", "The gateway had to stop before the response was complete"

"""Our errors in the words of each API, as bodies and as events inside a running stream.

Rule: status and OpenAI's words come from the error's class; the others' are derived here, by status.
"""

from typing import Final

import msgspec

from gateway.errors import GatewayError
from gateway.wire import sse


def openai_error(error: GatewayError, request_id: str) -> bytes:
    return msgspec.json.encode({"error": _words(error)})


def openai_event(error: GatewayError, request_id: str) -> bytes:
    return sse.encode(openai_error(error, request_id))


def responses_event(error: GatewayError, request_id: str) -> bytes:
    """Flat, as the Responses API has it; which number would come next is not known here."""
    words = _words(error)
    flat = {"type": "error", "code": words["code"], "message": words["message"], "param": words["param"]}
    return sse.encode(msgspec.json.encode({**flat, "sequence_number": 0}), event="error")


def _words(error: GatewayError) -> dict[str, str | None]:
    return {"message": error.message, "type": error.type, "param": error.param, "code": error.code}


def anthropic_error(error: GatewayError, request_id: str) -> bytes:
    words = {"type": _anthropic_type(error), "message": error.message}
    return msgspec.json.encode({"type": "error", "error": words, "request_id": request_id})


def anthropic_event(error: GatewayError, request_id: str) -> bytes:
    return sse.encode(anthropic_error(error, request_id), event="error")


def _anthropic_type(error: GatewayError) -> str:
    """`overloaded_error` is not among them: it belongs to a status of its own, 529."""
    if error.type == "insufficient_quota":
        return "billing_error"
    return _ANTHROPIC_TYPES.get(error.status) or ("api_error" if error.status >= 500 else "invalid_request_error")


_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


def gemini_error(error: GatewayError, request_id: str) -> bytes:
    status = _GOOGLE_STATUSES.get(error.status) or ("INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    return msgspec.json.encode({"error": {"code": error.status, "message": error.message, "status": status}})


def gemini_event(error: GatewayError, request_id: str) -> bytes:
    return sse.encode(gemini_error(error, request_id))


def interactions_event(error: GatewayError, request_id: str) -> bytes:
    words = {"code": error.code, "message": error.message}
    return sse.encode(msgspec.json.encode({"event_type": "error", "error": words}), event="error")


# Names of google.rpc.Code.
_GOOGLE_STATUSES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    417: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

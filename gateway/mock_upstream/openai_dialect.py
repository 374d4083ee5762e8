"""What OpenAI's API has on every route: where its key comes, its limits in the head, its errors."""

from __future__ import annotations

from gateway.mock_upstream.answers import Json
from gateway.mock_upstream.dialect import Dialect

MODELS = ("mock-model", "mock-model-mini", "mock-embedding")
_CREATED = 1_735_689_600
_INVALID = "invalid_request_error"
_TYPE_AND_CODE: dict[int, tuple[str, str | None]] = {
    400: (_INVALID, None),
    401: (_INVALID, "invalid_api_key"),
    403: ("permission_error", None),
    404: (_INVALID, "model_not_found"),
    413: (_INVALID, "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "overloaded"),
    529: ("server_error", "overloaded"),
}


def type_and_code(status: int) -> tuple[str, str | None]:
    return _TYPE_AND_CODE.get(status, ("server_error", None) if status >= 500 else (_INVALID, None))


def error(status: int, message: str) -> Json:
    kind, code = type_and_code(status)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}


def _head(request_id: str) -> dict[str, str]:
    return {
        "x-request-id": request_id,
        "openai-version": "2020-10-01",
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-tokens": "30ms",
    }


OPENAI = Dialect(
    name="openai",
    credentials={"authorization": "Bearer "},
    head=_head,
    error=lambda status, message, _: error(status, message),
    model=_model,
    models=lambda: {"object": "list", "data": [_model(name) for name in MODELS]},
)

"""What an error looks like on the wire, in each of the styles a route can have.

A style carries the function that renders it, so that the examples in the OpenAPI document are the real thing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from gateway.errors import GatewayError


@dataclass(frozen=True, slots=True)
class ErrorStyle:
    """How a route's errors are written: `render(error, request_id, path)` gives a body that keeps to `contract`."""

    media_type: str
    contract: type[msgspec.Struct]
    render: Callable[[GatewayError, str, str], bytes]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An error of the gateway itself (RFC 9457)."""

    type: Annotated[str, Meta(description="A URI that stands for this kind of error.")]
    title: Annotated[str, Meta(description="The kind of error, in words.")]
    status: Annotated[int, Meta(description="The HTTP status.", ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong this time.")]
    instance: Annotated[str, Meta(description="The path that was asked for.")]
    code: Annotated[str, Meta(description="The kind of error, for programs.")]
    request_id: Annotated[str, Meta(description="What the gateway's log and traces call this request.")]
    param: Annotated[str | None, Meta(description="The field, parameter or header that is wrong.")] = None


class OpenAIErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(msgspec.Struct, frozen=True):
    """An error in the words of OpenAI's API."""

    error: OpenAIErrorDetail


class ProblemBody(Problem, frozen=True, omit_defaults=True, kw_only=True):
    """A response with a problem. It has the members of RFC 9457 and `error`, where the SDKs of providers look."""

    error: Annotated[OpenAIErrorDetail, Meta(description="The same for SDKs of providers, which show `message`.")]


class AnthropicErrorDetail(msgspec.Struct, frozen=True):
    type: str
    message: str


class AnthropicError(msgspec.Struct, frozen=True):
    """An error in the words of Anthropic's API."""

    type: str
    error: AnthropicErrorDetail
    request_id: str


class GeminiErrorDetail(msgspec.Struct, frozen=True):
    code: int
    message: str
    status: str


class GeminiError(msgspec.Struct, frozen=True):
    """An error in the words of Gemini's API."""

    error: GeminiErrorDetail


def problem(error: GatewayError, request_id: str, path: str) -> Problem:
    """`error` as the gateway's own routes tell it."""
    return Problem(
        type=f"urn:gateway:error:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.message,
        instance=path.encode("utf-8", "backslashreplace").decode(),
        code=error.code,
        request_id=request_id,
        param=error.param,
    )


def problem_body(error: GatewayError, request_id: str, path: str) -> bytes:
    """`problem` as a response body."""
    detail = OpenAIErrorDetail(message=error.message, type=error.type, param=error.param, code=error.code)
    return msgspec.json.encode(ProblemBody(**asdict(problem(error, request_id, path)), error=detail))


PROBLEM = ErrorStyle("application/problem+json", ProblemBody, problem_body)

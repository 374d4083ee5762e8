"""What is promised on a provider's routes: everything as the provider has it, and a few things of the gateway's own.

The customary operations are data, by dialect: places to start from in the documentation, not a list of what passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.errors import (
    CircuitOpen,
    DeadlineExceeded,
    GatewayError,
    IdleTimeout,
    InvalidRequest,
    LoopDetected,
    PayloadTooLarge,
    UpstreamError,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.providers.provider import Provider
from gateway.schema.error_bodies import AnthropicError, ErrorStyle, GeminiError, OpenAIError
from gateway.schema.openapi import STREAM_MODE
from gateway.schema.operation import JSON, Operation, Parameter, Response

ABOUT = (
    "Whatever the provider serves below its base URL: any path, any method. Path, query, body, status and fields pass "
    "as they are, both ways, except for hop-by-hop fields, cookies and credentials: the gateway's key goes no further, "
    "and the provider's own is put in its place. Fields with URLs of the provider's own (`Location`, `Link`, "
    "`X-Goog-Upload-URL` and the like) name this route instead. The provider's errors come through untouched; the "
    "gateway's own carry an X-Gateway-Error field, and are written as this provider writes its own. With a stream "
    "mode, the answer takes that shape."
)
ANYTHING = "/{tail:(?s:.*)}"  # encoded line ends too: the router matches the decoded path
VERBATIM = Response(None, "The provider's own response, byte for byte.", media_type="*/*")
ERRORS: tuple[type[GatewayError], ...] = (
    InvalidRequest,
    PayloadTooLarge,
    LoopDetected,
    UpstreamError,
    UpstreamUnreachable,
    UpstreamTruncated,
    UpstreamTimeout,
    IdleTimeout,
    DeadlineExceeded,
    CircuitOpen,
)
CALLING_AGAIN = (
    Parameter(
        "X-Gateway-Retries",
        "header",
        "How often the gateway may call again, before a byte of an answer is out, where the provider cannot be reached "
        "or answers 429 or 5xx. `X-Gateway-Attempts` then tells how many calls it took.",
        {"type": "integer", "minimum": 0, "maximum": 999},
    ),
    Parameter(
        "X-Gateway-Deadline",
        "header",
        "Seconds until an answer must have begun; then the gateway gives up.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 999_999_999},
    ),
)
ERROR_CONTRACTS: Mapping[str, type[msgspec.Struct]] = {
    "openai": OpenAIError,
    "anthropic": AnthropicError,
    "gemini": GeminiError,
}


@dataclass(frozen=True, slots=True)
class Customary:
    """A use of an API that most of its clients make; `{model}` in an example is a model the provider has, `{root}` in
    a path where the dialect's API is.
    """

    method: str
    path: str
    summary: str
    example: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False


_MESSAGES = [{"role": "user", "content": "Say hello."}]
_CONTENTS = [{"role": "user", "parts": [{"text": "Say hello."}]}]
CUSTOMARY: Mapping[str, tuple[Customary, ...]] = {
    "openai": (
        Customary(
            "POST",
            "{root}/chat/completions",
            "Chat completion",
            {"model": "{model}", "messages": _MESSAGES},
            streams=True,
        ),
        Customary("POST", "{root}/responses", "Response", {"model": "{model}", "input": "Say hello."}, streams=True),
        Customary("POST", "{root}/embeddings", "Embeddings", {"model": "{model}", "input": ["one", "two"]}),
        Customary("GET", "{root}/models", "Models"),
    ),
    "anthropic": (
        Customary(
            "POST",
            "/v1/messages",
            "Message",
            {"model": "{model}", "max_tokens": 256, "messages": _MESSAGES},
            streams=True,
        ),
        Customary("POST", "/v1/messages/count_tokens", "Count tokens", {"model": "{model}", "messages": _MESSAGES}),
        Customary("GET", "/v1/models", "Models"),
    ),
    "gemini": (
        Customary("POST", "/v1beta/models/{model}:generateContent", "Generate", {"contents": _CONTENTS}, streams=True),
        Customary("POST", "/v1beta/models/{model}:countTokens", "Count tokens", {"contents": _CONTENTS}),
        Customary("GET", "/v1beta/models", "Models"),
    ),
}


def base_path(provider: Provider) -> str:
    """The path of the base URL for an SDK of the provider's dialect."""
    return f"/provider/{provider.name}{provider.dialect.root}"


def error_style(provider: Provider) -> ErrorStyle:
    """How the gateway's own errors look on a provider's routes."""
    dialect = provider.dialect

    def render(error: GatewayError, request_id: str, path: str) -> bytes:
        return dialect.error(error, request_id)

    return ErrorStyle(JSON, ERROR_CONTRACTS.get(dialect.name, OpenAIError), render)


def passthrough(provider: Provider) -> Operation:
    """The one operation that a provider's route is mounted from."""
    return Operation(
        "*",
        ANYTHING,
        f"Anything that {provider.name} serves",
        description=ABOUT,
        tags=(provider.name,),
        errors=ERRORS,
        error_style=error_style(provider),
        responses=(VERBATIM,),
        parameters=CALLING_AGAIN,
    )


def customary(provider: Provider) -> tuple[Operation, ...]:
    """The operations that clients of a provider's dialect use most, which all pass through that one route."""
    model, style = next(iter(provider.models), "mock-model"), error_style(provider)
    return tuple(
        Operation(
            use.method,
            use.path.replace("{root}", provider.dialect.root),
            f"{use.summary}, as {provider.name} has it",
            tags=(provider.name,),
            errors=ERRORS,
            error_style=style,
            responses=(VERBATIM,),
            parameters=(*(STREAM_MODE if use.streams else ()), *CALLING_AGAIN),
            examples={"Hello": _with_model(use.example, model)} if use.example else {},
        )
        for use in CUSTOMARY.get(provider.dialect.name, ())
    )


def _with_model(example: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    return {**example, "model": model} if "model" in example else example

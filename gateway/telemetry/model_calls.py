"""What the span of an upstream call tells about the call and its model, in OpenInference's words and in GenAI's."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from msgspec import Struct

from gateway.telemetry import names
from gateway.telemetry.exchange import UpstreamCall, Usage
from gateway.telemetry.otlp import Value, attribute, attributes, event, number

KEPT = 1024  # different descriptions that are kept encoded
LONGEST = 1024  # characters of a text that a client or a provider chose

LLM, EMBEDDING, CHAIN = "LLM", "EMBEDDING", "CHAIN"
_KINDS = {
    "chat": LLM,
    "text_completion": LLM,
    "generate_content": LLM,
    "embeddings": EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class Vendor:
    """A host of models: OpenInference's `llm.system`, and GenAI's provider name."""

    system: str | None
    gen_ai: str


# By `llm.provider`. A host of many vendors' models has no system.
_VENDORS = {
    "openai": Vendor("openai", "openai"),
    "anthropic": Vendor("anthropic", "anthropic"),
    "google": Vendor("vertexai", "gcp.gemini"),
    "azure": Vendor("openai", "azure.ai.openai"),
    "aws": Vendor(None, "aws.bedrock"),
    "cohere": Vendor("cohere", "cohere"),
    "mistralai": Vendor("mistralai", "mistral_ai"),
    "xai": Vendor("xai", "x_ai"),
    "deepseek": Vendor("deepseek", "deepseek"),
}


class Described(Struct, frozen=True):
    """What many calls have in common. `provider` is OpenInference's word for it, `parameters` a JSON object or ""."""

    provider: str
    method: str
    path: str
    server: str
    port: int
    status: int | None
    attempt: int
    error: str
    operation: str
    request_model: str | None
    response_model: str | None
    finish_reasons: tuple[str, ...]
    streamed: bool
    parameters: str


def gen_ai_name(provider: str) -> str:
    """The `gen_ai.provider.name` of an `llm.provider`."""
    vendor = _VENDORS.get(provider)
    return provider if vendor is None else vendor.gen_ai


def kind_of(operation: str) -> str:
    """The OpenInference kind of a call's span; CHAIN, a plain step, where the gateway knows no operation."""
    return _KINDS.get(operation, CHAIN)


def description(call: Described) -> bytes:
    """The attributes of a span of `call`."""
    kind = kind_of(call.operation)
    told: dict[str, Value | None] = {
        names.SPAN_KIND: kind,
        names.HTTP_METHOD: call.method,
        names.URL_PATH: call.path,
        names.SERVER_ADDRESS: call.server,
        names.SERVER_PORT: call.port or None,
        names.HTTP_STATUS: call.status,
        names.HTTP_RESENDS: call.attempt or None,
        names.ERROR_TYPE: call.error,
    }
    if kind != CHAIN:
        told |= _gen_ai(call)
    if kind == LLM:
        told |= _llm(call)
    elif kind == EMBEDDING:
        told |= {names.EMBEDDING_MODEL: _model(call), names.EMBEDDING_PARAMETERS: call.parameters}
    return attributes(told)


def estimated(tokens: int) -> bytes:
    """The attribute for tokens that were charged by estimate; the counts above them are the provider's alone."""
    return number(names.ESTIMATED_TOKENS, tokens)


def usage(used: Usage) -> bytes:
    """The attributes for the token counts that are known; an unknown one is left out, for Phoenix adds them up."""
    total = used.total_tokens
    if total is None and used.input_tokens is not None and used.output_tokens is not None:
        total = used.input_tokens + used.output_tokens
    written = b"" if total is None else _in_all(total)
    if used.input_tokens is not None:
        written += _in(used.input_tokens)
    if used.output_tokens is not None:
        written += _out(used.output_tokens)
    if used.cache_read_tokens is not None:
        written += _twice(names.TOKENS_CACHE_READ, names.GEN_AI_CACHE_READ, used.cache_read_tokens)
    if used.cache_write_tokens is not None:
        written += _twice(names.TOKENS_CACHE_WRITE, names.GEN_AI_CACHE_WRITE, used.cache_write_tokens)
    if used.reasoning_tokens is not None:
        written += _twice(names.TOKENS_REASONING, names.GEN_AI_REASONING, used.reasoning_tokens)
    return written


def first_chunk(call: UpstreamCall, of_day: int) -> bytes:
    """When the first of a streamed answer came, as an attribute and as an event; `of_day` makes an instant a time."""
    first = call.first_byte
    if first is None:
        return b""
    waited = attribute(names.GEN_AI_FIRST_CHUNK, (first - call.started) / 1e9)
    return waited + event(names.FIRST_CHUNK_EVENT, of_day + first, {})


@lru_cache(8192)
def _in_all(count: int) -> bytes:
    return number(names.TOKENS_TOTAL, count)


@lru_cache(8192)
def _in(count: int) -> bytes:
    return _twice(names.TOKENS_IN, names.GEN_AI_TOKENS_IN, count)


@lru_cache(8192)
def _out(count: int) -> bytes:
    return _twice(names.TOKENS_OUT, names.GEN_AI_TOKENS_OUT, count)


@lru_cache(8192)
def _twice(name: str, gen_ai_name: str, count: int) -> bytes:
    return number(name, count) + number(gen_ai_name, count)


def _gen_ai(call: Described) -> dict[str, Value | None]:
    vendor = _VENDORS.get(call.provider)
    return {
        names.GEN_AI_OPERATION: call.operation,
        names.GEN_AI_PROVIDER: vendor.gen_ai if vendor else call.provider,
        names.GEN_AI_REQUEST_MODEL: call.request_model,
        names.GEN_AI_RESPONSE_MODEL: call.response_model,
    }


def _llm(call: Described) -> dict[str, Value | None]:
    vendor = _VENDORS.get(call.provider)
    another = call.request_model and call.response_model and call.request_model != call.response_model
    return {
        names.LLM_PROVIDER: call.provider,
        names.LLM_SYSTEM: vendor.system if vendor else None,
        names.LLM_MODEL: _model(call),
        names.LLM_REQUEST_MODEL: call.request_model if another else None,
        names.LLM_RESPONSE_MODEL: call.response_model if another else None,
        names.LLM_FINISH_REASON: call.finish_reasons[0] if call.finish_reasons else None,
        names.GEN_AI_FINISH_REASONS: call.finish_reasons or None,
        names.GEN_AI_STREAM: call.streamed or None,
        names.LLM_PARAMETERS: call.parameters,
        **_parameters(call.parameters),
    }


def _parameters(encoded: str) -> dict[str, Value]:
    """The invocation parameters that have attributes of their own; Gemini keeps them an object deeper."""
    given: dict[str, Any] = json.loads(encoded) if encoded else {}
    for inner in ("generationConfig", "generation_config"):
        if isinstance(given.get(inner), dict):
            given = {**given[inner], **given}
    found: dict[str, Value] = {}
    for parameter in names.PARAMETERS:
        value = next((given[name] for name in parameter.spellings if given.get(name) is not None), None)
        if (fitting := _fitting(value, parameter.kind)) is not None:
            found[parameter.attribute] = fitting
    return found


def _fitting(value: Any, kind: type[Value]) -> Value | None:
    if kind is tuple:
        listed = [value] if isinstance(value, str) else value
        return tuple(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind is float:
        return float(value)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else None


def _model(call: Described) -> str | None:
    return call.response_model or call.request_model

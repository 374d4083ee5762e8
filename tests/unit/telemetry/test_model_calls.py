"""What a call's span tells of the call and its model."""

from typing import Any

import msgspec
import orjson
import pytest

from gateway.providers.catalog import KNOWN
from gateway.telemetry import otlp
from gateway.telemetry.exchange import Usage
from gateway.telemetry.model_calls import Described, description, kind_of, usage
from tests import read_spans

CHAT = Described(
    provider="openai",
    method="POST",
    path="/v1/chat/completions",
    server="api.openai.com",
    port=443,
    status=200,
    attempt=0,
    error="",
    operation="chat",
    request_model="gpt-4o",
    response_model="gpt-4o",
    finish_reasons=("stop",),
    streamed=False,
    parameters="",
)


def told(attributes: bytes) -> dict[str, Any]:
    (span,) = read_spans.of_scope(otlp.scope_spans([attributes]))
    return span.attributes


def described(**different: Any) -> dict[str, Any]:
    return told(description(msgspec.structs.replace(CHAT, **different)))


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("chat", "LLM"),
        ("text_completion", "LLM"),
        ("generate_content", "LLM"),
        ("embeddings", "EMBEDDING"),
        ("", "CHAIN"),
        ("something new", "CHAIN"),
    ],
)
def test_the_kind_of_a_span_follows_from_the_operation(operation: str, kind: str) -> None:
    assert kind_of(operation) == described(operation=operation)["openinference.span.kind"] == kind


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_output_tokens": 7}, 7),
        ({"generationConfig": {"maxOutputTokens": 8, "topP": 0.5}}, 8),
        ({"generation_config": {"max_output_tokens": 9}}, 9),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 1.5}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": 2**63}, None),
        ({}, None),
    ],
)
def test_the_limit_on_tokens_is_found_under_every_api_s_name(parameters: dict[str, Any], limit: int | None) -> None:
    attributes = described(parameters=orjson.dumps(parameters).decode())
    assert attributes.get("llm.parameters.max_tokens") == limit == attributes.get("gen_ai.request.max_tokens")


@pytest.mark.parametrize("size", [1, 5_000])
def test_parameters_have_attributes_of_their_own_however_many_there_are(size: int) -> None:
    given = {"temperature": 1, "topK": 3, "stopSequences": "END", "seed": "x", "n": -1, "other": "x" * size}
    attributes = described(parameters=orjson.dumps(given).decode())
    assert {name: value for name, value in attributes.items() if name.startswith("gen_ai.request.")} == {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.choice.count": -1,
    }
    assert orjson.loads(attributes["llm.invocation_parameters"]) == given


@pytest.mark.parametrize(
    ("provider", "system", "gen_ai"),
    [
        ("openai", "openai", "openai"),
        ("anthropic", "anthropic", "anthropic"),
        ("google", "vertexai", "gcp.gemini"),
        ("azure", "openai", "azure.ai.openai"),
        ("mistralai", "mistralai", "mistral_ai"),
        ("my-vllm", None, "my-vllm"),
    ],
)
def test_a_host_is_named_as_each_convention_names_it(provider: str, system: str | None, gen_ai: str) -> None:
    attributes = described(provider=provider)
    assert (attributes["llm.provider"], attributes.get("llm.system")) == (provider, system)
    assert attributes["gen_ai.provider.name"] == gen_ai


def test_every_provider_that_ships_has_a_name_in_both_conventions() -> None:
    for provider in KNOWN.values():
        attributes = described(provider=provider.system or provider.name)
        assert attributes["llm.provider"] and attributes["gen_ai.provider.name"]


def test_one_model_is_named_once_where_it_was_the_one_asked_for() -> None:
    for answered in ("gpt-4o", None):
        attributes = described(response_model=answered)
        assert attributes["llm.model_name"] == "gpt-4o"
        assert "llm.request.model_name" not in attributes and "llm.response.model_name" not in attributes


def test_counts_are_told_in_both_conventions_and_added_up_where_the_provider_did_not() -> None:
    assert told(usage(Usage(input_tokens=3, output_tokens=4))) == {
        "llm.token_count.prompt": 3,
        "llm.token_count.completion": 4,
        "llm.token_count.total": 7,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
    }
    assert told(usage(Usage(total_tokens=5))) == {"llm.token_count.total": 5}
    assert usage(Usage()) == b""

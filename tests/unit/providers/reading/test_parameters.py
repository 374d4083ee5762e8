"""What counts as a parameter of a call: never what was said, by whom, or a secret."""

import json
from typing import Any

from gateway.providers.reading.lenient import opened
from gateway.providers.reading.parameters import parameters_of


def parameters(request: dict[str, Any]) -> dict[str, Any]:
    return parameters_of(opened(json.dumps(request).encode()))


def test_settings_are_parameters():
    settings = {
        "temperature": 0.5,
        "max_tokens": 10,
        "stream": True,
        "stop": ["a", "b"],
        "seed": 7,
        "service_tier": "flex",
        "a_member_of_tomorrow": 5,
        "logit_bias": {"50256": -100},
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "reasoning": {"effort": "high"},
    }
    assert parameters(settings) == settings


def test_what_was_said_and_who_said_it_is_none():
    said = ["messages", "input", "prompt", "contents", "system", "instructions", "tools", "metadata", "user", "model"]
    assert parameters(dict.fromkeys(said, "x")) == {}
    assert parameters({"data_sources": [{"key": "s"}], "mcp_servers": [{"authorization_token": "s"}]}) == {}


def test_what_may_be_a_secret_is_none():
    names = [
        "api_key",
        "apiKey",
        "X-Api-Key",
        "client_secret",
        "Authorization",
        "access_token",
        "AccessToken",
        "password",
    ]
    assert parameters(dict.fromkeys(names, "canary")) == {}
    assert parameters({"unknown": {"nested": "canary"}, "list": [{"nested": "canary"}]}) == {}


def test_parameters_are_bounded_in_number_and_size():
    assert len(parameters({f"p{number}": number for number in range(1000)})) <= 40
    assert (
        parameters({"long": "x" * 10_000, "many": [1] * 10_000, "x" * 100: 1, "response_format": {"a": "x" * 5000}})
        == {}
    )


def test_a_number_that_is_none_is_left_out():
    assert parameters_of(opened(b'{"temperature":NaN,"top_p":1}')) == {"top_p": 1}
    assert parameters_of(opened(b'{"temperature":1e999,"top_p":1}')) == {"top_p": 1}

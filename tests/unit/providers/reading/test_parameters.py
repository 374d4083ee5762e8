"""What counts as a parameter of a call: never what was said, by whom, or a secret."""

import json
from typing import Any

import pytest

from gateway.providers.reading.known_parameters import KNOWN, WORDS
from gateway.providers.reading.lenient import opened
from gateway.providers.reading.parameters import ParameterScope, parameters_of

SETTINGS: dict[str, Any] = {
    "temperature": 0.5,
    "max_tokens": 10,
    "stream": True,
    "seed": 7,
    "service_tier": "flex",
    "modalities": ["text", "audio"],
    "response_format": {"type": "json_object"},
    "tool_choice": {"type": "function"},
    "reasoning": {"effort": "high", "max_tokens": 5},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "strict": True}},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "generationConfig": {"topK": 3, "thinkingConfig": {"thinkingLevel": "HIGH"}, "responseMimeType": "text/plain"},
    "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
}
FREE: dict[str, Any] = {"stop": ["a", "b"], "logit_bias": {"50256": -100}, "a_member_of_tomorrow": 5, "voice": "ada"}


def known(request: dict[str, Any]) -> dict[str, Any]:
    return parameters_of(opened(json.dumps(request).encode()))


def every(request: dict[str, Any]) -> dict[str, Any]:
    return parameters_of(opened(json.dumps(request).encode()), ParameterScope.ALL)


def test_known_settings_are_parameters():
    assert known(SETTINGS) == every(SETTINGS) == SETTINGS


def test_others_are_only_where_all_are_read():
    assert known({**FREE, **SETTINGS}) == SETTINGS
    assert every(FREE) == FREE


@pytest.mark.parametrize(
    "value", ["canary", ["canary"], {"canary": 1}, {"type": "canary"}, [{"type": "text"}], "x" * 5000, 1 << 70, None]
)
def test_what_a_client_words_itself_is_no_value_of_a_known_parameter(value: Any):
    nested = {name: dict.fromkeys(members, value) for name, members in KNOWN.items() if members}
    request = {**dict.fromkeys(KNOWN, value), **nested}
    assert len(request) > 100
    for name, given in request.items():
        assert known({name: given}) == {}, name


def test_what_is_known_within_an_object_remains_of_it():
    schema = {"type": "json_schema", "json_schema": {"name": "canary", "schema": {"description": "canary"}}}
    assert known({"response_format": schema}) == {"response_format": {"type": "json_schema"}}
    chosen = {"type": "function", "function": {"name": "canary"}, "name": "canary"}
    assert known({"tool_choice": chosen}) == {"tool_choice": {"type": "function"}}
    assert known({"modalities": ["text", "canary", 5, None]}) == {"modalities": ["text"]}


def test_words_are_looked_up_in_lower_case():
    assert [word for word in WORDS if word != word.lower()] == []


def test_no_parameters_are_read_where_none_are_wanted():
    assert parameters_of(opened(json.dumps(SETTINGS).encode()), ParameterScope.NONE) == {}


def test_what_was_said_and_who_said_it_is_none():
    said = ["messages", "input", "prompt", "contents", "system", "instructions", "tools", "metadata", "user", "model"]
    assert every(dict.fromkeys(said, "x")) == {}
    assert every({"data_sources": [{"key": "s"}], "mcp_servers": [{"authorization_token": "s"}]}) == {}


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
    assert every(dict.fromkeys(names, "canary")) == {}
    assert every({"unknown": {"nested": "canary"}, "list": [{"nested": "canary"}]}) == {}


def test_parameters_are_bounded_in_number_and_size():
    assert len(every({f"p{number}": number for number in range(1000)})) <= 40
    assert len(known(dict.fromkeys(KNOWN, 1))) <= 40
    long = {"long": "x" * 10_000, "many": [1] * 10_000, "x" * 100: 1, "response_format": {"a": "x" * 5000}}
    assert every(long) == {}


def test_a_number_that_is_none_is_left_out():
    for scope in (ParameterScope.KNOWN, ParameterScope.ALL):
        assert parameters_of(opened(b'{"temperature":NaN,"top_p":1}'), scope) == {"top_p": 1}
        assert parameters_of(opened(b'{"temperature":1e999,"top_p":1}'), scope) == {"top_p": 1}

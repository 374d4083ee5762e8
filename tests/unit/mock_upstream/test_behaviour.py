"""Directives: where they come from, what they may say, how attempts are counted."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway.mock_upstream import Behaviour
from gateway.mock_upstream.behaviour import Attempts, from_headers, from_model
from gateway.mock_upstream.refusal import Refusal

EXAMPLES = {
    "delay": ("0.5", 0.5),
    "pace": ("0.02", 0.02),
    "words": ("3", 3),
    "width": ("1000", 1000),
    "split": ("1", 1),
    "fail": ("503", 503),
    "retry-after": ("0.25", 0.25),
    "times": ("2", 2),
    "key": ("any text", "any text"),
    "cut-after": ("3", 3),
    "stall-after": ("0", 0),
    "error-after": ("1", 1),
    "unmarked": ("", True),
    "json": ("yes", True),
}


def test_every_field_is_a_directive() -> None:
    assert {field.name.replace("_", "-") for field in fields(Behaviour)} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_directive_sets_its_field_and_no_other(name: str) -> None:
    text, value = EXAMPLES[name]
    changed = Behaviour().scripted([(name, text)])
    assert getattr(changed, name.replace("-", "_")) == value
    others = [field.name for field in fields(Behaviour) if field.name != name.replace("-", "_")]
    assert all(getattr(changed, other) == getattr(Behaviour(), other) for other in others)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("delay", "-1"),
        ("delay", "nan"),
        ("pace", "inf"),
        ("pace", "1e9"),
        ("words", "-1"),
        ("words", "2.5"),
        ("words", ""),
        ("fail", "200"),
        ("fail", "600"),
        ("unmarked", "perhaps"),
        ("fial", "503"),
        ("", "1"),
    ],
)
def test_a_directive_that_makes_no_sense_is_refused(name: str, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        Behaviour().scripted([(name, text)])
    assert refused.value.status == 400
    assert repr(name) in refused.value.message


def test_a_switch_can_be_switched_off() -> None:
    assert Behaviour(json=True).scripted([("json", "0")]).json is False


def test_directives_are_read_from_fields_of_any_case_and_from_nowhere_else() -> None:
    headers = {"X-Mock-Fail": "503", "x-mock-retry-after": "2", "X-Mocking": "1", "Accept": "*/*"}
    assert list(from_headers(headers)) == [("fail", "503"), ("retry-after", "2")]


@pytest.mark.parametrize(
    ("model", "name", "directives"),
    [
        ("mock-model", "mock-model", []),
        ("mock-model+delay=0.5+fail=503", "mock-model", [("delay", "0.5"), ("fail", "503")]),
        ("m+unmarked+key=a=b", "m", [("unmarked", ""), ("key", "a=b")]),
        ("command-r+", "command-r", []),
    ],
)
def test_directives_stand_behind_the_name_of_a_model(model: str, name: str, directives: list[tuple[str, str]]) -> None:
    assert from_model(model) == (name, directives)


def test_attempts_are_counted_by_key() -> None:
    attempts = Attempts()
    assert [attempts.count("a"), attempts.count("b"), attempts.count("a")] == [1, 1, 2]


def test_attempts_with_keys_not_seen_for_long_are_forgotten() -> None:
    attempts = Attempts()
    attempts.count("old")
    for number in range(10_000):
        attempts.count(f"newer {number}")
    assert attempts.count("old") == 1
    assert attempts.count("newer 9999") == 2

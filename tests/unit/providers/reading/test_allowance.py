"""The tokens that a request allows its answer, as a lenient server reads it."""

from typing import Any

import pytest

from gateway.providers.reading.allowance import Allowance

CHAT = Allowance(("max_tokens", "max_completion_tokens"), ("n",))
NESTED = Allowance(("maxOutputTokens",), ("candidateCount",), within=("generationConfig", "generation_config"))


@pytest.mark.parametrize(
    ("request_members", "allowed"),
    [
        ({}, 1000),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"n": 3}, 3000),
        ({"max_tokens": "8"}, 8),
        ({"max_tokens": 0}, 1000),
        ({"max_tokens": -5, "n": -5}, 1000),
        ({"max_tokens": "1" * 19}, 1000),
        ({"max_tokens": None, "n": "x"}, 1000),
        ({"max_output_tokens": 1, "maxOutputTokens": 1}, 1000),
    ],
)
def test_only_the_apis_own_members_count_and_only_numbers_from_1_on(
    request_members: dict[str, Any], allowed: float
) -> None:
    assert CHAT.of(request_members, 1000) == allowed


def test_members_within_others_count_there_alone() -> None:
    assert NESTED.of({"maxOutputTokens": 5}, 1000) == 1000
    assert NESTED.of({"generationConfig": {"maxOutputTokens": 5, "candidateCount": 2}}, 1000) == 10
    both = {"generationConfig": {"maxOutputTokens": 5}, "generation_config": {"maxOutputTokens": 6}}
    assert NESTED.of(both, 1000) == 6
    assert NESTED.of({"generationConfig": [1]}, 1000) == 1000

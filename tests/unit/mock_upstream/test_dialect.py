"""Credentials: the right key, in the right field, and in no other."""

from __future__ import annotations

import pytest

from gateway.mock_upstream.anthropic import ANTHROPIC
from gateway.mock_upstream.dialect import Dialect, objection
from gateway.mock_upstream.gemini import GEMINI
from gateway.mock_upstream.openai_dialect import OPENAI


@pytest.mark.parametrize(
    ("dialect", "headers"),
    [
        (OPENAI, {"authorization": "Bearer right"}),
        (ANTHROPIC, {"x-api-key": "right"}),
        (ANTHROPIC, {"authorization": "Bearer right"}),
        (GEMINI, {"x-goog-api-key": "right"}),
    ],
)
def test_the_right_key_in_the_right_field_passes(dialect: Dialect, headers: dict[str, str]) -> None:
    assert objection(dialect, headers, "right") is None


@pytest.mark.parametrize(
    ("dialect", "headers", "complaint"),
    [
        (OPENAI, {}, "No credential"),
        (OPENAI, {"authorization": "Bearer wrong"}, "authorization is wrong"),
        (OPENAI, {"authorization": "right"}, "authorization is wrong"),
        (OPENAI, {"x-api-key": "right"}, "x-api-key, where"),
        (OPENAI, {"authorization": "Bearer right", "x-api-key": "the client's"}, "x-api-key, where"),
        (ANTHROPIC, {"x-api-key": "right", "authorization": "Bearer the client's"}, "authorization is wrong"),
        (GEMINI, {"authorization": "Bearer right"}, "authorization, where"),
    ],
)
def test_any_other_credential_does_not(dialect: Dialect, headers: dict[str, str], complaint: str) -> None:
    assert complaint in str(objection(dialect, headers, "right"))

"""Bodies that are not taken in, and what of a conversation is answered."""

from __future__ import annotations

import pytest

from gateway.mock_upstream.body import said_last
from tests.unit.mock_upstream.conftest import Mock


async def test_a_body_that_is_too_large_is_refused(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mock_upstream.body._LARGEST_JSON", 1000)
    assert (await mock.post("/v1/chat/completions", json={"text": "x" * 1000})).status == 413
    assert (await mock.post("/v1/chat/completions", json={"text": "x" * 900})).status == 400


def test_an_instruction_is_answered_only_where_there_is_nothing_else() -> None:
    first, last = {"role": "system", "content": "1"}, {"role": "developer", "content": "2"}
    asked, answered = {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"}
    assert said_last([first, asked, answered, last], "assistant") == asked
    assert said_last([first, last, answered], "assistant") == last
    assert said_last([answered], "assistant") == {}

"""Bodies that are not taken in."""

from __future__ import annotations

import pytest

from tests.unit.mock_upstream.conftest import Mock


async def test_a_body_that_is_too_large_is_refused(mock: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mock_upstream.body._LARGEST_JSON", 1000)
    assert (await mock.post("/v1/chat/completions", json={"text": "x" * 1000})).status == 413
    assert (await mock.post("/v1/chat/completions", json={"text": "x" * 900})).status == 400

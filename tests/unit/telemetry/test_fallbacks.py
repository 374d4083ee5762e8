"""Messages that a recogniser failed at: all counted, each kind logged once, without words that others chose."""

import pytest

from gateway.telemetry.fallbacks import Fallbacks


def test_each_is_counted_and_each_kind_logged_once_by_type_and_place(caplog: pytest.LogCaptureFixture) -> None:
    fallbacks = Fallbacks()

    def fail(kind: type[Exception]) -> None:
        try:
            raise kind("a secret")
        except Exception as error:
            fallbacks.failed(error)

    for kind in (ValueError, ValueError, KeyError):
        fail(kind)
    assert fallbacks.count == 3
    assert [record.getMessage().count("Error") for record in caplog.records] == [1, 1]
    assert "test_fallbacks.py:" in caplog.text and "a secret" not in caplog.text

"""The error that a provider answered: words for everybody, a message where it is wanted."""

import json
from typing import Any

import pytest

from gateway.providers.reading.error_words import MAX_MESSAGE, provider_error
from gateway.telemetry.exchange import ProviderError


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": {"type": "t", "code": "c", "message": "m"}}, ProviderError("t", "c", "m")),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, ProviderError("t", None, "m")),
        ({"error": {"status": "S", "code": 400, "message": "m"}}, ProviderError("S", "400", "m")),
        ({"error": {"status": "S", "code": 400, "details": [{}, {"reason": "R"}]}}, ProviderError("S", "R")),
        ([{"error": {"status": "S"}}], ProviderError("S")),
        (
            {"type": "https://x.test/t/", "code": "c", "detail": "d", "title": "l"},
            ProviderError("t", "c", "d"),
        ),
        ({"title": "only a title"}, ProviderError(message="only a title")),
        ({"error": "only words"}, ProviderError(message="only words")),
        ({"error": {"message": "x" * 2 * MAX_MESSAGE}}, ProviderError(message="x" * MAX_MESSAGE)),
        ({"error": {"type": "two words", "code": "c\n", "message": 7}}, None),
        ({"error": {}}, None),
        ([], None),
        ("text", None),
    ],
)
def test_each_form_is_read(body: Any, error: ProviderError | None) -> None:
    assert provider_error(json.dumps(body).encode(), message=True) == error


def test_without_the_message_nothing_but_words_is_kept() -> None:
    body = json.dumps({"error": {"type": "t", "message": "the prompt was: secret"}}).encode()
    assert provider_error(body, message=False) == ProviderError("t")
    assert provider_error(b'{"error":{"message":"secret"}}', message=False) is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"error":{"type":"t"', b"[" * 5000])
def test_any_bytes_are_an_answer(body: bytes) -> None:
    provider_error(body, message=True)

"""A token lets one client upload to one URL for a day."""

import pytest

from gateway.access.upload_tokens import SECONDS, UploadTokens

TARGET = "/provider/gemini/upload/v1beta/files?upload_id=a%2Fb&upload_protocol=resumable"
NOW = 1_790_000_000.5


@pytest.fixture
def tokens() -> UploadTokens:
    return UploadTokens(b"secret" * 6)


@pytest.mark.parametrize("target", [TARGET, "/provider/gemini/upload"])
def test_the_target_that_was_signed_names_its_client(tokens: UploadTokens, target: str) -> None:
    signed = tokens.signed(target, "team-é", NOW)
    assert signed.startswith(f"{target}{'&' if '?' in target else '?'}gateway_upload=")
    assert tokens.client_id(signed, NOW) == tokens.client_id(signed, NOW + SECONDS - 1) == "team-é"


def test_it_is_good_for_a_day(tokens: UploadTokens) -> None:
    assert tokens.client_id(tokens.signed(TARGET, "alice", NOW), NOW + SECONDS) is None


def test_it_is_good_for_nothing_else(tokens: UploadTokens) -> None:
    signed = tokens.signed(TARGET, "alice", NOW)
    others = [
        signed.replace("upload_id=a", "upload_id=b"),
        signed.replace("gemini", "openai"),
        signed.replace("&gateway_upload", "?gateway_upload"),
        signed.replace("&gateway_upload", "&x=1&gateway_upload"),
        signed + "&x=1",
        signed[:-2],
        signed[:-1] + "\u00e9",
        signed + "A" * 8,
        TARGET,
        f"{TARGET}&gateway_upload=",
        f"{TARGET}&gateway_upload=AAAA",
        "gateway_upload=" + signed.rpartition("=")[2],
        tokens.signed(TARGET, "", NOW),
    ]
    assert [tokens.client_id(other, NOW) for other in others] == [None] * len(others)
    # What a base64 decoder lets pass beside its alphabet changes nothing that is signed.
    assert UploadTokens(b"other" * 8).client_id(signed, NOW) is None


def test_the_parts_of_a_token_cannot_trade_places(tokens: UploadTokens) -> None:
    one = tokens.signed("/b", "a", NOW).rpartition("=")[2]
    assert tokens.client_id(f"b?gateway_upload={one}", NOW) is None


def test_the_secret_is_not_shown(tokens: UploadTokens) -> None:
    assert repr(tokens) == "UploadTokens()"

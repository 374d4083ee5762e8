"""What ends a line or steers a terminal is shown, and nothing else is changed."""

import json
import unicodedata

import pytest

from gateway.telemetry.escaping import encodable, escaped, escaped_json


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), 0xDC80])
def test_control_characters_are_shown(code: int) -> None:
    assert escaped(chr(code)) == (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


@pytest.mark.parametrize(
    "text", ["", "plain", "\u65e5\u672c\u8a9e", "caf\u00e9\u00a0b", "\U0001f469\u200d\U0001f52c", "a\\x0a"]
)
def test_what_can_be_read_stays(text: str) -> None:
    assert escaped(text) == encodable(text) == text
    assert escaped_json(json.dumps(text, ensure_ascii=False).encode()).decode() == json.dumps(text, ensure_ascii=False)


def test_json_means_the_same_and_is_as_safe() -> None:
    text = "".join(map(chr, [*range(0x20, 0x2100), 0x2028, 0x202E, 0x2066, 0xFEFF]))
    encoded = escaped_json(json.dumps(text, ensure_ascii=False).encode() + b"\n")
    assert json.loads(encoded) == text
    assert not [char for char in encoded.decode()[:-1] if unicodedata.category(char) in ("Cc", "Zl", "Zp")]

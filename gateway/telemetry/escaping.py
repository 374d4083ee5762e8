"""Makes visible in log lines what would end a line, steer a terminal or reorder what it shows.

That is the control characters (C0, DEL, C1), the separators U+2028 and U+2029, marks and overrides of direction
(Unicode Standard Annex 9), U+FEFF, and surrogates, which stand for bytes that are no UTF-8.
"""

import re
from typing import Final

_HIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escaped(text: str) -> str:
    """`text` with these characters as `\\x0a` or `\\u2028`."""
    return text if text.isprintable() else _HIDDEN.sub(_as_in_python, text)


def escaped_json(encoded: bytes) -> bytes:
    """JSON with these characters as `\\u0085`, so that it still means the same."""
    if encoded.isascii() and encoded.find(b"\x7f") < 0:
        return encoded
    return _HIDDEN.sub(_as_in_json, encoded.decode()).encode()


def encodable(text: str) -> str:
    """`text` with escapes for its surrogates, which no encoding can write."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _as_in_python(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _as_in_json(found: re.Match[str]) -> str:
    # Between the values of a document there may be line ends, which are its own.
    return found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}"

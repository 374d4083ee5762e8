"""Undoing a content coding for the record: bounded, and never on the bytes that the client gets."""

import zlib

MOST_BYTES = 4 << 20
_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def readable(body: bytes, coding: bytes) -> bytes:
    """`body` without its content coding, at most `MOST_BYTES`; b"" if that cannot be undone here."""
    if not coding or coding == b"identity":
        return body
    window = _WINDOWS.get(coding.strip().lower())
    if window is None:
        return b""
    try:
        return zlib.decompressobj(window).decompress(body, MOST_BYTES)
    except zlib.error:
        return b""

"""Chunked framing (RFC 9112, section 7.1) that can be told at a glance: pieces of a body that are whole chunks.

An event of a stream is one chunk mostly, and comes in one piece. That may go on as it is, and no parser need see it.
Whatever is not of the plainest form is LOST here, and the parser's to judge.
"""

import re
from typing import Final

LOST: Final = -1  # where the next chunk begins is not known
ENDED: Final = -2  # the last chunk is here, and nothing behind it
LONGEST_SIZE: Final = 8  # digits
CRLF: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_is_size = re.compile(rb"[0-9A-Fa-f]{1,8}").fullmatch


SIZES: Final[dict[bytes, int]] = {}
"""Those that were met: whoever is in a hurry looks here first."""
MOST_SIZES: Final = 4096


def size_of(line: bytes) -> int:
    """The bytes in a chunk that begins with `line`; LOST for the last chunk, and whatever else is not a size alone."""
    size = SIZES.get(line)
    if size is None:
        size = (int(line, 16) or LOST) if _is_size(line) else LOST
        if size != LOST:
            if len(SIZES) >= MOST_SIZES:
                SIZES.clear()
            SIZES[line] = size
    return size


def walk(data: bytes, missing: int = 0) -> tuple[list[bytes], int]:
    """The chunks in `data`, without framing, and how many bytes of the last one are `missing`, with its CRLF.

    Or LOST, or ENDED. The `missing` that is passed is what the pieces before left of a chunk; nothing of that one is
    among the chunks.
    """
    chunks: list[bytes] = []
    at, end = missing, len(data)
    if 0 < at <= end and data[max(at - 2, 0) : at] != CRLF[-at:]:
        return chunks, LOST
    while 0 <= at < end:
        line_end = data.find(CRLF, at, at + LONGEST_SIZE + 2)
        size = size_of(data[at:line_end]) if line_end > at else LOST
        if size < 0:
            return chunks, ENDED if data[at:] == LAST_CHUNK else LOST
        start, at = line_end + 2, line_end + 4 + size
        if at <= end:
            if data[at - 2 : at] != CRLF:
                return chunks, LOST
            chunks.append(data[start : at - 2])
    missing = at - end
    return chunks, LOST if at < 0 or (missing == 1 and data[-1:] != b"\r") else missing

"""A coding is undone for the record, within bounds, and failing at it is no failure."""

import gzip
import zlib

import pytest

from gateway.upstream import content_coding
from gateway.upstream.content_coding import readable


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"", b"plain"),
        (b"identity", b"plain"),
        (b"gzip", gzip.compress(b"plain", mtime=0)),
        (b"deflate", zlib.compress(b"plain")),
    ],
)
def test_codings_are_undone(coding: bytes, body: bytes) -> None:
    assert readable(body, coding) == b"plain"


@pytest.mark.parametrize(
    ("coding", "body"), [(b"br", b"x"), (b"gzip", b"not gzip"), (b"gzip, br", b"x"), (b"\xff", b"x")]
)
def test_what_cannot_be_undone_reads_as_nothing(coding: bytes, body: bytes) -> None:
    assert readable(body, coding) == b""


def test_a_bomb_is_cut_short() -> None:
    bomb = gzip.compress(b"\0" * (8 * content_coding.MOST_BYTES))
    assert len(readable(bomb, b"gzip")) == content_coding.MOST_BYTES

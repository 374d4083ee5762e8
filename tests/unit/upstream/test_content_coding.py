"""Content codings are decoded within bounds, and a body that cannot be decoded raises nothing."""

import gc
import gzip
import random
import weakref
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import brotli
import pytest
import zstandard

from gateway.upstream import content_coding
from gateway.upstream.content_coding import Decoding, can_decode, codings_of, decoded

TEXT = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n' * 40


NOISE = random.Random(1).randbytes(500_000).hex().encode()


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


CODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": lambda body: gzip.compress(body, mtime=0),
    b"deflate": zlib.compress,
    b"br": partial(brotli.compress, quality=1),
    b"zstd": zstandard.compress,
}


def coded(body: bytes, codings: Sequence[bytes]) -> bytes:
    for coding in codings:
        body = CODERS[coding](body)
    return body


def in_pieces(body: bytes, codings: Sequence[bytes], size: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    decoding = Decoding(codings, parts.append)
    for start in range(0, len(body), size):
        decoding.write(body[start : start + size])
    return b"".join(parts), decoding.failed


@pytest.mark.parametrize(
    ("field", "codings"),
    [
        (b"", ()),
        (b"identity", ()),
        (b"GZip", (b"gzip",)),
        (b" br , identity,, zstd ", (b"br", b"zstd")),
    ],
)
def test_a_field_lists_codings_in_the_order_of_their_application(field: bytes, codings: tuple[bytes, ...]) -> None:
    assert codings_of(field) == codings


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "codings",
    [(), (b"gzip",), (b"deflate",), (b"br",), (b"zstd",), (b"gzip", b"br"), (b"zstd", b"deflate", b"gzip", b"br")],
)
def test_every_coding_is_decoded_however_it_is_cut(codings: tuple[bytes, ...], size: int) -> None:
    body = coded(TEXT, codings)
    assert in_pieces(body, codings, size) == (TEXT, False)
    assert decoded(body, codings) == TEXT


@pytest.mark.parametrize("size", [1000, 32_768, 2_000_000])
@pytest.mark.parametrize("coding", CODERS)
def test_a_long_body_is_decoded_to_its_end(coding: bytes, size: int) -> None:
    assert in_pieces(CODERS[coding](NOISE), [coding], size) == (NOISE, False)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_deflate_may_lack_its_zlib_header(size: int) -> None:
    assert in_pieces(raw_deflate(TEXT), [b"deflate"], size) == (TEXT, False)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_body_may_have_several_members_or_frames(size: int) -> None:
    for coding in (b"gzip", b"zstd"):
        assert in_pieces(CODERS[coding](b"one, ") + CODERS[coding](b"two"), [coding], size) == (b"one, two", False)


def test_padding_after_gzip_is_ignored() -> None:
    assert decoded(gzip.compress(b"one") + bytes(7), [b"gzip"]) == b"one"


def flushed(coding: bytes) -> Callable[[bytes], bytes]:
    if coding == b"br":
        stream = brotli.Compressor()
        return lambda piece: bytes(stream.process(piece) + stream.flush())
    if coding == b"zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        return lambda piece: frame.compress(piece) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    deflate = zlib.compressobj(wbits=31 if coding == b"gzip" else 15)
    return lambda piece: deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("coding", CODERS)
def test_what_was_flushed_is_decoded_at_once(coding: bytes) -> None:
    compress, parts = flushed(coding), list[bytes]()
    decoding = Decoding([coding], parts.append)
    for number in range(5):
        event = b"data: %d\n\n" % number
        decoding.write(compress(event))
        assert parts[-1] == event


@pytest.mark.parametrize("codings", [(b"compress",), (b"\xff",), (b"gzip", b"dcb"), (b"gzip",) * 5])
def test_an_unknown_coding_is_not_decoded(codings: tuple[bytes, ...]) -> None:
    assert not can_decode(codings)
    assert decoded(b"x", codings) is None


@pytest.mark.parametrize("coding", CODERS)
def test_a_broken_body_gives_what_came_before(coding: bytes) -> None:
    assert decoded(b"\xfd not coded at all, whatever the field says", [coding]) is None
    noise = random.Random(1).randbytes(200_000)
    body = CODERS[coding](noise)
    got, failed = in_pieces(body[:100_000], [coding], 5000)
    assert not failed
    assert noise.startswith(got)
    assert len(got) > 0


@pytest.mark.parametrize("coding", CODERS)
def test_a_bomb_is_given_up(coding: bytes) -> None:
    bomb = CODERS[coding](bytes(80 << 20))
    size = 0

    def take(piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    decoding = Decoding([coding], take)
    decoding.write(bomb)
    assert decoding.failed
    assert size <= content_coding.FREE_BYTES + content_coding.MAX_RATIO * len(bomb)
    decoding.write(bomb)  # nothing more is decoded
    assert size <= content_coding.FREE_BYTES + content_coding.MAX_RATIO * len(bomb)


def test_no_body_decodes_to_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_coding, "MAX_BYTES", 100_000)
    assert decoded(gzip.compress(random.Random(1).randbytes(100_001)), [b"gzip"]) is None


def test_a_window_that_no_content_coding_may_have_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert decoded(stream.compress(TEXT) + stream.flush(), [b"zstd"]) is None


@pytest.mark.parametrize("coding", sorted(CODERS))
def test_a_decoder_is_freed_without_a_collection(coding: bytes) -> None:
    class Taken(list[bytes]):
        pass

    taken = Taken()
    freed = weakref.ref(taken)
    decoding = Decoding([coding], taken.append)
    decoding.write(coded(TEXT, [coding]))
    assert b"".join(taken) == TEXT
    gc.disable()
    try:
        del decoding, taken
        assert freed() is None
    finally:
        gc.enable()

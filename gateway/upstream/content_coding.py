"""Decodes content codings (RFC 9110, section 8.4.1) for the record, within bounds; what is relayed stays as it came.

Each decoder writes to the next one in small pieces, so that no body is expanded in one go. Decoding stops
at a body that expands beyond the bounds below: it is a decompression bomb.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import IO, Final, Protocol, cast

import brotli
import zstandard

MAX_BYTES: Final = 64 << 20
"""The largest size that a body may decode to."""
MAX_RATIO: Final = 1000
"""How many bytes one byte may decode to, beyond the first `FREE_BYTES`. Event streams stay far below it."""
FREE_BYTES: Final = 1 << 20
MAX_CODINGS: Final = 4
DECODED_ON_THE_LOOP: Final = 1024  # coded bytes, which decode to 2 MiB at most
PIECE: Final = 64 << 10
ZSTD_WINDOW: Final = 8 << 20
"""The largest window that a content coding may ask for (RFC 9659)."""


class Sink(Protocol):
    """Takes decoded bytes, piece by piece."""

    def write(self, data: bytes) -> object: ...


def codings_of(field: bytes) -> tuple[bytes, ...]:
    """The codings that a `Content-Encoding` lists, in the order in which they were applied."""
    names = [name.strip() for name in field.lower().split(b",")]
    return tuple([name for name in names if name and name != b"identity"])


def can_decode(codings: Sequence[bytes]) -> bool:
    """Whether all of `codings` are known, and not too many."""
    return len(codings) <= MAX_CODINGS and all(coding in DECODERS for coding in codings)


def decoded(body: bytes, codings: Sequence[bytes]) -> bytes | None:
    """`body` without its `codings`; None if it cannot be decoded, or only in part."""
    parts: list[bytes] = []
    decoding = Decoding(codings, parts.append)
    decoding.write(body)
    return None if decoding.failed else b"".join(parts)


class Decoding:
    """Decodes a body as it is written, and gives each decoded piece to `take`.

    `failed` if it is malformed, in an unknown coding, or a bomb; `take` has got what was decoded before.
    """

    def __init__(self, codings: Sequence[bytes], take: Callable[[bytes], object]) -> None:
        self.failed = not can_decode(codings)
        self._output = _Output(take)
        self._first: Sink = self._output
        for coding in () if self.failed else codings:
            self._first = DECODERS[coding](self._first)

    def write(self, data: bytes) -> None:
        if self.failed:
            return
        self._output.coded += len(data)
        try:
            self._first.write(data)
        except _BROKEN:
            self.failed = True


class _Output:
    """The last sink, which holds what comes to the bounds.

    It does not know the `Decoding`: in a cycle, the decoder's window and the decoded body would wait for a collection.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.coded = 0
        self._decoded = 0
        self._take = take

    def write(self, piece: bytes) -> None:
        self._decoded += len(piece)
        if self._decoded > min(MAX_BYTES, FREE_BYTES + MAX_RATIO * self.coded):
            raise _TooLarge
        self._take(piece)


class _Inflate:
    """gzip, of one or more members; deflate, with the zlib header that it should have, or without."""

    def __init__(self, sink: Sink, window: int) -> None:
        self._sink = sink
        self._window = window
        self._header = b""
        self._stream = zlib.decompressobj(window) if window != zlib.MAX_WBITS else None
        self._ended = False

    def write(self, data: bytes) -> None:
        if self._stream is None:
            data = self._header = self._header + data
            if len(data) < 2:
                return
            has_header = data[0] & 15 == zlib.DEFLATED and (data[0] << 8 | data[1]) % 31 == 0
            self._stream = zlib.decompressobj(self._window if has_header else -self._window)
        full = False
        while data or full:
            if self._ended and not self._begin_member(data):
                return
            piece = self._stream.decompress(data, PIECE)
            full = len(piece) == PIECE
            if piece:
                self._sink.write(piece)
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                self._ended, full, data = True, False, self._stream.unused_data

    def _begin_member(self, data: bytes) -> bool:
        """Whether `data`, after the end of a member, begins another one; anything else is padding."""
        if self._window <= zlib.MAX_WBITS or not data.startswith(b"\x1f"):
            return False
        self._stream, self._ended = zlib.decompressobj(self._window), False
        return True


class _Brotli:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._stream = brotli.Decompressor()

    def write(self, data: bytes) -> None:
        while not self._stream.is_finished():
            piece = self._stream.process(data, output_buffer_limit=PIECE)
            if not piece:
                return
            self._sink.write(piece)
            data = b""


class _Zstd:
    def __init__(self, sink: Sink) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
        self._stream = decompressor.stream_writer(cast(IO[bytes], sink), write_size=PIECE)

    def write(self, data: bytes) -> None:
        self._stream.write(data)


class _TooLarge(Exception):
    pass


_BROKEN: Final = (zlib.error, brotli.error, zstandard.ZstdError, _TooLarge)


def _gzip(sink: Sink) -> Sink:
    return _Inflate(sink, zlib.MAX_WBITS | 16)


DECODERS: Final[dict[bytes, Callable[[Sink], Sink]]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": lambda sink: _Inflate(sink, zlib.MAX_WBITS),
    b"br": _Brotli,
    b"zstd": _Zstd,
}

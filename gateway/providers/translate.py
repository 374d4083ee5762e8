"""A provider's answer in the shape a client asked for: events as lines, as bare text, a document as an event.

Rule: what cannot be translated, or did not end as it should, raises; a translated stream never looks complete if the
provider's was not.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from gateway.errors import GatewayError, UpstreamError
from gateway.providers.provider import Dialect
from gateway.providers.reading.ends import is_event_stream
from gateway.providers.reading.lenient import parsed
from gateway.wire import sse
from gateway.wire.mode import StreamMode

MOST_DOCUMENT_BYTES: Final = 32 * 1024 * 1024

_MALFORMED: Final = "The provider sent a stream that cannot be translated."


async def translated(
    chunks: AsyncIterator[bytes],
    dialect: Dialect,
    mode: StreamMode,
    *,
    streamed: bool,
    most_document_bytes: int = MOST_DOCUMENT_BYTES,
) -> AsyncGenerator[bytes, None]:
    """The frames of a successful answer in `mode`; `streamed` says whether `chunks` is labelled as an event stream.

    Raises UpstreamError, and whatever `chunks` raises, such as UpstreamTruncated. Closes `chunks`.
    """
    async with _closing(chunks):
        if streamed and mode in (StreamMode.SSE, StreamMode.JSON):
            async for chunk in chunks:
                yield chunk
            return
        begun = await first_bytes(chunks) if streamed else b""
        if streamed and (not begun.strip() or is_event_stream(begun)):
            async for frame in _of_events(begun, chunks, dialect, _line if mode is StreamMode.NDJSON else _text):
                yield frame
            return
        body = await _read(begun, chunks, most_document_bytes)
        for frame in _FROM_DOCUMENT[mode](dialect, body):
            yield frame


async def first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    """The first bytes of a body, enough to tell an event stream from a document that is labelled as one."""
    begun = b""
    async for chunk in chunks:
        begun += chunk
        if len(begun.strip(_BLANK)) >= _TELLING_BYTES:
            break
    return begun


_BLANK: Final = b"\xef\xbb\xbf\r\n"
_TELLING_BYTES: Final = 8  # more than any field's name


async def _of_events(
    begun: bytes, chunks: AsyncIterator[bytes], dialect: Dialect, from_event: Callable[[Dialect, bytes], bytes]
) -> AsyncGenerator[bytes, None]:
    decoder = sse.Decoder()
    async for chunk in with_blank_line(begun, chunks):
        frames: list[bytes] = []
        failure = None
        try:
            for event in decoder.feed(chunk):
                frames.append(from_event(dialect, event.data))
        except sse.EventTooLarge as error:
            raise UpstreamError(_MALFORMED) from error
        except UpstreamError as error:
            failure = error  # what came before it is still the client's
        if written := b"".join(frames):
            yield written
        if failure is not None:
            raise failure


async def with_blank_line(begun: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A whole event stream, followed by the blank line that its last event may lack."""
    yield begun
    async for chunk in chunks:
        yield chunk
    yield b"\n\n"


def error_frame(dialect: Dialect, mode: StreamMode, request_id: str, path: str) -> Callable[[GatewayError], bytes]:
    """What a running answer in `mode` shows of our error before it is broken off; bare text has no words for one."""
    if mode is StreamMode.SSE:
        return lambda error: dialect.stream_error(error, request_id, path)
    if mode is StreamMode.NDJSON:
        return lambda error: _one_line(dialect.error(error, request_id)) + b"\n"
    return lambda error: b""


def _line(dialect: Dialect, data: bytes) -> bytes:
    """An event as a line; nothing of an end marker, a ping, or an event without data."""
    if not data or data.startswith(b"[DONE]"):
        return b""
    kind = _kind(data)
    if kind.type == "ping":
        return b""
    line = _one_line(data)
    if kind.type == "error" and kind.error is None:
        # The Responses API has its errors flat; a line says `error` whatever the API.
        line = b'{"error":' + line + b"}"
    return line + b"\n"


def _text(dialect: Dialect, data: bytes) -> bytes:
    """The text in an event."""
    if not data or data.startswith(b"[DONE]"):
        return b""
    if dialect.stream_failed(data):
        raise UpstreamError("The provider ended its stream with an error.")
    delta = dialect.delta(data)
    if not delta:
        _kind(data)
    return delta.encode("utf-8", "replace")


class _Kind(msgspec.Struct):
    type: object = None
    error: object = None


_kinds = msgspec.json.Decoder(_Kind)


def _kind(data: bytes) -> _Kind:
    """What an event says it is; UpstreamError if it is no JSON object."""
    try:
        return _kinds.decode(data)
    except (ValueError, RecursionError) as error:
        event = parsed(data)  # more forgiving
        if not isinstance(event, dict):
            raise UpstreamError(_MALFORMED) from error
        return _Kind(event.get("type"), event.get("error"))


def _one_line(document: bytes) -> bytes:
    """A JSON document without line ends, which can only stand between its tokens."""
    return document.strip().replace(b"\r", b" ").replace(b"\n", b" ")


def _line_of_document(dialect: Dialect, body: bytes) -> list[bytes]:
    return [_checked(body) + b"\n"]


def _event_of_document(dialect: Dialect, body: bytes) -> list[bytes]:
    return [sse.encode(_checked(body)), dialect.end_of_stream()]


def _text_of_document(dialect: Dialect, body: bytes) -> list[bytes]:
    try:
        return [dialect.text(body).encode("utf-8", "replace")]
    except ValueError as error:
        raise UpstreamError("The provider sent an answer without text.") from error


def _same_document(dialect: Dialect, body: bytes) -> list[bytes]:
    return [body]


_FROM_DOCUMENT: Final = {
    StreamMode.NDJSON: _line_of_document,
    StreamMode.SSE: _event_of_document,
    StreamMode.TEXT: _text_of_document,
    StreamMode.JSON: _same_document,
}


def _checked(body: bytes) -> bytes:
    if parsed(body) is None:
        raise UpstreamError("The provider sent an answer that is no JSON document.")
    return _one_line(body)


async def _read(begun: bytes, chunks: AsyncIterator[bytes], most: int) -> bytes:
    parts = [begun]
    async for chunk in chunks:
        most -= len(chunk)
        if most < 0:
            raise UpstreamError("The provider sent a larger answer than can be translated.")
        parts.append(chunk)
    return b"".join(parts)


@asynccontextmanager
async def _closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()

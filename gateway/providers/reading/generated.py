"""Estimates how many tokens a stream holds, where its provider does not report the usage."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.providers.reading import ends
from gateway.providers.reading.lenient import Members, objects, parsed

BYTES_PER_TOKEN: Final = 4
STREAMED_BYTES_PER_TOKEN: Final = 16
MAX_READ: Final = 64 * 1024
"""Bytes that are read of each end."""

Generated = Callable[[Members], object]
_NO_TEXT: Final = frozenset({"role", "type", "id", "item_id", "mimeType", "data", "signature", "thoughtSignature"})


def streamed_tokens(generated: Generated | None, head: bytes, tail: bytes, size: int) -> float:
    """About how many tokens a stream of `size` bytes holds, of which `head` and `tail` are the ends.

    One token for every 4 bytes that a model wrote, and at least one for each event with text; the middle is assumed to
    hold as much as the ends do. For a stream that cannot be read, one for every 16 bytes.
    """
    head, tail = head[:MAX_READ], tail[-MAX_READ:]
    pieces = [head + tail] if len(head) + len(tail) == size else [head, tail]
    events = [event for piece in pieces for event in _events(piece)]
    if generated is None or not events:
        has_data = generated is None or ends.is_array(head) or head.find(b"data:") >= 0
        return size / STREAMED_BYTES_PER_TOKEN if has_data else 0.0
    written = [len(event) if isinstance(event, bytes) else text_bytes(generated(event)) for event in events]
    tokens = max(sum(written) / BYTES_PER_TOKEN, sum(1 for length in written if length))
    return tokens * size / (len(head) + len(tail))


def _events(piece: bytes) -> Iterable[Members | bytes]:
    """The complete events in a part of a stream, decoded; one that is no JSON object as bytes."""
    piece = ends.plain(piece)
    if ends.is_array(piece):
        return objects(parsed(piece)) or objects(parsed(piece.rstrip().rstrip(b",") + b"]"))
    return [_event(data) for data in ends.forward(piece[: max(piece.rfind(b"\n\n"), 0)])]


def _event(data: bytes) -> Members | bytes:
    if data == b"[DONE]":
        return {}
    value = parsed(data)
    return value if isinstance(value, dict) else data


def text_bytes(value: Any) -> int:
    """The bytes of all text in `value`; names, ids and files are none."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, list):
        return sum(map(text_bytes, value))
    if isinstance(value, dict):
        return sum([text_bytes(item) for name, item in value.items() if name not in _NO_TEXT])
    return 0

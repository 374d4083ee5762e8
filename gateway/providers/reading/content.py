"""What was said, as a view shows it: text, bounded, never the data of an image or a file."""

import json
from typing import Any, Final

from gateway.providers.reading.lenient import named, text
from gateway.telemetry.exchange import Message, ToolCall

MOST_CHARACTERS: Final = 64 * 1024
MOST_MESSAGES: Final = 2000


def clipped(said: str, most: int = MOST_CHARACTERS) -> str:
    """`said`, or as much of it as `most` allows and how much more there was."""
    if len(said) <= most:
        return said
    return f"{said[:most]} [{len(said) - most} more characters]"


def body_text(body: bytes, most: int = MOST_CHARACTERS) -> str:
    """A body as text; long runs of Base64 in it are named, not shown."""
    return clipped(_without_data(body).decode("utf-8", "replace"), most)


def _without_data(body: bytes) -> bytes:
    alike = body.translate(_ALIKE)
    shown: list[bytes] = []
    end = 0
    while (start := alike.find(_RUN, end)) >= 0:
        shown += (body[end:start], b"[data]")
        end = alike.find(b" ", start)
        if end < 0:
            return b"".join(shown)
    return b"".join((*shown, body[end:])) if shown else body


# Base64 in both alphabets, its slashes escaped or not, is all one letter here, and everything else a blank.
_LETTERS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\\")
_ALIKE: Final = bytes(ord("A") if byte in _LETTERS else ord(" ") for byte in range(256))
_RUN: Final = b"A" * 400


def spoken(parts: Any) -> str:
    """The text of a message's content: a string, or an array of strings and typed parts, joined. Bounded."""
    return clipped(all_text(parts, "\n"))


def all_text(parts: Any, between: str = "") -> str:
    """The same, however long."""
    if isinstance(parts, list):
        return between.join(filter(None, map(_part, parts)))
    return _part(parts)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    for name in ("text", "refusal", "transcript"):
        if said := text(part.get(name)):
            return said
    return _PLACEHOLDERS.get(text(part.get("type")), "")


_PLACEHOLDERS: Final = {
    "image_url": "[image]",
    "image": "[image]",
    "input_image": "[image]",
    "input_audio": "[audio]",
    "audio": "[audio]",
    "video_url": "[video]",
    "file": "[file]",
    "input_file": "[file]",
    "document": "[file]",
    "document_url": "[file]",
}


def tool_call(id: Any, name: Any, arguments: Any) -> ToolCall:
    """A call of a function; arguments that are no JSON string yet become one."""
    return ToolCall(
        named(id) or "", named(name) or "", clipped(arguments if isinstance(arguments, str) else as_json(arguments))
    )


def tool_result(role: str, content: Any, *, id: Any = None, name: Any = None) -> Message:
    """What a function answered: text, or JSON."""
    said = spoken(content) if isinstance(content, str | list) else as_json(content)
    return Message(role, said, name=named(name), tool_call_id=named(id))


def as_json(value: Any) -> str:
    """`value` as a JSON string, "" for None."""
    try:
        return "" if value is None else clipped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except RecursionError:
        return ""


def schemas(tools: Any) -> list[str]:
    """Each of the tools offered, as a JSON string."""
    if not isinstance(tools, list):
        return []
    return [as_json(tool) for tool in tools[:MOST_MESSAGES] if isinstance(tool, dict)]


def texts(value: Any) -> list[str]:
    """The texts to embed: one string or several; token ids are no text."""
    if isinstance(value, str):
        return [clipped(value)]
    return [clipped(item) for item in value[:MOST_MESSAGES] if isinstance(item, str)] if isinstance(value, list) else []


class Fragments:
    """Text that arrives in pieces, by key, in order of first appearance."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: dict[Any, list[str]] = {}

    def add(self, key: Any, piece: str) -> None:
        self._pieces.setdefault(key, []).append(piece)

    def joined(self, key: Any) -> str:
        return clipped("".join(self._pieces.get(key, ())))

"""JSON out of bodies that may be anything: cut off, hostile, or of types nobody promised.

Rule: nothing here raises, whatever the bytes. What cannot be read is not there, and takes nothing else with it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

Members = Mapping[str, Any]
"""An object's members by name; those of `opened` are read by `member` alone."""

LONGEST_NAME: Final = 256
MAX_WORD_CHARACTERS: Final = 64
MAX_FORGIVEN_BYTES: Final = 4 << 20
"""The standard library's parser builds every value, and holds the event loop as long, in whatever thread it runs."""
MAX_MEMBERS: Final = 1024
"""Of an object in a body above `MAX_FORGIVEN_BYTES`; millions of members hold the event loop just as long."""

_MOST_COUNT: Final = 1 << 63
_NOTHING: Final[Members] = {}
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+").fullmatch
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_decode = json.JSONDecoder().raw_decode


def parsed(data: bytes | msgspec.Raw) -> Any:
    """The value that `data` is, None if it is no JSON."""
    try:
        return msgspec.json.decode(data)
    except ValueError:
        return _forgivingly(bytes(data))
    except RecursionError:
        return None


def opened(body: bytes) -> Members:
    """An object's members, not yet decoded, so that a bad one spoils no other; none if it is no object."""
    if not body:
        return _NOTHING
    try:
        return _members.decode(body) if len(body) <= MAX_FORGIVEN_BYTES else _few_members(body)
    except ValueError:
        return mapping(_forgivingly(body))
    except RecursionError:
        return _NOTHING


class _Name(str):
    """A member's name, of a type of its own, so that msgspec calls a hook for it."""

    __slots__ = ()


def _few_members(body: bytes) -> Members:
    """Raises ValueError for more than `MAX_MEMBERS`."""
    left = MAX_MEMBERS

    def counted(_: type, name: str) -> _Name:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("too many members")
        return _Name(name)

    found: Members = msgspec.json.decode(body, type=dict[_Name, msgspec.Raw], dec_hook=counted)
    return found


def member(members: Members, name: str) -> Any:
    """The value of one member, None if it is missing."""
    value = members.get(name)
    return parsed(value) if isinstance(value, msgspec.Raw) else value


def leading(data: bytes, depth: int = 2) -> dict[str, Any]:
    """The members that are complete in an object whose end is missing, those of a cut member too, `depth` deep."""
    try:
        return _leading(data.decode("utf-8", "replace"), 0, depth)
    except (ValueError, RecursionError):
        return {}


def trailing(data: bytes, name: str, kind: type[Any] = object) -> Any:
    """The value of `kind` that the last member called `name` has in an object whose beginning is missing."""
    wanted = b'"%s"' % name.encode()
    end = len(data)
    for _ in range(4):
        end = data.rfind(wanted, 0, end)
        if end < 0:
            return None
        colon = data[end + len(wanted) :].lstrip()
        if colon.startswith(b":"):
            try:
                value = _raw_decode(colon[1:].decode("utf-8", "replace").lstrip())[0]
            except (ValueError, RecursionError):
                continue
            if isinstance(value, kind):
                return value
    return None


def mapping(value: Any) -> Members:
    """`value` if it is an object, else one without members."""
    return value if isinstance(value, dict) else _NOTHING


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in `value` if it is an array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """`value` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def named(value: Any) -> str | None:
    """`value` as a name or an id: a string that is neither empty nor endless."""
    return value[:LONGEST_NAME] if isinstance(value, str) and value else None


def word(value: Any) -> str | None:
    """`value` as a word of an API's own: what it calls a reason, an error or the like, never a text."""
    if not isinstance(value, str) or len(value) > MAX_WORD_CHARACTERS:
        return None
    return value if (value.isidentifier() and value.isascii()) or _WORD(value) else None


def count(value: Any) -> int | None:
    """`value` as a number of tokens."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_COUNT:
        return value
    return None


def _forgivingly(body: bytes) -> Any:
    """As the standard library reads it: lone surrogates, invalid UTF-8, NaN and a BOM are let pass, and made good."""
    if len(body) > MAX_FORGIVEN_BYTES:
        return None
    try:
        value = json.loads(body.decode("utf-8-sig", "replace"))
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _leading(source: str, start: int, depth: int) -> dict[str, Any]:
    members: dict[str, Any] = {}
    position = _blank(source, start)
    if source[position : position + 1] != "{":
        return members
    while True:
        position = _blank(source, position + 1)
        if source[position : position + 1] != '"':
            return members
        try:
            name, position = _raw_decode(source, position)
        except ValueError:
            return members
        position = _blank(source, position)
        if source[position : position + 1] != ":":
            return members
        position = _blank(source, position + 1)
        try:
            value, end = _raw_decode(source, position)
        except ValueError:
            if depth and source.startswith("{", position):
                members[name] = _leading(source, position, depth - 1)
            return members
        position = _blank(source, end)
        # A number at the very end may have been longer.
        if source[position : position + 1] not in (",", "}") or position >= len(source):
            return members
        members[name] = value


def _blank(source: str, position: int) -> int:
    """The position of the next character that is no JSON whitespace."""
    while source[position : position + 1] in _BLANK:
        position += 1
    return position


_BLANK: Final = (" ", "\n", "\r", "\t")

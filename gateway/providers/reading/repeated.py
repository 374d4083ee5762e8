"""Finds members that two readers of one JSON object may read differently: repeated ones, or spelled in another case.

Of a repeated member most readers take the last one, some the first; Go's take a name in any case.
"""

import re
from collections.abc import Iterable, Iterator
from json import JSONDecoder
from typing import Any, Final

import msgspec

from gateway.providers.reading.lenient import MAX_FORGIVEN_BYTES, Members

_raw_decode = JSONDecoder().raw_decode
_blank: Final = re.compile(r"[ \t\r\n]*").match
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[4-7]")


def repeated_member(body: bytes, members: Members, names: Iterable[str], within: Iterable[str] = ()) -> str | None:
    """The one of `names` that the object `body` has twice, or in another case; in its members `within` as well.

    `members` are what was read of `body`. Raises ValueError for a body in which that cannot be told.
    """
    wanted = {name.lower(): name for name in names}
    for name in members:
        known = wanted.get(name.lower())
        if known is not None and known != name:
            return known
    # Whatever is there twice is there twice as it stands, or with a letter that is escaped.
    if not _ESCAPED_LETTER.search(body) and not any(_may_repeat(body, name) for name in wanted.values()):
        return None
    try:
        return _twice(body, wanted, frozenset(within))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except msgspec.MsgspecError as error:
        if len(body) > MAX_FORGIVEN_BYTES:
            raise ValueError("not strictly JSON, and too long to be read forgivingly") from error
        return _twice_forgivingly(body.decode("utf-8-sig", "replace"), wanted, frozenset(within))


class _Name:
    """A member's name; every occurrence is a key of its own."""


_OTHER: Final = _Name()


def _twice(body: bytes | msgspec.Raw, wanted: dict[str, str], within: frozenset[str]) -> str | None:
    """Builds no values: those of a short coded body may take gigabytes, and hold the event loop for seconds."""
    seen: dict[str, _Name] = {}
    repeated: list[str] = []

    def key_of(_: type, name: str) -> _Name:
        folded = name.lower()
        if folded not in wanted:
            return _OTHER
        if folded in seen:
            repeated[:] = [wanted[folded]]
            return _OTHER
        return seen.setdefault(folded, _Name() if name in within else _OTHER)

    values = msgspec.json.decode(body, type=dict[_Name, msgspec.Raw], dec_hook=key_of)
    if repeated:
        return repeated[0]
    inner = [value for name, value in values.items() if name is not _OTHER and bytes(value).startswith(b"{")]
    return next((name for value in inner if (name := _twice(value, wanted, frozenset()))), None)


def _may_repeat(body: bytes, name: str) -> bool:
    quoted = b'"%b"' % name.encode()
    return body.count(quoted) > 1 and len(re.findall(quoted + rb"[ \t\r\n]*:", body)) > 1


def _twice_forgivingly(source: str, wanted: dict[str, str], within: frozenset[str]) -> str | None:
    seen: set[str] = set()
    for name, start, end in _members(source):
        folded = name.lower()
        if folded not in wanted:
            continue
        if folded in seen:
            return wanted[folded]
        seen.add(folded)
        if name in within and (inner := _twice_forgivingly(source[start:end], wanted, frozenset())):
            return inner
    return None


def _members(source: str) -> Iterator[tuple[str, int, int]]:
    """The name of each member of an object, and where its value stands. Raises ValueError."""
    position = _after_blank(source, 0)
    if source[position : position + 1] != "{" or source[_after_blank(source, position + 1)] == "}":
        return
    while source[position : position + 1] in ("{", ","):
        name, position = _decode(source, _after_blank(source, position + 1))
        start = _after_blank(source, _after_blank(source, position) + 1)
        _, end = _decode(source, start)
        yield str(name), start, end
        position = _after_blank(source, end)


def _decode(source: str, position: int) -> tuple[Any, int]:
    try:
        return _raw_decode(source, position)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _after_blank(source: str, position: int) -> int:
    found = _blank(source, position)
    return position if found is None else found.end()

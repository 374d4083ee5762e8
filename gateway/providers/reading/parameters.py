"""What of a request's body is a parameter of the call.

Known parameters are an allow-list: numbers, booleans and words of a closed set, so that nothing a client wrote freely
is among them. All parameters are every short and flat member besides, for traces that show content; messages, who wrote
them, and secrets never are.
"""

import math
import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.providers.reading.known_parameters import KNOWN, WORDS
from gateway.providers.reading.lenient import Members, parsed


class ParameterScope(IntEnum):
    """Which of a request's parameters are read."""

    NONE = 0
    KNOWN = 1
    ALL = 2


_MOST: Final = 40
_LONGEST: Final = 64
_MOST_BYTES: Final = 2048
_MAX_NUMBER: Final = 1 << 63
_CONTENT: Final = frozenset(
    {
        "model",
        "messages",
        "input",
        "prompt",
        "suffix",
        "prediction",
        "instructions",
        "system",
        "systemInstruction",
        "system_instruction",
        "contents",
        "content",
        "requests",
        "title",
        "documents",
        "tools",
        "functions",
        "mcp_servers",
        "data_sources",
        "metadata",
        "labels",
        "user",
        "user_id",
        "safety_identifier",
        "prompt_cache_key",
        "conversation",
        "previous_response_id",
    }
)
_SECRET: Final = re.compile(r"api.?key|secret|password|authorization|access.?token|credential", re.IGNORECASE)


def parameters_of(request: Members, scope: ParameterScope = ParameterScope.KNOWN) -> dict[str, Any]:
    """The invocation parameters among a request's members, bounded in number and size."""
    if scope == ParameterScope.ALL:
        return _read(request, is_parameter, _flat)
    return _read(request, KNOWN.__contains__, _known) if scope else {}


def _read(
    request: Members, is_wanted: Callable[[str], bool], shown: Callable[[str, Any], Any | None]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in request.items():
        if len(name) > _LONGEST or len(found) >= _MOST or not is_wanted(name):
            continue
        if type(value) is msgspec.Raw:
            if len(memoryview(value)) > _MOST_BYTES:
                continue
            value = parsed(value)
        if (value := shown(name, value)) is not None:
            found[name] = value
    return found


def _known(name: str, value: Any) -> Any | None:
    return _closed(value, KNOWN[name])


def _closed(value: Any, members: Mapping[str, Any] | None) -> Any | None:
    """As much of `value` as is numbers, booleans, known words, and the `members` of an object; None for nothing."""
    if type(value) is str:
        return value if value.lower() in WORDS else None
    if isinstance(value, dict):
        if members is None:
            return None
        shown = {name: _closed(item, members[name]) for name, item in value.items() if name in members}
        return {name: item for name, item in shown.items() if item is not None} or None
    if isinstance(value, list):
        return [item for item in value if type(item) is str and item.lower() in WORDS] or None
    return value if _is_number(value) else None


@lru_cache(maxsize=256)
def is_parameter(name: str) -> bool:
    """Whether the member called `name` is a parameter where all are read."""
    return name not in _CONTENT and _SECRET.search(name) is None


def _flat(name: str, value: Any) -> Any | None:
    if isinstance(value, list):
        return value if all(isinstance(item, str) or _is_number(item) for item in value) else None
    if isinstance(value, dict):
        return value if name in KNOWN or name == "logit_bias" else None
    return value if isinstance(value, str) or _is_number(value) else None


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int) and abs(value) < _MAX_NUMBER

"""What of a request's body is a parameter of the call: how to answer, never what was said, by whom, or a secret.

Rule: a member nobody knows is a parameter only if it is short and flat; objects are read where their name is known.
"""

import math
import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.providers.reading.lenient import Members, parsed
from gateway.telemetry.exchange import Parameters

_MOST: Final = 40
_LONGEST: Final = 64
_MOST_BYTES: Final = 2048
_MOST_KNOWN: Final = 512
_MOST_NAMES: Final = 24
_LONGEST_KNOWN: Final = 64  # bytes of a value
_KNOWN: Final[dict[tuple[object, ...], Parameters]] = {}
_CHOSEN: Final[dict[tuple[str, ...], tuple[str, ...]]] = {}

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
_OBJECTS: Final = frozenset(
    {
        "generationConfig",
        "generation_config",
        "logit_bias",
        "output_config",
        "reasoning",
        "response_format",
        "stream_options",
        "text",
        "thinking",
        "toolConfig",
        "tool_config",
        "tool_choice",
    }
)
_SECRET: Final = re.compile(r"api.?key|secret|password|authorization|access.?token|credential", re.IGNORECASE)


def parameters_of(asked: Members) -> dict[str, Any]:
    """The invocation parameters among a request's members, bounded in number and size.

    Most clients send the same few again and again: short ones are read once, and not to be changed.
    """
    written = _written(asked)
    if written is None:
        return _read(asked)
    known = _KNOWN.get(written)
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[written] = Parameters(_read(asked))
    return known


def _written(asked: Members) -> tuple[object, ...] | None:
    """All names, and the values of those that may be parameters as they came; None if they are many, or one is long."""
    names = tuple(asked)
    chosen = _CHOSEN.get(names)
    if chosen is None:
        chosen = _choose(names)
        if chosen is None:
            return None
    written: list[object] = [names]
    for name in chosen:
        value = asked[name]
        if type(value) is not msgspec.Raw or len(memoryview(value)) > _LONGEST_KNOWN:
            return None
        written.append(bytes(value))
    return tuple(written)


def _choose(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Those that may be a parameter; None if the names are many, or one is long."""
    if len(names) > _MOST_NAMES or max(map(len, names), default=0) > _LONGEST:
        return None
    if len(_CHOSEN) >= _MOST_KNOWN:
        _CHOSEN.clear()
    chosen = _CHOSEN[names] = tuple(filter(_may_be_one, names))
    return chosen


def _read(asked: Members) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in asked.items():
        if len(name) > _LONGEST or len(found) >= _MOST or not _may_be_one(name):
            continue
        if type(value) is msgspec.Raw:
            if len(memoryview(value)) > _MOST_BYTES:
                continue
            value = parsed(value)
        if type(value) in _PLAIN or _is_flat(value) or (name in _OBJECTS and isinstance(value, dict)):
            found[name] = value
    return found


_PLAIN: Final = frozenset({str, int, bool})


@lru_cache(maxsize=256)
def _may_be_one(name: str) -> bool:
    return name not in _CONTENT and _SECRET.search(name) is None


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_scalar(item) for item in value)
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool | int)

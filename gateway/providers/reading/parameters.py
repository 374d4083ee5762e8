"""What of a request's body is a parameter of the call: how to answer, never what was said, by whom, or a secret.

Rule: a member nobody knows is a parameter only if it is short and flat; objects are read where their name is known.
"""

import math
import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from gateway.providers.reading.lenient import Members, parsed

_MOST: Final = 40
_LONGEST: Final = 64
_MOST_BYTES: Final = 2048
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
    """The invocation parameters among a request's members, bounded in number and size."""
    found: dict[str, Any] = {}
    for name, value in asked.items():
        if len(name) > _LONGEST or len(found) >= _MOST or not may_be_one(name):
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
def may_be_one(name: str) -> bool:
    """Whether the member called `name` may be a parameter."""
    return name not in _CONTENT and _SECRET.search(name) is None


def _is_flat(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_scalar(item) for item in value)
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool | int)

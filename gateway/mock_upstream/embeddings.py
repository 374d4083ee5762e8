"""Embeddings without a model: the same text has the same direction, any other text another one."""

from __future__ import annotations

import hashlib
import math
import struct
from array import array

from gateway.mock_upstream.body import whole_number

_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096


def vector(text: str, dimensions: int) -> list[float]:
    """A direction made from the text's digest, of length 1, in numbers that survive 32 bits."""
    numbers = struct.unpack(f">{dimensions}h", hashlib.shake_256(text.encode()).digest(2 * dimensions))
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return list(array("f", [number / length for number in numbers]))


def dimensions(wanted: object) -> int:
    """How many numbers a vector has."""
    return min(whole_number(wanted) or _DIMENSIONS, _MOST_DIMENSIONS)

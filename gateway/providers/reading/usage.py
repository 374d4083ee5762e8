"""Validates reported usage: an implausible number discards all of it."""

from typing import Any, Final

from gateway.providers.reading.lenient import count
from gateway.telemetry.exchange import Facts, Usage

MAX_UNSEEN: Final = 10_000_000
"""Tokens that need not show in a body: of a conversation, file or cache that is referred to, or of hidden reasoning."""

MALFORMED: Final = -(1 << 80)
"""Stands for a malformed or negative number. Any sum with it is negative, too."""


def tokens(value: Any) -> int | None:
    """`value` as a number of tokens: None if it is missing, `MALFORMED` if it is anything but such a number."""
    if value is None:
        return None
    number = count(value)
    return MALFORMED if number is None else number


def total_of(first: int | None, second: int | None) -> int | None:
    """Both numbers of tokens together; None if both are missing."""
    return None if first is None and second is None else (first or 0) + (second or 0)


def refuse_implausible(facts: Facts, sent: int, received: int) -> None:
    """Drop a usage that cannot belong to bodies of `sent` and `received` bytes, and note it."""
    if facts.usage is not None and not is_plausible(facts.usage, sent, received):
        facts.usage, facts.usage_error = None, "implausible"


def is_plausible(usage: Usage, sent: int, received: int) -> bool:
    """No byte of a body is more than a token, and a total is no less than its parts."""
    inward, outward = usage.input_tokens or 0, usage.output_tokens or 0
    if not (0 <= inward <= MAX_UNSEEN + sent and 0 <= outward <= MAX_UNSEEN + received):
        return False
    if (usage.cache_read_tokens or 0) < 0 or (usage.cache_write_tokens or 0) < 0:
        return False
    total = usage.total_tokens
    return total is None or inward + outward <= total <= 2 * MAX_UNSEEN + sent + received

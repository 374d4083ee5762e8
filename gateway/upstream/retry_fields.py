"""What a client and a provider say about calling again, in header fields.

`X-Gateway-Retries` and `X-Gateway-Deadline` are the gateway's own, and must be right; `x-stainless-read-timeout` comes
with the SDKs of OpenAI and Anthropic, and what cannot be read of it is ignored, as in a provider's Retry-After.
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple, Protocol

from multidict import MultiMapping, istr

from gateway.errors import InvalidRequest

RETRIES: Final = istr("x-gateway-retries")
DEADLINE: Final = istr("x-gateway-deadline")
PATIENCE: Final = istr("x-stainless-read-timeout")
ATTEMPTS: Final = "x-gateway-attempts"
ANSWERED_BY: Final = "x-gateway-provider"
SHOULD_RETRY: Final = "x-should-retry"
LONGEST: Final = 1e9  # seconds; more than any client waits


class Wish(NamedTuple):
    """How often a client wants to be served again, and for how many seconds it waits: by itself, or as it says."""

    retries: int | None = None
    patience: float | None = None
    deadline: float | None = None


class Response(Protocol):
    """A provider's answer."""

    def field(self, name: bytes) -> bytes: ...


def wish_of(fields: MultiMapping[str]) -> Wish | None:
    """What the gateway is asked for, None if it is nothing. Raises InvalidRequest."""
    if RETRIES not in fields and DEADLINE not in fields:
        return None
    return Wish(_retries(fields), patience_of(fields), _deadline(fields))


def patience_of(fields: MultiMapping[str]) -> float | None:
    """The seconds that a client's SDK waits for the next byte."""
    told = _is_number(fields.get(PATIENCE, ""))
    return min(float(told[0]), LONGEST) if told else None


def retry_after(response: Response) -> float:
    """The seconds for which a provider asks to be left alone; 0 if it does not, or not readably."""
    milliseconds = _is_number(response.field(b"retry-after-ms").decode("latin-1"))
    if milliseconds:
        return float(milliseconds[0]) / 1000
    told = response.field(b"retry-after").decode("latin-1")
    if _is_number(told):
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _retries(fields: MultiMapping[str]) -> int | None:
    told = fields.get(RETRIES)
    if told is None:
        return None
    if not re.fullmatch("[0-9]{1,3}", told):
        raise InvalidRequest("X-Gateway-Retries is a whole number.", param=str(RETRIES))
    return int(told)


def _deadline(fields: MultiMapping[str]) -> float | None:
    told = fields.get(DEADLINE)
    if told is None:
        return None
    if not _is_number(told) or not 0 < float(told) <= LONGEST:
        raise InvalidRequest("X-Gateway-Deadline is a number of seconds above 0.", param=str(DEADLINE))
    return float(told)


_is_number = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?").fullmatch

"""W3C Trace Context: a client's trace continued or a new one opened, and ours told to providers.

Rule 1: whatever is invalid is ignored, `traceparent` and `tracestate` together, and a trace is opened.
Rule 2: whether a trace is recorded is decided once, here, when its exchange opens.
Rule 3: a provider gets the id of our own call span as its parent, never the client's field copied.

Source: W3C Trace Context, level 2 (sections 3.2 and 3.3).
"""

import re
from dataclasses import dataclass
from os import register_at_fork, urandom

from multidict import MultiMapping

from gateway.telemetry.exchange import TraceIds

SAMPLED = 0b01
RANDOM = 0b10  # the trace id's right half was chosen at random
MAX_TRACESTATE_MEMBERS = 32
MAX_TRACESTATE_LENGTH = 4096

_KNOWN_FLAGS = SAMPLED | RANDOM
_IDS_RANGE = 1 << 64


@dataclass(frozen=True, slots=True)
class Sampler:
    """Which traces are recorded: those a client has sampled, and `ratio` (0 to 1) of those that begin here.

    The choice rests on the trace id as in OpenTelemetry's TraceIdRatioBased, so that all who use a ratio agree.
    """

    ratio: float = 1.0

    def takes(self, trace_id: str) -> bool:
        """Whether a trace that begins here is recorded."""
        ratio = self.ratio
        return ratio >= 1 or (ratio > 0 and int(trace_id[16:], 16) < round(ratio * _IDS_RANGE))


class _Digits:
    """Random hex digits, fetched from the system many at a time: each fetch is a system call."""

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew: after a fork two processes would give out the same digits."""
        self._digits, self._at = "", 0

    def take(self, count: int) -> str:
        at = self._at
        end = self._at = at + count
        if end > len(self._digits):
            self._digits, at, self._at = urandom(4096).hex(), 0, count
            end = count
        return self._digits[at:end]


_digits = _Digits()
random_hex = _digits.take
"""So many random hex digits: fit for ids, not for secrets, since digits not yet given out lie in memory."""
register_at_fork(after_in_child=_digits.forget)


def trace_for(fields: MultiMapping[str], sampler: Sampler) -> TraceIds:
    """The trace of a request with these header fields; several `traceparent` fields are as bad as an invalid one."""
    parents = fields.getall("traceparent", ())
    if len(parents) != 1:
        return open_trace(None, None, sampler)
    return open_trace(parents[0], ",".join(fields.getall("tracestate", ())), sampler)


def open_trace(traceparent: str | None, tracestate: str | None, sampler: Sampler) -> TraceIds:
    """The client's trace continued in a span of ours, or a new one. Several `tracestate` fields: joined by commas."""
    parent = _parsed(traceparent) if traceparent else None
    if parent is None:
        return new_trace(sampler)
    trace_id, parent_id, flags = parent
    return TraceIds(
        trace_id=trace_id,
        span_id=random_hex(16),
        parent_id=parent_id,
        sampled=bool(flags & SAMPLED),
        flags=flags & _KNOWN_FLAGS,
        tracestate=_valid_tracestate(tracestate) if tracestate else None,
    )


def new_span_id(trace: TraceIds) -> str:
    """An id for one more span of `trace`: 16 hex digits, none of the trace's other two ids."""
    span_id = random_hex(16)
    while span_id in (_NO_SPAN, trace.span_id, trace.parent_id):
        span_id = random_hex(16)
    return span_id


def outgoing(trace: TraceIds, call_span_id: str) -> list[tuple[bytes, bytes]]:
    """The header fields that tell a provider about `trace`, with the span of our call as its parent."""
    traceparent = f"00-{trace.trace_id}-{call_span_id}-{trace.flags:02x}"
    if trace.tracestate is None:
        return [(b"traceparent", traceparent.encode("ascii"))]
    return [(b"traceparent", traceparent.encode("ascii")), (b"tracestate", trace.tracestate.encode("ascii"))]


def trace_lines(trace: TraceIds, call_span_id: str) -> bytes:
    """The same as lines of a head."""
    lines = f"traceparent: 00-{trace.trace_id}-{call_span_id}-{trace.flags:02x}\r\n"
    if trace.tracestate is not None:
        lines += f"tracestate: {trace.tracestate}\r\n"
    return lines.encode("ascii")


def new_trace(sampler: Sampler, digits: str = "") -> TraceIds:
    """A trace that begins here; its ids are the first 48 of these random hex digits, if there are any."""
    digits = digits or random_hex(48)
    trace_id, span_id = digits[:32], digits[32:48]
    sampled = sampler.takes(trace_id)
    return TraceIds(trace_id, span_id, None, sampled, SAMPLED | RANDOM if sampled else RANDOM)


def _parsed(traceparent: str) -> tuple[str, str, int] | None:
    """Trace id, parent id and flags; None if the field is invalid. A later version may add fields at the end."""
    match = _TRACEPARENT(traceparent)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    return trace_id, parent_id, int(flags, 16)


def _valid_tracestate(tracestate: str) -> str | None:
    """The members in order; None if there is none, or if any is not as it should be."""
    if len(tracestate) > MAX_TRACESTATE_LENGTH:
        return None
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = len(members) == len(keys) <= MAX_TRACESTATE_MEMBERS and all(map(_TRACESTATE_MEMBER, members))
    return ",".join(members) if members and valid else None


_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_TRACESTATE_MEMBER = re.compile(
    r"(?:[a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})"
    r"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
).fullmatch

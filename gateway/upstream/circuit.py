"""Whether a provider may be called now: how many calls are open, and how it has been answering.

Everything is learnt from the calls that clients make; nothing is sent to find out. What is judged is whether a provider
begins to answer: it is reached in time, and the status is not one of a provider that is down. A stream that breaks
later has been answered. Each worker learns for itself.

A failure that a single client's request can provoke, or that is the gateway's own doing, must not open the circuit:
`COUNTS` says which failures do.
"""

import sys
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from time import monotonic
from typing import Final

from msgspec import Struct

from gateway.errors import (
    CircuitOpen,
    DeadlineExceeded,
    GatewayError,
    IdleTimeout,
    Overloaded,
    PoolTimeout,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.settings.upstream import CircuitSettings, Policy

COUNTS: Final[dict[type[GatewayError], bool]] = {
    UpstreamUnreachable: True,
    UpstreamTimeout: True,  # no connection, no head, or the request not taken in time
    UpstreamDisconnected: True,
    UpstreamError: False,  # it spoke, if not in HTTP; or the age of the connection, or the request, may have ended it
    UpstreamTruncated: False,  # after the head
    IdleTimeout: False,  # after the head
    UpstreamRejected: False,  # an answer
    PoolTimeout: False,  # our bound
    DeadlineExceeded: False,  # the client's
    GatewayError: False,  # the client's doing, or ours
}
"""Whether a failure before the head of an answer counts; a class that is not listed counts as its base does."""


class State(StrEnum):
    """`closed` lets calls through, `open` none, `half_open` one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# A member of an enumeration is looked up by a metaclass each time, which calls on the way should not pay for.
_CLOSED = State.CLOSED


class Circuit:
    """Opens after a run of failures; now and then lets one call through to see, and closes when that is answered.

    An answer to any call closes it; of the failures only those of calls that were let through to see keep it open, so
    that what was under way when it opened does not.
    """

    __slots__ = ("_clock", "_failures", "_next", "_run", "_seconds", "openings", "state")

    def __init__(self, settings: CircuitSettings, clock: Callable[[], float] = monotonic) -> None:
        self._failures = settings.failures or sys.maxsize
        self._seconds = settings.seconds
        self._clock = clock
        self._run = 0  # failures since the last answer
        self._next = 0.0  # when the next call may be let through to see
        self.state = State.CLOSED
        self.openings = 0

    def is_in(self, state: State) -> bool:
        return self.state is state

    def check(self) -> None:
        """Raise CircuitOpen if no call is let through now."""
        if self.state is not State.CLOSED:
            wait = self._next - self._clock()
            if wait > 0:
                raise CircuitOpen(retry_after=ceil(wait))

    def enter(self) -> bool:
        """Let a call through; whether it is one to see. Raises CircuitOpen.

        One that takes its time holds up the next for no longer than the circuit stays open.
        """
        if self.state is State.CLOSED:
            return False
        self.check()
        self.state = State.HALF_OPEN
        self._next = self._clock() + self._seconds
        return True

    def answered(self) -> None:
        """A call was answered."""
        self._run = 0
        self.state = State.CLOSED

    def failed(self, seeing: bool) -> None:
        """A call was not answered, or by a provider that is down."""
        self._run += 1
        if self.state is State.CLOSED and self._run >= self._failures:
            self.openings += 1
        elif self.state is State.CLOSED or not seeing:
            return
        self.state = State.OPEN
        self._next = self._clock() + self._seconds

    def left(self, seeing: bool) -> None:
        """A call ended before anything could be known; if it was one to see, the next may be one at once."""
        if seeing and self.state is State.HALF_OPEN:
            self.state = State.OPEN
            self._next = self._clock()


class Door:
    """What a call to one provider passes first."""

    __slots__ = ("_most", "_statuses", "circuit", "name", "open")

    def __init__(self, name: str, policy: Policy, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.circuit = Circuit(policy.circuit, clock)
        self.open = 0  # calls
        self._most = policy.max_concurrent or sys.maxsize
        self._statuses = policy.circuit.statuses

    def check(self) -> None:
        """Raise Overloaded or CircuitOpen if a call would not get in now."""
        if self.open >= self._most:
            raise Overloaded(f"As many calls to {self.name} are open as this gateway makes at once.", retry_after=1)
        if self.circuit.state is not _CLOSED:
            self.circuit.check()

    def enter(self) -> "Passage":
        """A call goes in; to be left with `leave`. Raises like `check`."""
        circuit = self.circuit
        is_usual = self.open < self._most and circuit.state is _CLOSED
        if not is_usual:
            self.check()
        passage = Passage(self, False if is_usual else circuit.enter())
        self.open += 1
        return passage


class Passage(Struct, eq=False):
    """One call that got in."""

    _door: Door
    _seeing: bool
    _judged: bool = False

    def answered(self, status: int) -> None:
        """The head of the response is here."""
        self._judged = True
        circuit = self._door.circuit
        if status in self._door._statuses:
            circuit.failed(self._seeing)
        elif circuit._run or circuit.state is not _CLOSED:
            circuit.answered()

    def failed(self, error: GatewayError) -> None:
        """The call failed; after its head was here that says nothing."""
        if not self._judged and counts(error):
            self._judged = True
            self._door.circuit.failed(self._seeing)

    def leave(self) -> None:
        self._door.open -= 1
        if not self._judged:
            self._door.circuit.left(self._seeing)


def counts(error: GatewayError) -> bool:
    """Whether a failure before the head of an answer counts against the provider."""
    return next(COUNTS[kind] for kind in type(error).__mro__ if kind in COUNTS)

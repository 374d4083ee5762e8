"""How long a provider may be silent, of all its connections together."""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from gateway.errors import IdleTimeout, UpstreamFailure, UpstreamTimeout
from gateway.settings import Timeouts

if TYPE_CHECKING:
    from gateway.upstream.protocol import UpstreamProtocol


class Waiting(Enum):
    """What a connection waits for, and so which limit is running."""

    NOTHING = 0
    DRAIN = 1
    HEAD = 2
    BODY = 3
    FIRST_BYTE = 4  # of the body, whose head is in


class Watch:
    """One coarse sweep over all connections in use, `protocols`, instead of a timer for each of their reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeouts: Timeouts) -> None:
        self._loop = loop
        self._timeouts = timeouts
        self._period = min(max(min(timeouts.first_byte, timeouts.idle) / 10, 0.02), 1.0)
        self.protocols: set[UpstreamProtocol] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, protocol: "UpstreamProtocol") -> None:
        self.protocols.add(protocol)
        if self._handle is None:
            self._handle = self._loop.call_later(self._period, self._sweep)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self.protocols.clear()

    def _sweep(self) -> None:
        self._handle = None
        now = self._loop.time()
        for protocol in tuple(self.protocols):
            # Paused: the client is slow, the provider is not.
            if protocol.heard or protocol.waiting_for is Waiting.NOTHING or protocol.is_held_back:
                if protocol.heard and protocol.waiting_for is Waiting.FIRST_BYTE:
                    protocol.waiting_for = Waiting.BODY
                protocol.heard = False
                protocol.quiet_since = now
            else:
                self._judge(protocol, now - protocol.quiet_since)
        if self.protocols:
            self._handle = self._loop.call_later(self._period, self._sweep)

    def _judge(self, protocol: "UpstreamProtocol", quiet: float) -> None:
        if protocol.waiting_for in (Waiting.HEAD, Waiting.FIRST_BYTE) and quiet >= self._timeouts.first_byte:
            text = "The provider did not begin to answer within its first-byte timeout."
            protocol.fail(UpstreamTimeout(text, failure=UpstreamFailure.FIRST_BYTE_TIMEOUT))
        elif protocol.waiting_for is Waiting.BODY and quiet >= self._timeouts.idle:
            protocol.fail(IdleTimeout("The provider fell silent in the middle of its response."))
        elif protocol.waiting_for is Waiting.DRAIN and quiet >= self._timeouts.idle:
            text = "The provider stopped taking the request body."
            protocol.fail(UpstreamTimeout(text, failure=UpstreamFailure.SEND_TIMEOUT))

"""Tickets: a browser's EventSource can send no key, so a POST with the key buys a GET that needs none.

Rule 1: a ticket is good once, for seconds, and for the exact target it was minted for.
Rule 2: what was good once is told apart from what never was: a browser that reconnects must not bill again, and must
        not be made to believe that its key is wrong.
Rule 3: the ticket holds nothing but a number, a time and a signature; the request it stands for never leaves the store.
"""

import binascii
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

import msgspec

from gateway.errors import Overloaded, Unauthenticated

MIB: Final = 1 << 20
REFUSAL: Final = "This ticket is not valid here."

_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_HEAD_BYTES: Final = _ID_BYTES + _TIME_BYTES
_BYTES: Final = _HEAD_BYTES + 32
_PURPOSE: Final = b"gateway ticket 1\0"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The request that a ticket stands for: whose it is, and what was posted."""

    client_id: str
    method: str
    body: bytes = field(repr=False)


class Used:
    """A genuine ticket that was redeemed before, or too late."""


class TicketStore(Protocol):
    """Keeps what tickets stand for; many gateways may share one."""

    async def put(self, id: str, payload: bytes, seconds: float) -> None:
        """Keep `payload` for so long. Raises Overloaded where there is no room."""
        ...

    async def take(self, id: str) -> bytes | None:
        """Hand `payload` out, once; None if it was never there, or is no longer."""
        ...


class Tickets:
    """Mints and redeems. Every process that shall redeem another's tickets needs the same secret and store."""

    def __init__(self, secret: bytes, seconds: float, store: TicketStore) -> None:
        self.seconds = seconds
        self._secret = secret
        self._store = store

    async def mint(self, client_id: str, method: str, target: str, body: bytes, now: float) -> str:
        """A ticket for `target` (path and query, without the ticket), good from `now` on, in Unix seconds.

        Raises Overloaded while too many are waiting.
        """
        id = secrets.token_bytes(_ID_BYTES)
        head = id + int((now + self.seconds) * 1000).to_bytes(_TIME_BYTES, "big")
        payload = msgspec.msgpack.encode(Ticket(client_id, method, body))
        await self._store.put(id.hex(), payload, self.seconds)
        return urlsafe_b64encode(head + self._signature(head, target)).rstrip(b"=").decode("ascii")

    async def redeem(self, ticket: str, target: str, now: float) -> Ticket | Used:
        """What `ticket` stands for. Raises Unauthenticated if it was not minted here, for this target."""
        raw = _decoded(ticket)
        if len(raw) != _BYTES:
            raise Unauthenticated(REFUSAL)
        head, signature = raw[:_HEAD_BYTES], raw[_HEAD_BYTES:]
        if not hmac.compare_digest(signature, self._signature(head, target)):
            raise Unauthenticated(REFUSAL)
        payload = await self._store.take(head[:_ID_BYTES].hex())
        if payload is None or now * 1000 >= int.from_bytes(head[_ID_BYTES:], "big"):
            return Used()
        return msgspec.msgpack.decode(payload, type=Ticket)

    def __repr__(self) -> str:
        return f"Tickets(seconds={self.seconds:g})"

    def _signature(self, head: bytes, target: str) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + head + target.encode("utf-8", "surrogateescape"), "sha256")


class MemoryStore:
    """A store for one process, bounded in bytes and in number. When it is full, who waits keeps his place."""

    def __init__(
        self, *, max_bytes: int = 64 * MIB, max_count: int = 10_000, clock: Callable[[], float] = monotonic
    ) -> None:
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._clock = clock
        self._waiting: dict[str, tuple[float, bytes]] = {}
        self._bytes = 0

    async def put(self, id: str, payload: bytes, seconds: float) -> None:
        self._forget_expired()
        if len(self._waiting) >= self._max_count or self._bytes + len(payload) > self._max_bytes:
            raise Overloaded("Too many browser tickets are waiting to be used.", retry_after=max(1, round(seconds)))
        self._waiting[id] = (self._clock() + seconds, payload)
        self._bytes += len(payload)

    async def take(self, id: str) -> bytes | None:
        self._forget_expired()
        _, payload = self._waiting.pop(id, (0.0, None))
        if payload is not None:
            self._bytes -= len(payload)
        return payload

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"MemoryStore({len(self)} tickets, {self._bytes} bytes)"

    def _forget_expired(self) -> None:
        # All are kept equally long, so the first that was put is the first to go.
        now = self._clock()
        while self._waiting:
            id, (until, payload) = next(iter(self._waiting.items()))
            if until > now:
                return
            del self._waiting[id]
            self._bytes -= len(payload)


def _decoded(ticket: str) -> bytes:
    """The ticket's bytes, b"" if it is none."""
    try:
        return urlsafe_b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return b""

"""A worker's end of its line to the supervisor, and what it has through it in common with the other workers."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.errors import Overloaded
from gateway.telemetry.series import Figures
from gateway.workers import orders
from gateway.workers.figures import Told, merged
from gateway.workers.line import Line, LineBroken

FIGURES_SECONDS: Final = 5.0
UNAVAILABLE: Final = "Browser tickets cannot be kept or looked up at the moment."
FULL: Final = "Too many browser tickets are waiting to be used."
NO_FIGURES: Final = "The workers' figures could not be gathered."

Obey = Callable[[], Awaitable[Any]]


class Link:
    """Over `end`, of a socket pair. An async context manager. `obey` tells what to do about each order, once known."""

    def __init__(self, end: socket.socket) -> None:
        self.obey: Mapping[str, Obey] = {}
        self._end = end
        self._line: Line | None = None

    async def __aenter__(self) -> "Link":
        reader, writer = await asyncio.open_unix_connection(sock=self._end)
        self._line = Line(reader, writer, self._ordered)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._line is not None:
            await self._line.close()

    async def hello(self) -> orders.Bequest:
        """Raises LineBroken, as everything here, if there is no supervisor."""
        return msgspec.convert(await self.ask(orders.HELLO), orders.Bequest)

    async def ask(self, about: str, content: Any = None, *, seconds: float = orders.ENOUGH_SECONDS) -> Any:
        """The supervisor's answer. Raises LineBroken."""
        assert self._line is not None
        return await self._line.ask(about, content, seconds=seconds)

    async def ended(self) -> None:
        """Wait until the supervisor is gone."""
        assert self._line is not None
        await self._line.ended()

    async def _ordered(self, about: str, _: Any) -> Any:
        obey = self.obey.get(about)
        return None if obey is None else await obey()


class SharedTickets:
    """A TicketStore: the supervisor's, so that a ticket is good at whichever worker the browser comes to."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def put(self, id: str, payload: bytes, seconds: float) -> None:
        """Raises Overloaded where there is no room, or no supervisor."""
        if not await self._ask(orders.PUT_TICKET, (id, payload, seconds)):
            raise Overloaded(FULL, retry_after=max(1, round(seconds)))

    async def take(self, id: str) -> bytes | None:
        """Raises Overloaded where there is no supervisor."""
        payload: bytes | None = await self._ask(orders.TAKE_TICKET, id)
        return payload

    async def _ask(self, about: str, content: Any) -> Any:
        try:
            return await self._link.ask(about, content)
        except LineBroken as broken:
            raise Overloaded(UNAVAILABLE, retry_after=1) from broken


class SharedFigures:
    """The figures of all workers, for a scrape."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def gathered(self) -> Iterable[Figures]:
        """Raises Overloaded where there is no supervisor: one worker's alone would be taken for a restart."""
        try:
            told = await self._link.ask(orders.FIGURES, seconds=FIGURES_SECONDS)
        except LineBroken as broken:
            raise Overloaded(NO_FIGURES, retry_after=1) from broken
        return await merged(msgspec.convert(told, Told))

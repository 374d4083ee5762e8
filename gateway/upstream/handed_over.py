"""A body that goes to whoever takes it in the socket's own callback.

This file leans on names that aiohttp does not promise; `test_names_of_aiohttp.py` fails by name when one moves.
"""

from time import monotonic_ns
from typing import Any, NamedTuple

from aiohttp.streams import StreamReader

from gateway.upstream.tap import Tap
from gateway.upstream.transport import Sink


class HandedOver(StreamReader):
    """A body whose pieces wait for the end of the socket's callback only. A reader becomes one by changing its class.

    It has no limit of its own: what one callback brought is passed on at once, and a sink that has enough stops the
    socket.
    """

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        if data:
            self._buffer.append(data)
        return False

    # Where one chunk ends and the next begins is the parser's business alone. It calls these for each, and a call of
    # something that is not written in Python costs next to nothing.
    begin_http_chunk_receiving: Any = staticmethod(type(None))
    end_http_chunk_receiving: Any = staticmethod(type(None))


class Flow(NamedTuple):
    """A body on its way to a sink, and who hears of it."""

    sink: Sink
    tap: Tap
    body: StreamReader

    def give(self, piece: bytes, framed: bytes) -> bool:
        """Give `piece` to sink and tap; whether the sink has room for more. What it raises, the body ends with, too."""
        sink, tap, body = self
        if tap.first is None:
            tap.first = monotonic_ns()
        try:
            has_room = sink.take(piece, framed)
        except Exception as error:
            body.set_exception(error)  # it may have had its end, and would look complete
            raise
        tap.hear(piece)
        return has_room

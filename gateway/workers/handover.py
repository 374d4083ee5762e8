"""One gateway takes another's place on the same port: it is handed the very sockets that the other listens on.

Both then accept from one queue, so no connection is lost when the older one leaves. Sockets of its own on the same port
(SO_REUSEPORT) would each have a queue, and what waits in that of the one that leaves would be reset.

At a path that both know, who listens hands its sockets to whoever connects. The next one puts a socket of its own in
that place once it serves; by that the older one knows that it has a successor.
"""

import asyncio
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.workers.sockets import CannotServe

MOST_SOCKETS: Final = 64
SECONDS: Final = 2.0
SAID: Final = b"sockets"


def inherited(path: str) -> list[socket.socket]:
    """The sockets of the gateway that runs at `path`; none if there is no gateway, or no path."""
    if not path:
        return []
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(SECONDS)
        try:
            asking.connect(path)
            _, descriptors, _, _ = socket.recv_fds(asking, len(SAID), MOST_SOCKETS)
        except OSError:  # nobody, or the remains of one that was killed
            return []
    return [taken_over(descriptor) for descriptor in descriptors]


def taken_over(descriptor: int) -> socket.socket:
    """The listening socket that another process made.

    It is in no mode that Python knows of, and Python puts what it does not know into the blocking one when it copies
    it: for all processes that have it, of which those that come too late for a connection would wait for the next.
    """
    os.set_inheritable(descriptor, False)
    made = socket.socket(fileno=descriptor)
    made.setblocking(False)
    return made


class Handover:
    """Offers `sockets` at `path`; does nothing without one. To be opened once they are served."""

    def __init__(self, path: str, sockets: Iterable[socket.socket]) -> None:
        self._path = path
        self._offered = sockets
        self._sockets: list[socket.socket] = []
        self._offer: socket.socket | None = None
        self._identity = 0

    def open(self) -> None:
        """Raises CannotServe if nothing can be offered there."""
        if not self._path:
            return
        offer = socket.socket(socket.AF_UNIX)
        try:
            self._put_in_place(offer)
        except OSError as error:
            offer.close()
            said = error.strerror or error
            raise CannotServe(f"cannot offer sockets at {self._path}: {said} (see GATEWAY_HANDOVER)") from error
        self._offer = offer
        self._sockets = [each.dup() for each in self._offered]  # whoever serves on the others closes them
        asyncio.get_running_loop().add_reader(offer, self._hand_over)

    @property
    def is_succeeded(self) -> bool:
        """Whether another gateway serves on these sockets, and offers them."""
        return self._offer is not None and _identity(self._path) not in (0, self._identity)

    def close(self) -> None:
        """Offer them no more."""
        if self._offer is not None:
            asyncio.get_running_loop().remove_reader(self._offer)
            self._offer.close()
            if _identity(self._path) == self._identity:
                Path(self._path).unlink()
            self._offer = None
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def _put_in_place(self, offer: socket.socket) -> None:
        """Listen at the path, for this user alone; who listened there no longer does, from one moment to the next."""
        beside = Path(f"{self._path}.{os.getpid()}")
        before = os.umask(0o177)
        try:
            offer.bind(str(beside))
        finally:
            os.umask(before)
        offer.setblocking(False)
        offer.listen()
        self._identity = _identity(str(beside))
        beside.rename(self._path)

    def _hand_over(self) -> None:
        assert self._offer is not None
        with suppress(OSError):  # who asked has left
            asking, _ = self._offer.accept()
            with asking:
                socket.send_fds(asking, [SAID], [each.fileno() for each in self._sockets])


def _identity(path: str) -> int:
    """What tells one file at `path` from the next; 0 if there is none."""
    try:
        return Path(path).stat().st_ino
    except OSError:
        return 0

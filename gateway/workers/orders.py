"""What a supervisor and its workers say to each other over a line."""

from typing import Final

import msgspec

from gateway.wire.headers import new_via_name

# A worker says:
HELLO: Final = "hello"  # and is answered a Bequest
READY: Final = "ready"  # it serves; with the seconds it needs at most to end
LAST_FIGURES: Final = "last figures"  # with its last dump
FIGURES: Final = "figures"  # what is everybody's? Answered `figures.Told`
PUT_TICKET: Final = "put ticket"  # whether there was room
TAKE_TICKET: Final = "take ticket"  # what it stands for, if anything

# A supervisor says:
DUMP: Final = "dump"  # answered the worker's own figures
CHECK: Final = "check"  # reopen the log, read the configuration; answered its problems, and its warnings
RELOAD: Final = "reload"  # take over what was read last
DRAIN: Final = "drain"  # the gateway ends
RETIRE: Final = "retire"  # others go on in your place
HURRY: Final = "hurry"  # end now

ENOUGH_SECONDS: Final = 2.0
"""For what takes next to none."""


class Bequest(msgspec.Struct, frozen=True):
    """What a worker inherits: numbers of descriptors, and what has to be the same for all of a gateway.

    `demo_key` and the mock's base URL `mock` are there in the embedded default alone.
    """

    clients: list[int]
    metrics: list[int]
    limits: int
    ticket_secret: bytes
    via_name: str = msgspec.field(default_factory=new_via_name)
    demo_key: str = ""
    mock: str = ""

    def __repr__(self) -> str:
        return "Bequest(***)"

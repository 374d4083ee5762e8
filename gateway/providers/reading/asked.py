"""What a request's body asks for: a model, a stream, parameters. Read once for all requests that ask for the same.

Most clients say the same few things again and again, in the same order, beside messages that are new each time. What
is kept is bounded in number and size, and is never what was said, by whom, or a secret.
"""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, Protocol

import msgspec

from gateway.providers.reading.known_parameters import KNOWN
from gateway.providers.reading.lenient import MAX_FORGIVEN_BYTES, Members, opened
from gateway.providers.reading.parameters import ParameterScope, is_parameter, parameters_of
from gateway.telemetry.exchange import Facts, Parameters

MOST: Final = 512
MOST_NAMES: Final = 24
LONGEST_NAME: Final = 64
LONGEST: Final = 512  # bytes of all values that tell
LONGEST_PATH: Final = 256


class ReadsAsked(Protocol):
    """What the members of an API's requests mean."""

    def asked(self, facts: Facts, path: str, request: Members) -> None:
        """Note the model and whether a stream was asked for; told by `path` and the members `_TELLING` alone."""
        ...


class Asked(msgspec.Struct, frozen=True):
    """What is asked for. `parameters` are not to be changed."""

    model: str | None
    streamed: bool
    parameters: Mapping[str, Any]


class _Members(msgspec.Struct, frozen=True, eq=False):
    """Those of a body by their names: by ParameterScope, what takes the values that tell what is asked for."""

    takes: tuple[Callable[[Members], tuple[msgspec.Raw, ...]], ...]


def asked_in(reading: ReadsAsked, path: str, body: bytes, parameters: ParameterScope) -> Asked:
    """What the JSON `body` asks for, and those of its parameters. Never raises, whatever the bytes."""
    if len(body) > MAX_FORGIVEN_BYTES:
        return _read(reading, path, opened(body), parameters)
    try:
        members = _members.decode(body or b"{}")
    except (ValueError, RecursionError):
        return _read(reading, path, opened(body), parameters)
    names = tuple(members)
    met = _MET.get(names) or _meet(names)
    if met is None:
        return _read(reading, path, members, parameters)
    values = b",".join(met.takes[parameters](members))
    if len(values) > LONGEST:
        return _read(reading, path, members, parameters)
    key = (reading, path, parameters, met, values)
    known = _KNOWN.get(key)
    if known is None:
        known = _read(reading, path, members, parameters)
        if len(path) <= LONGEST_PATH:
            if len(_KNOWN) >= MOST:
                _KNOWN.clear()
            _KNOWN[key] = known
    return known


_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN: Final[dict[tuple[object, ...], Asked]] = {}
_MET: Final[dict[tuple[str, ...], _Members]] = {}


def _read(reading: ReadsAsked, path: str, members: Members, parameters: ParameterScope) -> Asked:
    facts = Facts(parameters=parameters_of(members, parameters))
    reading.asked(facts, path, members)
    return Asked(facts.request_model, facts.streamed, Parameters(facts.parameters))


def _meet(names: tuple[str, ...]) -> _Members | None:
    """Take note of members with these names; None if they are many, or one is long."""
    if len(names) > MOST_NAMES or max(map(len, names), default=0) > LONGEST_NAME:
        return None
    if len(_MET) >= MOST:
        _MET.clear()
        _KNOWN.clear()
    few = [name for name in names if name in _TELLING]
    known, every = ([*few, *filter(is_wanted, names)] for is_wanted in (KNOWN.__contains__, is_parameter))
    met = _MET[names] = _Members((_taking(few), _taking(known), _taking(every)))
    return met


def _taking(names: list[str]) -> Callable[[Members], tuple[msgspec.Raw, ...]]:
    # One by itself would not come in a tuple.
    return itemgetter(*names, names[0]) if names else lambda members: ()


_TELLING: Final = ("model", "agent", "stream")

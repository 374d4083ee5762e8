"""The shape a client asks its answer to take: `?stream_mode=` or `X-Stream-Mode`.

Rule: without either the client's own body decides, and nothing is rewritten.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_plus

from gateway.errors import InvalidRequest

PARAMETER: Final = "stream_mode"
HEADER: Final = "X-Stream-Mode"


class StreamMode(StrEnum):
    """One document, an event stream, one JSON document per line, or the bare text as it is written."""

    JSON = "json"
    SSE = "sse"
    NDJSON = "ndjson"
    TEXT = "text"

    @property
    def content_type(self) -> str:
        """The media type of a response in this mode."""
        return _CONTENT_TYPES[self]

    @property
    def streams(self) -> bool:
        """Whether the answer is sent as it is written."""
        return self is not StreamMode.JSON


_CONTENT_TYPES: Final = {
    StreamMode.JSON: "application/json",
    StreamMode.SSE: "text/event-stream",
    StreamMode.NDJSON: "application/x-ndjson",
    StreamMode.TEXT: "text/plain; charset=utf-8",
}


def asked(query: str, header_values: Iterable[str] = ()) -> StreamMode | None:
    """The mode that a raw query or the `X-Stream-Mode` fields ask for, None if neither does.

    InvalidRequest for a value that is no mode, and for two that differ.
    """
    in_query = _agreed(_values(query), f"the query parameter {PARAMETER}") if _may_ask(query) else None
    in_header = _agreed([part for value in header_values for part in value.split(",")], f"the header {HEADER}")
    if in_query and in_header and in_query is not in_header:
        raise InvalidRequest(
            f"The query parameter {PARAMETER}={in_query} and the header {HEADER}: {in_header} contradict each other.",
            param=PARAMETER,
        )
    return in_query or in_header


def without_mode(query: str) -> str:
    """A raw query without `stream_mode`; every other byte as it was."""
    if not _may_ask(query):
        return query
    return "&".join(parameter for parameter in query.split("&") if _name(parameter) != PARAMETER)


def _may_ask(query: str) -> bool:
    return PARAMETER in query or "%" in query


def _values(query: str) -> list[str]:
    return [
        unquote_plus(parameter.partition("=")[2]) for parameter in query.split("&") if _name(parameter) == PARAMETER
    ]


def _name(parameter: str) -> str:
    return unquote_plus(parameter.partition("=")[0])


def _agreed(values: list[str], where: str) -> StreamMode | None:
    modes = {_mode(value, where) for value in values}
    if len(modes) > 1:
        raise InvalidRequest(f"There are different values for {where}.", param=PARAMETER)
    return modes.pop() if modes else None


def _mode(value: str, where: str) -> StreamMode:
    try:
        return StreamMode(value.strip().lower())
    except ValueError:
        raise InvalidRequest(f"The value of {where} is none of {', '.join(StreamMode)}.", param=PARAMETER) from None

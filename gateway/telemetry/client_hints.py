"""What a client tells about its own call, for its trace: the prompt template it filled in, and its conversation.

Rule 1: a hint that cannot be read is ignored and named; it never fails a request.
Rule 2: header fields are ASCII, so every hint may be percent-encoded UTF-8, as JavaScript's `encodeURIComponent` and
Python's `urllib.parse.quote` write it. A `%` that begins no escape stands for itself.
"""

from typing import Any
from urllib.parse import unquote

import orjson
from msgspec import Struct
from multidict import MultiMapping, istr

from gateway.telemetry.exchange import TemplateUse

TEMPLATE = istr("x-gateway-prompt-template")
VARIABLES = istr("x-gateway-prompt-variables")  # a JSON object
VERSION = istr("x-gateway-prompt-version")
NAME = istr("x-gateway-prompt-name")
SESSIONS = tuple(
    map(istr, ("x-gateway-session-id", "x-claude-code-session-id", "x-session-id", "session-id", "session_id"))
)  # the first one there is

MOST_TEXT = 8192  # characters of a field
MOST_NAME = 256
MOST_VARIABLES = 64


class Hints(Struct, frozen=True):
    """`ignored` names the fields that could not be read."""

    template: TemplateUse | None = None
    session: str | None = None
    ignored: tuple[str, ...] = ()


def hints_of(fields: MultiMapping[str]) -> Hints:
    """The hints among a request's header fields."""
    ignored: list[str] = []
    session = _session(fields, ignored)
    if not (TEMPLATE in fields or VARIABLES in fields or VERSION in fields or NAME in fields):
        return Hints(None, session, tuple(ignored))
    template = TemplateUse(
        template=_text(fields, TEMPLATE, MOST_TEXT, ignored),
        variables=_variables(fields, ignored),
        version=_text(fields, VERSION, MOST_NAME, ignored),
        name=_text(fields, NAME, MOST_NAME, ignored),
    )
    told = template.template or template.variables or template.version or template.name
    return Hints(template if told else None, session, tuple(ignored))


def _session(fields: MultiMapping[str], ignored: list[str]) -> str | None:
    for name in SESSIONS:
        if name in fields:
            session = _text(fields, name, MOST_NAME, ignored)
            if session and session.isprintable():
                return session
            if session:
                ignored.append(name)
    return None


def _variables(fields: MultiMapping[str], ignored: list[str]) -> dict[str, str]:
    """Texts as they are, other values as JSON."""
    written = _text(fields, VARIABLES, MOST_TEXT, ignored)
    if not written:
        return {}
    try:
        given = orjson.loads(written)
        if isinstance(given, dict) and len(given) <= MOST_VARIABLES:
            return {name: _as_text(value) for name, value in given.items()}
    except (ValueError, TypeError):  # no JSON, or JSON that is nested too deeply
        pass
    ignored.append(VARIABLES)
    return {}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _text(fields: MultiMapping[str], name: str, most: int, ignored: list[str]) -> str:
    """The one field of this name, decoded; "" if there is none, or none that can be read."""
    values = fields.getall(name, ())
    if not values:
        return ""
    try:
        text = unquote(values[0], errors="strict")
        text.encode()  # bytes that are no UTF-8 came as surrogates
    except UnicodeError:
        text = ""
    if text and len(values) == 1 and len(text) <= most:
        return text
    ignored.append(name)
    return ""

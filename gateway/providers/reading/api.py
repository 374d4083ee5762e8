"""Reads a call's facts off its bodies. What one API's bodies mean is told by a module that is a `Reading`.

An API tells its model at the start of a stream and its usage at the end, so a few events of either end are enough;
only where content is captured is a stream read whole.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from msgspec import Struct

from gateway.providers.reading import ends
from gateway.providers.reading.asked import Asked, ReadsAsked, asked_in
from gateway.providers.reading.content import MOST_CHARACTERS, MOST_MESSAGES, body_text, clipped
from gateway.providers.reading.lenient import Members, leading, mapping, objects, opened, parsed, trailing
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.usage import refuse_implausible
from gateway.telemetry.exchange import Content, Facts, Message

_FIRST_EVENTS: Final = 8
_LAST_EVENTS: Final = 8


class Reading(ReadsAsked, Protocol):
    """What the bodies of one API mean. Each method takes whatever was parsed, and never raises."""

    @property
    def CLOSING(self) -> Sequence[str]:
        """Members that an answer tells late: looked for in its end where it is too long to be kept whole."""
        ...

    def document(self, facts: Facts, answer: Members) -> None:
        """Note what a unary answer tells; of one that is cut, members are missing."""
        ...

    def opening(self, facts: Facts, event: Members) -> bool:
        """Note what one of the first events tells; True if the rest need not be read."""
        ...

    def closing(self, facts: Facts, event: Members) -> bool:
        """Note what one of the last events tells, the last one first; True if the rest need not be read."""
        ...

    def progress(self, event: Members) -> Sequence[tuple[int, bool]]:
        """Which choices an event is about, and whether each is finished with it; MARKER if it ends the stream."""
        ...

    def said(self, content: Content, request: Members) -> None:
        """Take over what the client said: messages and tools, or texts."""
        ...

    def answered(self, answer: Members) -> list[Message]:
        """The messages in a unary answer."""
        ...

    def told(self, events: Sequence[Members]) -> list[Message]:
        """The messages that all events of a stream add up to."""
        ...


class Bodies(Struct, frozen=True, gc=False):
    """A call's bodies. `head` and `tail` are the response's two ends, `tail` following `head`: without a gap between
    them if `whole`, which they may also be with an empty `tail`, or one that is the same as `head`.
    """

    request: bytes
    head: bytes
    tail: bytes
    whole: bool

    @property
    def response(self) -> bytes:
        """The response in one piece, if it is known whole."""
        return self.head if self.tail == self.head else self.head + self.tail

    @property
    def first(self) -> bytes:
        """Where the response's first events stand."""
        return self.response if self.whole else self.head

    @property
    def last(self) -> bytes:
        """Where its last events stand."""
        return self.response if self.whole else self.tail


Glance = Callable[[str, Asked, bytes], Facts | None]
"""What a call of an operation tells, from what was asked and a whole unary answer, quickly; None for an answer of
another shape than the usual, which is to be read with care.
"""


def read(
    reading: Reading,
    operation: str,
    path: str,
    bodies: Bodies,
    content: bool,
    parameters: ParameterScope = ParameterScope.KNOWN,
    glance: Glance | None = None,
) -> Facts:
    """All that can be read off a call."""
    asked = asked_in(reading, path, bodies.request, parameters)
    if glance is not None and bodies.whole and not content and bodies.head.startswith(b"{"):
        told = glance(operation, asked, bodies.response if bodies.tail else bodies.head)
        if told is not None:
            return told
    facts = Facts(operation, asked.model, None, None, asked.streamed, [], None, asked.parameters)
    if content:
        facts.content = Content(input_value=body_text(bodies.request))
        reading.said(facts.content, opened(bodies.request))
    if bodies.head:
        facts.streamed = ends.is_event_stream(bodies.first) or ends.is_array(bodies.first)
        answered = (_stream if facts.streamed else _document)(reading, facts, bodies, content)
        refuse_implausible(facts, len(bodies.request), len(bodies.head) + len(bodies.tail))
        if facts.content is not None:
            _show(facts.content, answered, bodies, facts.streamed)
    return facts


def _document(reading: Reading, facts: Facts, bodies: Bodies, content: bool) -> list[Message]:
    if bodies.whole:
        answer = opened(bodies.response)
        reading.document(facts, answer)
        return reading.answered(answer) if content else []
    reading.document(facts, _late(reading, bodies.tail) | leading(bodies.head))
    return []


def _stream(reading: Reading, facts: Facts, bodies: Bodies, content: bool) -> list[Message]:
    first, last = ends.plain(bodies.first), ends.plain(bodies.last)
    if ends.is_array(first):
        events: list[Members] = [*objects(parsed(first))] if bodies.whole else []
        if not events:
            reading.opening(facts, leading(first.lstrip()[1:]))
            reading.document(facts, _late(reading, last))
            return []
    elif content and bodies.whole:
        events = [_event(data) for data in ends.forward(first)]
    else:
        _read_ends(reading, facts, map(_event, ends.forward(first)), map(_event, ends.backward(last)))
        if facts.usage is None and (rest := ends.rest_of_an_event(last)):
            reading.document(facts, _late(reading, rest))
        return []
    _read_ends(reading, facts, iter(events), reversed(events))
    return reading.told(events) if content else []


def _read_ends(reading: Reading, facts: Facts, first: Iterator[Members], last: Iterator[Members]) -> None:
    for event in islice(first, _FIRST_EVENTS):
        if reading.opening(facts, event):
            break
    for event in islice(last, _LAST_EVENTS):
        if reading.closing(facts, event):
            break


def _event(data: bytes) -> Members:
    """An event's object; of one that is cut, what is left of it."""
    return mapping(parsed(data)) or leading(data) if data.startswith(b"{") else {}


def _late(reading: Reading, end: bytes) -> dict[str, Any]:
    # A client's own `metadata` may follow the usage, with any name and a text.
    found = {name: trailing(end, name, dict if "usage" in name else object) for name in reading.CLOSING}
    return {name: value for name, value in found.items() if value is not None}


def _show(content: Content, answered: list[Message], bodies: Bodies, streamed: bool) -> None:
    content.output_messages = answered[:MOST_MESSAGES]
    said = "".join(message.content for message in answered) if streamed else ""
    if said:
        content.output_value = clipped(said)
    elif bodies.whole:
        content.output_value = body_text(bodies.response)
    else:
        half = MOST_CHARACTERS // 2
        content.output_value = f"{body_text(bodies.head, half)} [...] {body_text(bodies.tail[-half:], half)}"

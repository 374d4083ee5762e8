"""What spans show of what was said: all, a digest, or nothing; what is hidden; how much of it.

Rule 1: nothing is shown unless capture is on; hashed capture shows digests that tell equal texts from others, of all
that a client or a model worded: names of functions and ids of tool calls too.
Rule 2: a hidden thing shows nowhere. OpenInference's switches hide the attributes they hide in its own libraries, and
the whole body too, in which the same would stand once more.
Rule 3: an attribute holds at most the limit, a span at most ROOM times as much, and no image or audio is shown in full.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from gateway.settings.tracing import Capture, ContentSettings
from gateway.telemetry import names
from gateway.telemetry.exchange import Content, Exchange, Facts, Message, TemplateUse
from gateway.telemetry.names import MessageNames

Attributes = dict[str, str]

REDACTED = "__REDACTED__"  # as OpenInference writes it
JSON, TEXT = "application/json", "text/plain"
ROOM = 16  # attributes of full length in one span
MOST = 256  # messages, tools, or texts in one span
LONGEST_RUN = 200  # characters of base64 that may be a word or an id; in a data URI there is none
LOOKED_AT = 1 << 17  # characters of one text that are hashed or searched: a few milliseconds' work at worst


class ContentRules:
    """Turns what was said into attributes, according to the settings."""

    def __init__(self, settings: ContentSettings) -> None:
        hidden = settings.hidden
        self._limit = settings.limit
        self._capture = settings.capture
        self._hidden = hidden
        self.parameters_hidden = hidden.llm_invocation_parameters
        self._no_inputs = hidden.inputs
        self._no_outputs = hidden.outputs
        self._part_of_inputs_hidden = hidden.part_of_inputs
        self._part_of_outputs_hidden = hidden.part_of_outputs

    @property
    def is_off(self) -> bool:
        """Whether nothing is shown of what was said."""
        return self._capture is Capture.OFF

    def of_call(self, facts: Facts) -> Attributes:
        """What a call's bodies said."""
        content = facts.content
        if content is None or self._capture is Capture.OFF:
            return {}
        page = self._page()
        self._put_body(page, names.INPUT_VALUE, names.INPUT_MIME_TYPE, content.input_value)
        self._put_body(page, names.OUTPUT_VALUE, names.OUTPUT_MIME_TYPE, content.output_value)
        if facts.operation == "embeddings":
            hidden = self._hidden.embeddings_text or self._no_inputs
            _put_texts(page, names.EMBEDDING_TEXT, content.embedding_texts, hidden=hidden)
        elif facts.operation == "text_completion":
            prompts = [message.content for message in content.input_messages]
            choices = [message.content for message in content.output_messages]
            _put_texts(page, names.LLM_PROMPT, prompts, hidden=self._hidden.prompts or self._no_inputs)
            _put_texts(page, names.LLM_CHOICE, choices, hidden=self._hidden.choices or self._no_outputs)
        else:
            self._put_conversation(page, content)
        return page.attributes

    def of_exchange(self, exchange: Exchange) -> Attributes:
        """The last question and the answer, as a list of traces shows them."""
        if self._capture is Capture.OFF:
            return {}
        contents = [call.facts.content for call in exchange.calls if call.facts.content is not None]
        if not (contents or exchange.content):
            return {}
        asked = _question(exchange.content or contents[0])
        answered = _answer(exchange.content or contents[-1])
        page = self._page()
        self._put_body(page, names.INPUT_VALUE, names.INPUT_MIME_TYPE, asked)
        self._put_body(page, names.OUTPUT_VALUE, names.OUTPUT_MIME_TYPE, answered)
        return page.attributes

    def of_template(self, template: TemplateUse) -> Attributes:
        """Its text and what was filled in are content; a version and a name that are mere labels are not."""
        page = self._page()
        for name, label in ((names.TEMPLATE_VERSION, template.version), (names.TEMPLATE_ID, template.name)):
            if _is_label(label):
                page.attributes[name] = label
            elif label and not self.is_off:
                self._put_input(page, name, label)
        if template.template and not self.is_off:
            self._put_input(page, names.TEMPLATE, template.template)
        if template.variables and not self.is_off:
            page.attributes[names.TEMPLATE_VARIABLES] = shortened(json_text(self._variables(template)), self._limit)
        return page.attributes

    def _variables(self, template: TemplateUse) -> dict[str, str]:
        page = self._page()
        for name, value in template.variables.items():
            self._put_input(page, digest(name) if page.hashed and not _is_label(name) else name, value)
        return page.attributes

    def _put_input(self, page: "Page", name: str, text: str) -> None:
        if self._no_inputs:
            page.attributes[name] = REDACTED
        else:
            page.put(name, text)

    def _put_body(self, page: "Page", name: str, mime_name: str, value: str) -> None:
        if not value:
            return
        is_input = name == names.INPUT_VALUE
        if self._part_of_inputs_hidden if is_input else self._part_of_outputs_hidden:
            page.attributes[name] = REDACTED
            return
        shown = page.put(name, value)
        page.attributes[mime_name] = JSON if shown[:1] in ("{", "[") and shown[-1] in "}]" else TEXT

    def _put_conversation(self, page: "Page", content: Content) -> None:
        hidden = self._hidden
        if not (self._no_outputs or hidden.output_messages):
            _put_messages(page, names.OUTPUT_MESSAGE, content.output_messages, text_hidden=hidden.output_text)
        if not (self._no_inputs or hidden.input_messages):
            _put_messages(page, names.INPUT_MESSAGE, content.input_messages, text_hidden=hidden.input_text)
        if not (self._no_inputs or hidden.llm_tools):
            _put_texts(page, names.LLM_TOOL, content.tools, hidden=False)

    def _page(self) -> "Page":
        return Page(self._limit, hashed=self._capture is Capture.HASHED)


@dataclass(slots=True)
class Page:
    """The attributes of one span, and how much more it has room for."""

    limit: int
    hashed: bool
    attributes: Attributes = field(default_factory=dict)
    room: int = 0

    def __post_init__(self) -> None:
        self.room = self.limit * ROOM

    def put(self, name: str, text: str) -> str:
        """Write `text`, or as much of it as may be shown; what was written."""
        shown = digest(text) if self.hashed else shortened(text, min(self.limit, self.room))
        self.attributes[name] = shown
        self.room = max(self.room - len(shown), 0)
        return shown

    def put_name(self, name: str, text: str) -> None:
        """Write a short text that is never cut."""
        self.attributes[name] = digest(text) if self.hashed else text


def digest(text: str) -> str:
    """The same for equal texts, by length and the first LOOKED_AT characters. That of a short text can be guessed."""
    return f"sha256:{sha256(text[:LOOKED_AT].encode('utf-8', 'replace')).hexdigest()[:16]} ({len(text)} characters)"


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, and how many more there were; a note in place of each run of base64."""
    shown = text[:LOOKED_AT]
    if _may_hold_base64(shown):
        shown = _BASE64.sub(_note, shown)
    more = max(len(shown) - limit, 0) + max(len(text) - LOOKED_AT, 0)
    return f"{shown[:limit]}… ({more} more characters)" if more else shown


def json_text(value: Mapping[str, Any]) -> str:
    """`value` as JSON, whatever is in it."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        return json.dumps(value, default=str, skipkeys=True)


def _may_hold_base64(text: str) -> bool:
    """A cheap look first: a long run of base64 fills one of these blocks, and hardly any prose or JSON does."""
    if len(text) < LONGEST_RUN or ";base64," in text:
        return ";base64," in text
    blocks = range(0, len(text) - _BLOCK + 1, _BLOCK)
    return any(text.find(" ", at, at + _BLOCK) < 0 and text.find('"', at, at + _BLOCK) < 0 for at in blocks)


def _note(run: re.Match[str]) -> str:
    return f"[{len(run[0])} characters of base64]"


# A look behind keeps this linear: a run is tried at its beginning only. Backslashes: JSON escapes `/` and line ends.
_BLOCK = LONGEST_RUN // 2
_BASE64 = re.compile(
    rf"(?:(?<=;base64,)[A-Za-z0-9+/_\\-]+|(?<![A-Za-z0-9+/_\\-])[A-Za-z0-9+/_\\-]{{{LONGEST_RUN},}})={{0,2}}"
)


def _put_texts(page: Page, name: str, texts: list[str], *, hidden: bool) -> None:
    for number, text in enumerate(texts[:MOST]):
        if hidden:
            page.attributes[names.numbered(name, number)] = REDACTED
        else:
            page.put(names.numbered(name, number), text)


def _put_messages(page: Page, called: MessageNames, messages: list[Message], *, text_hidden: bool) -> None:
    """The newest first, so that they have room."""
    shown = messages if len(messages) <= MOST else [messages[0], _left_out(messages), *messages[2 - MOST :]]
    for number, message in reversed(list(enumerate(shown))):
        if message.role in _ROLES:
            page.attributes[names.numbered(called.role, number)] = message.role
        else:
            page.put_name(names.numbered(called.role, number), message.role)
        if message.content and text_hidden:
            page.attributes[names.numbered(called.content, number)] = REDACTED
        elif message.content:
            page.put(names.numbered(called.content, number), message.content)
        if message.name:
            page.put(names.numbered(called.name, number), message.name)
        if message.tool_call_id:
            page.put_name(names.numbered(called.tool_call_id, number), message.tool_call_id)
        for inner, tool_call in enumerate(message.tool_calls[:MOST]):
            page.put_name(names.numbered(called.tool_call, number, inner), tool_call.id)
            page.put_name(names.numbered(called.function, number, inner), tool_call.name)
            page.put(names.numbered(called.arguments, number, inner), tool_call.arguments)


_ROLES = frozenset({"", "system", "developer", "user", "assistant", "model", "tool", "function", "gateway"})
_is_label = re.compile(r"[A-Za-z0-9._:/@+-]{1,64}").fullmatch


def _left_out(messages: list[Message]) -> Message:
    return Message("gateway", f"[{len(messages) - MOST + 1} messages left out]")


def _question(content: Content) -> str:
    asked = (message.content for message in reversed(content.input_messages) if message.role == "user")
    return next(filter(None, asked), "") or "\n".join(content.embedding_texts[:MOST]) or content.input_value


def _answer(content: Content) -> str:
    said = "\n\n".join(message.content for message in content.output_messages if message.content)
    return (
        said
        or "\n".join(
            f"{tool_call.name}({tool_call.arguments})"
            for message in content.output_messages
            for tool_call in message.tool_calls
        )
        or ("" if content.embedding_texts else content.output_value)
    )

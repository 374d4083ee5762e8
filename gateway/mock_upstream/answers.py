"""What the mock says: the same to the same question, in every API's shape, so that a test can foretell it.

An answer names the model and repeats the beginning of what was said last: of the last text of the last message. When
tools are offered, and the request insists on one or that text names one (or says "use a tool"), the answer calls those
instead, with arguments made from their schemas. When the request asks for JSON, the answer is made from the schema.

Tokens are words. The input has as many tokens as its texts have words (the system prompt's too; tool definitions
count nothing), and the output as many as it has deltas. Input marked with `cache_control` counts as read from a cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import cycle, islice
from typing import Any

from gateway.mock_upstream.behaviour import Behaviour

Json = dict[str, Any]

_ECHOED_WORDS = 40
_DEEPEST = 12
_ASKS_FOR_A_TOOL = re.compile(r"\b(use|call) (a|the|your) (tool|function)\b", re.IGNORECASE)
_PROSE = (
    "This is a mock, so nothing was thought about it: the same words come back for the same request, one after the "
    "other, at whatever pace was asked for, and each of them is counted as one token."
)


class Choice(Enum):
    """Whether the answer may, must or must not call a tool."""

    AUTO = "auto"
    NONE = "none"
    ANY = "any"


class Finish(Enum):
    """Why the answer ends."""

    STOP = "stop"
    STOP_SEQUENCE = "stop sequence"
    LENGTH = "length"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the answer may call: its name, and the JSON Schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks for, without its API's words."""

    model: str
    text: str
    """What the model was told last."""
    from_tool: bool = False
    """That was a tool's result; it is not searched for a wish to call a tool."""
    input_tokens: int = 0
    cached_tokens: int = 0
    """Those of the input tokens that are told as read from a cache."""
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    choice: Choice = Choice.AUTO
    form: Mapping[str, Any] | None = None
    """The JSON Schema the answer has to keep to; an empty one stands for any object."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; its arguments are the JSON text that `fragments` make together."""

    name: str
    fragments: Sequence[str]

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)

    @property
    def parsed(self) -> Any:
        return json.loads(self.arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: words or calls, never both."""

    model: str
    words: Sequence[str]
    calls: Sequence[Call]
    finish: Finish
    stop_sequence: str | None
    input_tokens: int
    cached_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def output_tokens(self) -> int:
        return len(self.words) + sum(len(call.fragments) for call in self.calls)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def answer(question: Question, behaviour: Behaviour) -> Answer:
    """The answer to `question`, as long as `behaviour` wants it."""
    calls = [
        Call(tool.name, words(json.dumps(sample({"type": "object", **tool.schema})))) for tool in _called(question)
    ]
    said, finish, stopped_by = _nothing_said() if calls else _said(question, behaviour)
    return Answer(question.model, said, calls, finish, stopped_by, question.input_tokens, question.cached_tokens)


def reply(model: str, text: str) -> str:
    """The whole text with which `model` answers `text`, when nothing else was asked for."""
    heard = text.split()
    quoted = " ".join(heard[:_ECHOED_WORDS]) + (" ..." if len(heard) > _ECHOED_WORDS else "")
    return f"{model} was told: “{quoted}” {_PROSE}"


def words(text: str) -> list[str]:
    """`text` in pieces that make it up again: each word with the blanks behind it."""
    return re.findall(r"\s*\S+\s*", text)


def tokens(*contents: Any) -> int:
    """How many tokens the texts in `contents` have."""
    return sum(len(text.split()) for text in texts(contents))


def texts(content: Any, depth: int = _DEEPEST) -> Iterator[str]:
    """Every text in a message's content: a string, parts, or parts of parts, as any of the APIs has them."""
    if depth == 0:
        return
    match content:
        case str():
            yield content
        case list() | tuple():
            for part in content:
                yield from texts(part, depth - 1)
        case {"text": str(text)}:
            yield text
        case {"content": inner} | {"parts": inner} | {"output": inner}:
            yield from texts(inner, depth - 1)
        case {"functionResponse": {"response": response}}:
            yield json.dumps(response)


def last_text(content: Any) -> str:
    """The last text in a message's content. Those before it are often an agent's notes, which name all of its tools."""
    return next(reversed([*texts(content)]), "")


def cached_tokens(content: Any, depth: int = _DEEPEST) -> int:
    """How many tokens stand in parts that are marked with `cache_control`."""
    if depth == 0:
        return 0
    match content:
        case {"cache_control": {}}:
            return tokens(content)
        case {"content": list(inner)}:
            return cached_tokens(inner, depth - 1)
        case list() | tuple():
            return sum(cached_tokens(part, depth - 1) for part in content)
    return 0


def sample(schema: Any, name: str = "value") -> Any:
    """A value that keeps to a JSON Schema (or Gemini's dialect of it); a string without a rule is its own name."""
    return _sample(schema, name, schema, _DEEPEST)


def _called(question: Question) -> Sequence[Tool]:
    if question.choice is Choice.NONE or not question.tools:
        return ()
    if question.choice is Choice.AUTO and question.from_tool:
        return ()
    named = [tool for tool in question.tools if re.search(rf"\b{re.escape(tool.name)}\b", question.text)]
    if named and not question.from_tool:
        return named
    insisted = question.choice is Choice.ANY or _ASKS_FOR_A_TOOL.search(question.text)
    return question.tools[:1] if insisted else ()


def _nothing_said() -> tuple[Sequence[str], Finish, str | None]:
    return (), Finish.TOOL, None


def _said(question: Question, behaviour: Behaviour) -> tuple[Sequence[str], Finish, str | None]:
    text = reply(question.model, question.text) if question.form is None else _formed(question)
    said = words(text)
    if behaviour.words is not None:
        said = list(islice(cycle([*said[:-1], f"{said[-1]} "]), behaviour.words))
    if behaviour.width:
        filled = {word: f"{word.strip().ljust(behaviour.width - 1, '.')} " for word in set(said)}
        said = [filled[word] for word in said]
    said, stopped_by = _until_stop(said, question.stop)
    if question.max_tokens is not None and len(said) > question.max_tokens:
        return said[: question.max_tokens], Finish.LENGTH, None
    return said, Finish.STOP if stopped_by is None else Finish.STOP_SEQUENCE, stopped_by


def _until_stop(said: list[str], stop: Sequence[str]) -> tuple[list[str], str | None]:
    """The words before the first stop sequence, and that sequence."""
    text = "".join(said) if stop else ""
    found = [(text.index(sequence), sequence) for sequence in stop if sequence and sequence in text]
    if not found:
        return said, None
    end, sequence = min(found)
    return words(text[:end]), sequence


def _formed(question: Question) -> str:
    if question.form:
        return json.dumps(sample(question.form))
    return json.dumps({"model": question.model, "told": question.text})


def _sample(schema: Any, name: str, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    match schema:
        case {"enum": [first, *_]} | {"examples": [first, *_]}:
            return first
        case {"$ref": str(reference)}:
            return _sample(_resolved(reference, root), name, root, depth - 1)
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
            return _sample(first, name, root, depth - 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match str(kind[0] if isinstance(kind, list) and kind else kind).lower():
        case "object":
            properties = schema.get("properties") or {}
            return {key: _sample(value, key, root, depth - 1) for key, value in properties.items()}
        case "array":
            return [_sample(schema.get("items", {}), name, root, depth - 1)]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
    return name


def _resolved(reference: str, root: Any) -> Any:
    """What a local reference (`#/$defs/City`) points at."""
    found = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found

"""Whatever bytes come, a dialect's questions have an answer: looking at a body never breaks the call."""

import json
import random
from typing import Any

import pytest

from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.gemini import GEMINI
from gateway.providers.openai import OPENAI
from gateway.providers.provider import Dialect
from gateway.providers.reading.stream_end import StreamBody
from gateway.telemetry.exchange import Facts
from tests.unit.providers import samples

CALLS: list[tuple[Dialect, str, Any, list[bytes]]] = [
    (
        OPENAI,
        samples.CHAT_PATH,
        samples.CHAT_REQUEST,
        [samples.compact(samples.CHAT_ANSWER), samples.CHAT_STREAM],
    ),
    (OPENAI, samples.COMPLETION_PATH, samples.COMPLETION_REQUEST, [samples.event_stream(samples.COMPLETION_EVENTS)]),
    (OPENAI, samples.EMBEDDING_PATH, samples.EMBEDDING_REQUEST, [samples.compact(samples.EMBEDDING_ANSWER)]),
    (
        OPENAI,
        samples.RESPONSES_PATH,
        samples.RESPONSES_REQUEST,
        [samples.compact(samples.RESPONSE), samples.RESPONSES_STREAM],
    ),
    (
        ANTHROPIC,
        samples.MESSAGES_PATH,
        samples.MESSAGES_REQUEST,
        [samples.compact(samples.MESSAGES_ANSWER), samples.MESSAGES_STREAM],
    ),
    (
        GEMINI,
        samples.GEMINI_STREAM_PATH,
        samples.GEMINI_REQUEST,
        [samples.compact(samples.GEMINI_ANSWER), samples.GEMINI_STREAM, samples.GEMINI_ARRAY],
    ),
    (
        GEMINI,
        samples.INTERACTIONS_PATH,
        samples.INTERACTIONS_REQUEST,
        [samples.compact(samples.INTERACTION), samples.INTERACTIONS_STREAM],
    ),
    (
        OPENAI,
        samples.COHERE_PATH,
        samples.COHERE_REQUEST,
        [samples.compact(samples.COHERE_ANSWER), samples.COHERE_STREAM],
    ),
    (GEMINI, samples.GEMINI_EMBED_PATH, samples.GEMINI_EMBED_REQUEST, [samples.compact(samples.GEMINI_EMBED_ANSWER)]),
]
each_call = pytest.mark.parametrize(
    ("dialect", "path", "request_body", "responses"), CALLS, ids=[path.rpartition("/")[2] for _, path, _, _ in CALLS]
)
DEEP = b"[" * 100_000 + b"]" * 100_000
ODD_BODIES = [
    b"",
    b"not json",
    b"\xff\xfe\x00",
    b"{}",
    b"[]",
    b"null",
    b"[[1],{}]",
    b"data: \n\n",
    b"data: [DONE]\n\n",
    b"data: null\n\ndata: 5\n\n",
    b"data: " + DEEP + b"\n\n",
    DEEP,
    b'{"a":' + DEEP + b"}",
    b'{"messages":' + b'{"content":' * 50_000,
    b'{"model":"a","model":"b","usage":1,"usage":{}}',
    b"\n\n" * 5000,
    b"[" + b"x" * 100,
]
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1e300,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"type": "text"},
    ["a", 5],
]


def ask_everything(dialect: Dialect, path: str, request: bytes, response: bytes) -> Facts:
    cut = len(response) // 3
    for lines in (False, True):
        dialect.stream_end(path, StreamBody(response, lines=lines))
        dialect.stream_end(
            path, StreamBody(response[:cut], response[2 * cut :], False, response[cut : cut + 50], lines)
        )
    for content in (False, True):
        dialect.facts(path, request, response, b"", content=content)
        dialect.facts(path, request, response[:cut], response[cut:], content=content)
        dialect.facts(path, request, response[:cut], response[2 * cut :], content=content, whole=False)
    dialect.delta(response)
    dialect.stream_failed(response)
    dialect.streams(path, "", request)
    return dialect.facts(path, request, response, response, content=True)


@each_call
@pytest.mark.parametrize("odd", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_odd_bodies(dialect: Dialect, path: str, request_body: Any, responses: list[bytes], odd: bytes):
    for response in (*responses, odd):
        told = ask_everything(dialect, path, odd, response)
        assert told.operation == dialect.operation(path)
    ask_everything(dialect, path, samples.compact(request_body), odd)


@each_call
def test_every_member_may_be_of_any_type(dialect: Dialect, path: str, request_body: Any, responses: list[bytes]):
    request = samples.compact(request_body)
    for response in responses:
        documents, framed = _documents(response)
        for number, document in enumerate(documents):
            for changed in _variations(document):
                bodies = [samples.compact(changed if at == number else it) for at, it in enumerate(documents)]
                ask_everything(dialect, path, request, framed(bodies))
    for changed in _variations(request_body):
        dialect.facts(path, samples.compact(changed), responses[0], b"", content=True)


@each_call
def test_any_byte_may_be_any_other(dialect: Dialect, path: str, request_body: Any, responses: list[bytes]):
    chance = random.Random(path)
    for body in (samples.compact(request_body), *responses):
        for _ in range(150):
            broken = bytearray(body)
            for _ in range(chance.randrange(1, 5)):
                broken[chance.randrange(len(broken))] = chance.randrange(256)
            cut = bytes(broken[: chance.randrange(len(broken) + 1)])
            ask_everything(dialect, path, bytes(broken), cut)


@each_call
def test_all_that_is_told_can_be_written_as_utf_8(
    dialect: Dialect, path: str, request_body: Any, responses: list[bytes]
):
    request = samples.compact(request_body).replace(b"e", b"\\ud83d")
    for response in responses:
        told = dialect.facts(path, request, response.replace(b"cat", b"\\ud83d"), b"", content=True)
        repr(told).encode()
        assert told.content is not None
        for message in (*told.content.input_messages, *told.content.output_messages):
            message.content.encode()
            for call in message.tool_calls:
                call.arguments.encode()


def _documents(response: bytes):
    """The JSON documents a response consists of, and how to put such documents into one again."""
    plain = response.replace(b"\r\n", b"\n")
    if plain.startswith(b"["):
        return json.loads(plain), lambda bodies: b"[" + b",".join(bodies) + b"]"
    if plain.startswith(b"{"):
        return [json.loads(plain)], lambda bodies: bodies[0]
    data = [line[6:] for line in plain.split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(it) for it in data], lambda bodies: b"".join(b"data: " + body + b"\n\n" for body in bodies)


def _variations(document: Any):
    """`document` with each of its members in turn, however deep, replaced by two of the odd values."""
    for number, steps in enumerate(_places(document)):
        for odd in (ODD_VALUES[number % len(ODD_VALUES)], ODD_VALUES[(number * 5 + 3) % len(ODD_VALUES)]):
            yield _replaced(document, steps, odd)


def _places(document: Any, steps: tuple[Any, ...] = ()):
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield (*steps, key)
        yield from _places(value, (*steps, key))


def _replaced(document: Any, steps: tuple[Any, ...], odd: Any) -> Any:
    if not steps:
        return odd
    copy = document.copy()
    copy[steps[0]] = _replaced(document[steps[0]], steps[1:], odd)
    return copy

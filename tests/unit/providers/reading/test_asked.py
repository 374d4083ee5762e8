"""What is asked for is read once for all that ask for the same, and is what reading it anew would tell."""

import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.providers.reading import (
    asked,
    chat_completions,
    embed_content,
    embeddings,
    generate_content,
    messages,
    responses,
)
from gateway.providers.reading.api import Reading
from gateway.providers.reading.asked import LONGEST, LONGEST_NAME, LONGEST_PATH, MOST, MOST_NAMES, Asked, asked_in
from gateway.telemetry.exchange import Parameters

PATH = "/v1/chat/completions"
READINGS: tuple[Reading, ...] = (
    chat_completions,
    embed_content,
    embeddings,
    generate_content,
    messages,
    responses,
)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    asked._KNOWN.clear()
    asked._MET.clear()
    yield
    asked._KNOWN.clear()
    asked._MET.clear()


def told(body: dict[str, Any]) -> Asked:
    return asked_in(chat_completions, PATH, json.dumps(body).encode(), True)


def test_those_who_ask_for_the_same_are_told_the_same() -> None:
    first = told({"model": "m", "messages": ["one"], "temperature": 0.5, "stream": True})
    again = told({"model": "m", "messages": ["another", "two"], "temperature": 0.5, "stream": True})
    assert again is first
    assert (first.model, first.streamed) == ("m", True)
    assert first.parameters == {"temperature": 0.5, "stream": True}
    assert type(first.parameters) is Parameters  # which remembers how it is written


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n", "messages": [], "temperature": 0.5},
        {"model": "m", "messages": [], "temperature": 0.25},
        {"model": "m", "messages": [], "top_p": 0.5},
        {"model": "m", "messages": [], "temperature": 0.5, "stream": True},
        {"messages": [], "temperature": 0.5},
    ],
)
def test_those_who_ask_for_something_else_are_not(other: dict[str, Any]) -> None:
    first = told({"model": "m", "messages": [], "temperature": 0.5})
    assert told(other) != first


def test_the_api_the_path_and_whether_parameters_are_wanted_tell_apart() -> None:
    path, other = "/v1beta/models/gemini-pro:generateContent", "/v1beta/models/gemini-pro:streamGenerateContent"
    body = b'{"contents":[],"generationConfig":{"topK":1}}'
    assert asked_in(generate_content, path, body, True) == Asked("gemini-pro", False, {"topK": 1})
    assert asked_in(generate_content, path, body, False) == Asked("gemini-pro", False, {})
    assert asked_in(generate_content, other, body, True) == Asked("gemini-pro", True, {"topK": 1})
    assert asked_in(chat_completions, path, body, True) == Asked(None, False, {"generationConfig": {"topK": 1}})


def test_whatever_was_met_before_is_as_if_read_anew() -> None:
    values = ["1", "1.0", '"1"', "true", "null", "[1]", '["a"]', "NaN", "1e999", '{"a":1}', '"\\ud83d"', "nonsense", ""]
    values.append('"%s"' % ("x" * 80))
    names = ["temperature", "seed", "tool_choice", "messages", "model", "stream", "generationConfig", "x" * 70]
    paths = ["/v1/chat/completions", "/v1beta/models/a:generateContent", "/v1beta/models/b:streamGenerateContent"]
    numbers = random.Random(5)
    for _ in range(6000):
        members = [(numbers.choice(names), numbers.choice(values)) for _ in range(numbers.randrange(5))]
        body = ("{" + ",".join(f'"{name}":{value}' for name, value in members) + "}").encode()
        reading, path, wanted = numbers.choice(READINGS), numbers.choice(paths), numbers.random() < 0.8
        found = asked_in(reading, path, body, wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asked, "_KNOWN", {})
            patch.setattr(asked, "_MET", {})
            anew = asked_in(reading, path, body, wanted)
        assert found == anew
        assert [*map(type, found.parameters.values())] == [*map(type, anew.parameters.values())]


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"7", b'"text"', b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_object_asks_for_nothing(body: bytes) -> None:
    assert asked_in(chat_completions, PATH, body, True) == Asked(None, False, {})


def test_what_is_kept_is_bounded_and_holds_nothing_that_was_said_and_no_secret() -> None:
    for number in range(2 * MOST):
        told({"seed": number, "user": "SECRET", "api_key": "SECRET", "messages": "SECRET", "metadata": "SECRET"})
        assert 0 < len(asked._KNOWN) <= MOST
    for number in range(2 * MOST):
        told({f"{number}": 1})
        assert 0 < len(asked._MET) <= MOST
    assert "SECRET" not in repr(asked._KNOWN) + repr(asked._MET)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"model": "m" * LONGEST}),
        (PATH, {"response_format": {"a": "x" * LONGEST}}),
        (PATH + "x" * LONGEST_PATH, {"model": "m"}),
        (PATH, {f"p{number}": 1 for number in range(MOST_NAMES + 1)}),
        (PATH, {"x" * (LONGEST_NAME + 1): 1}),
    ],
)
def test_nothing_long_is_kept(path: str, body: dict[str, Any]) -> None:
    first = asked_in(chat_completions, path, json.dumps(body).encode(), True)
    assert asked_in(chat_completions, path, json.dumps(body).encode(), True) == first
    assert not asked._KNOWN


def test_a_large_body_of_few_members_is_read_and_one_of_many_is_not_built() -> None:
    large = b'"messages":[' + b"[]," * 2_000_000 + b"[]]"
    assert asked_in(chat_completions, PATH, b'{"model":"m","stream":true,' + large + b"}", True).model == "m"
    many = b'{"model":"m"' + b"".join([b',"%08x":0' % number for number in range(500_000)]) + b"}"
    tracemalloc.start()
    try:
        read = asked_in(chat_completions, PATH, many, True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == Asked(None, False, {})
    assert peak < len(many)

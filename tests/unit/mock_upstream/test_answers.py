"""What is said, and how it is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.mock_upstream import Behaviour
from gateway.mock_upstream.answers import (
    Choice,
    Finish,
    Question,
    Tool,
    answer,
    cached_tokens,
    reply,
    sample,
    texts,
    tokens,
    words,
)

WEATHER = Tool("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = Tool("get_time", {"type": "object", "properties": {}})


def asked(text: str = "hello", **more: Any) -> Question:
    return Question(model="m", text=text, **more)


def test_an_answer_names_the_model_and_repeats_what_was_said() -> None:
    said = answer(asked("Is it raining in Oslo?"), Behaviour())
    assert said.text == reply("m", "Is it raining in Oslo?")
    assert said.text.startswith("m was told: “Is it raining in Oslo?”")
    assert said.finish is Finish.STOP


def test_of_a_long_text_only_the_beginning_is_repeated() -> None:
    text = reply("m", " ".join(f"word{number}" for number in range(100)))
    assert "word39 ...”" in text
    assert "word40" not in text


def test_the_same_question_has_the_same_answer() -> None:
    assert answer(asked(), Behaviour()) == answer(asked(), Behaviour())


@pytest.mark.parametrize("text", ["", " ", "one", "  two  words ", "a\nb\t c", "ünï cödé “x”"])
def test_words_make_the_text_up_again(text: str) -> None:
    assert "".join(words(text)) == (text if text.strip() else "")
    assert len(words(text)) == len(text.split())


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_an_answer_has_as_many_words_as_asked_for(count: int) -> None:
    said = answer(asked(), Behaviour(words=count))
    assert said.output_tokens == len(said.words) == len(said.text.split()) == count


def test_words_can_be_made_wider() -> None:
    said = answer(asked(), Behaviour(words=100, width=1000))
    assert {len(word) for word in said.words} == {1000}
    assert len(said.text.split()) == 100


def test_an_answer_that_is_too_long_is_cut_off() -> None:
    said = answer(asked(max_tokens=3), Behaviour())
    assert (said.text, said.finish, said.output_tokens) == ("m was told: ", Finish.LENGTH, 3)


def test_an_answer_that_just_fits_is_not_cut_off() -> None:
    assert answer(asked(max_tokens=3), Behaviour(words=3)).finish is Finish.STOP


def test_an_answer_ends_before_the_first_stop_sequence_in_it() -> None:
    said = answer(asked(stop=("mock", "told", "nowhere in it", "")), Behaviour())
    assert (said.text, said.finish, said.stop_sequence) == ("m was ", Finish.STOP_SEQUENCE, "told")


@pytest.mark.parametrize(
    ("question", "called"),
    [
        (asked("hello", tools=(WEATHER, CLOCK)), []),
        (asked("please get_time now", tools=(WEATHER, CLOCK)), ["get_time"]),
        (asked("get_time and get_weather", tools=(WEATHER, CLOCK)), ["get_weather", "get_time"]),
        (asked("Use a tool!", tools=(WEATHER, CLOCK)), ["get_weather"]),
        (asked("forget_time", tools=(WEATHER, CLOCK)), []),
        (asked("hello", tools=(WEATHER, CLOCK), choice=Choice.ANY), ["get_weather"]),
        (asked("get_time", tools=(WEATHER, CLOCK), choice=Choice.NONE), []),
        (asked("get_time says noon", tools=(WEATHER, CLOCK), from_tool=True), []),
        (asked("noon", tools=(WEATHER, CLOCK), from_tool=True, choice=Choice.ANY), ["get_weather"]),
        (asked("use a tool", choice=Choice.ANY), []),
    ],
)
def test_tools_are_called_when_asked_for(question: Question, called: list[str]) -> None:
    said = answer(question, Behaviour())
    assert [call.name for call in said.calls] == called
    assert (said.finish is Finish.TOOL) == bool(called)
    assert bool(said.words) != bool(called)


def test_a_call_comes_in_fragments_that_make_up_json() -> None:
    (call,) = answer(asked("get_weather", tools=(WEATHER,)), Behaviour()).calls
    assert len(call.fragments) > 1
    assert json.loads(call.arguments) == call.parsed == {"city": "city"}


def test_a_tool_without_parameters_is_called_with_an_empty_object() -> None:
    (call,) = answer(asked("go", tools=(Tool("go", {}),)), Behaviour()).calls
    assert call.parsed == {}


def test_json_is_answered_when_asked_for() -> None:
    schema = {"type": "object", "properties": {"points": {"type": "array", "items": {"type": "integer"}}}}
    assert json.loads(answer(asked(form=schema), Behaviour()).text) == {"points": [1]}
    assert json.loads(answer(asked("hi", form={}), Behaviour()).text) == {"model": "m", "told": "hi"}


def test_tokens_are_words_in_every_shape_a_message_has() -> None:
    assert tokens("two words") == 2
    assert tokens({"role": "user", "content": "three more words"}) == 3
    assert tokens({"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "image_url"}]}) == 2
    assert tokens({"role": "user", "parts": [{"text": "a b c"}, {"inlineData": {"data": "x y"}}]}) == 3
    assert tokens({"type": "function_call_output", "output": "it is noon"}) == 3
    assert tokens(None, 17, {"content": None}, []) == 0


def test_content_of_any_depth_is_looked_into_only_so_far() -> None:
    content: Any = "deep"
    for _ in range(5000):
        content = [content]
    assert list(texts(content)) == []
    assert cached_tokens(content) == 0


def test_only_marked_parts_count_as_read_from_a_cache() -> None:
    marked = {"type": "text", "text": "from the cache", "cache_control": {"type": "ephemeral"}}
    assert cached_tokens([{"role": "user", "content": [marked, {"type": "text", "text": "new"}]}]) == 3
    assert cached_tokens([marked, "new"]) == 3
    assert cached_tokens("new") == 0


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "value"),
        ({"type": "STRING"}, "value"),
        ({"type": ["null", "string"]}, None),
        ({"type": "integer", "minimum": 18}, 18),
        ({"type": "number"}, 1),
        ({"type": "boolean"}, True),
        ({"enum": ["red", "blue"]}, "red"),
        ({"const": 7}, 7),
        ({"type": "string", "default": "d"}, "d"),
        ({"type": "string", "examples": ["e"]}, "e"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, {"a": {"b": "b"}}),
        ({"$ref": "#/$defs/City", "$defs": {"City": {"properties": {"name": {}}}}}, {"name": "name"}),
        ({"$ref": "#/$defs/Missing"}, None),
        (True, None),
    ],
)
def test_a_sample_keeps_to_its_schema(schema: Any, value: Any) -> None:
    assert sample(schema) == value


def test_a_schema_that_contains_itself_has_a_sample() -> None:
    schema = {"$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}, "$ref": "#/$defs/Node"}
    assert "next" in sample(schema)

"""Templates fill their holes verbatim, and say at once when something does not fit."""

import pytest

from gateway.upstream.prompt_template import PromptTemplate

GREETING = PromptTemplate("demo.greeting", "Greet {name} in {language}.", version="2")


def test_a_filled_template_is_a_users_message() -> None:
    filled = GREETING.fill(name="Ada", language="Latin")
    assert filled.prompt.messages == (("user", "Greet Ada in Latin."),)


def test_it_remembers_what_it_was_made_from() -> None:
    use = GREETING.fill(name="Ada", language="Latin").use
    assert (use.name, use.version, use.template) == ("demo.greeting", "2", "Greet {name} in {language}.")
    assert use.variables == {"name": "Ada", "language": "Latin"}


def test_a_system_prompt_comes_first_and_has_holes_of_its_own() -> None:
    template = PromptTemplate("t", "Say {what}.", system="You are {who}.")
    filled = template.fill(what="hello", who="a parrot")
    assert filled.prompt.messages == (("system", "You are a parrot."), ("user", "Say hello."))
    assert filled.use.template == "You are {who}.\n\nSay {what}."


def test_braces_in_values_are_not_expanded_again() -> None:
    filled = GREETING.fill(name="{language}", language="{name} {{x}}")
    assert filled.prompt.messages == (("user", "Greet {language} in {name} {{x}}."),)


def test_doubled_braces_are_braces() -> None:
    assert PromptTemplate("t", 'Answer {{"a": {n}}}').fill(n=1).prompt.messages == (("user", 'Answer {"a": 1}'),)


def test_a_variable_may_stand_in_several_places() -> None:
    assert PromptTemplate("t", "{a}{a}").fill(a="x").prompt.messages == (("user", "xx"),)


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(TypeError, match=r"demo\.greeting: language is missing"):
        GREETING.fill(name="Ada")


def test_a_misspelt_variable_is_told_as_the_one_that_is_missing() -> None:
    with pytest.raises(TypeError, match="language is missing"):
        GREETING.fill(name="Ada", langauge="Latin")


def test_a_variable_without_a_hole_is_named() -> None:
    with pytest.raises(TypeError, match="mood is not in the template"):
        GREETING.fill(name="Ada", language="Latin", mood="cheerful")


@pytest.mark.parametrize("template", ["{}", "{0}", "{a.b}", "{a[0]}", "{a!r}", "{a:>10}", "{a b}", "{", "}"])
def test_a_hole_that_is_no_plain_name_is_refused_when_the_template_is_made(template: str) -> None:
    with pytest.raises(ValueError):
        PromptTemplate("t", template)

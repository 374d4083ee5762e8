"""What clients tell about their own calls, read as it is documented and never trusted."""

import json
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from gateway.telemetry.client_hints import MOST_NAME, MOST_TEXT, MOST_VARIABLES, SESSIONS, Hints, hints_of
from gateway.telemetry.exchange import TemplateUse


def told(*fields: tuple[str, str]) -> Hints:
    return hints_of(CIMultiDict(fields))


def test_without_hints_there_are_none() -> None:
    assert told(("content-type", "application/json")) == Hints()


def test_a_template_is_read_with_its_variables_version_and_name() -> None:
    hints = told(
        ("X-Gateway-Prompt-Template", "Say {greeting} to {name}"),
        ("X-Gateway-Prompt-Variables", '{"greeting":"hello","name":"Ada"}'),
        ("X-Gateway-Prompt-Version", "2024-05-01"),
        ("X-Gateway-Prompt-Name", "greet"),
    )
    variables = {"greeting": "hello", "name": "Ada"}
    assert hints == Hints(TemplateUse("Say {greeting} to {name}", variables, "2024-05-01", "greet"))


def test_a_template_may_be_told_by_name_and_version_alone() -> None:
    assert told(("x-gateway-prompt-name", "greet"), ("x-gateway-prompt-version", "3")).template == TemplateUse(
        "", {}, "3", "greet"
    )


@pytest.mark.parametrize("text", ["Grüße an {name} 🎈\nund tschüss", "100 %", "a%20b", '"quoted", {"json"}'])
def test_a_text_is_percent_encoded_utf_8(text: str) -> None:
    template = told(("x-gateway-prompt-template", quote(text))).template
    assert template is not None and template.template == text


@pytest.mark.parametrize(("given", "read"), [("100% sure", "100% sure"), ("50%", "50%"), ("Grüße", "Grüße")])
def test_a_text_that_was_not_encoded_is_taken_as_it_is(given: str, read: str) -> None:
    template = told(("x-gateway-prompt-template", given)).template
    assert template is not None and template.template == read


def test_variables_that_are_no_texts_are_written_as_json() -> None:
    given = {"count": 3, "ratio": 0.5, "flag": True, "none": None, "list": [1, "x"], "object": {"a": "ü"}, "text": "t"}
    for written in (json.dumps(given), quote(json.dumps(given, ensure_ascii=False))):
        template = told(("x-gateway-prompt-variables", written)).template
        assert template is not None and template.variables == {
            "count": "3",
            "ratio": "0.5",
            "flag": "true",
            "none": "null",
            "list": '[1,"x"]',
            "object": '{"a":"ü"}',
            "text": "t",
        }


@pytest.mark.parametrize(
    "variables",
    [
        "not json",
        "[1,2]",
        '"text"',
        "{",
        "",
        "%ff",
        "\udcff",
        json.dumps({str(number): "" for number in range(MOST_VARIABLES + 1)}),
        json.dumps({"long": "x" * MOST_TEXT}),
        '{"a":' * 1000 + "1" + "}" * 1000,
        '{"a":' + "[" * 300 + "]" * 300 + "}",
    ],
)
def test_variables_that_cannot_be_read_are_ignored_and_named(variables: str) -> None:
    hints = told(("x-gateway-prompt-template", "Hello {name}"), ("x-gateway-prompt-variables", variables))
    assert hints.template == TemplateUse("Hello {name}", {})
    assert hints.ignored == ("x-gateway-prompt-variables",)


@pytest.mark.parametrize("field", ["template", "version", "name"])
@pytest.mark.parametrize("value", ["x" * (MOST_TEXT + 1), "%c3%28", "bad\udcff", ""])
def test_a_hint_that_cannot_be_read_is_ignored_and_named(field: str, value: str) -> None:
    hints = told((f"x-gateway-prompt-{field}", value))
    assert hints == Hints(ignored=(f"x-gateway-prompt-{field}",))


def test_a_field_that_comes_twice_is_ignored() -> None:
    hints = told(("x-gateway-prompt-template", "one"), ("X-Gateway-Prompt-Template", "two"))
    assert hints == Hints(ignored=("x-gateway-prompt-template",))


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_found_under_every_customary_name(name: str) -> None:
    assert told((name.title(), "conversation-7")).session == "conversation-7"


def test_the_gateway_s_own_name_for_a_session_comes_first() -> None:
    assert told(*((name, f"session of {name}") for name in reversed(SESSIONS))).session == f"session of {SESSIONS[0]}"


@pytest.mark.parametrize("session", ["", "x" * (MOST_NAME + 1), "line%0Abreak", "%00", "\udcff"])
def test_a_session_that_is_no_name_is_ignored_and_the_next_is_taken(session: str) -> None:
    hints = told(("x-claude-code-session-id", session), ("session-id", "second"))
    assert hints == Hints(session="second", ignored=("x-claude-code-session-id",))

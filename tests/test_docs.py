"""What the documents say of the settings is what the gateway reads: both are written from the same list."""

import re

import pytest
from dotenv import dotenv_values

from gateway.configuration import read
from gateway.settings import Reader, Variable
from gateway.settings.document import as_env, as_markdown
from tests.needing import ROOT

RENEW = "renew it with scripts/settings"


@pytest.fixture(scope="module")
def variables() -> list[Variable]:
    """Every variable that is read, as an empty environment shows it."""
    reader = Reader({})
    read(reader)
    return list(reader.variables.values())


def test_the_example_env_file_lists_what_is_read(variables: list[Variable]) -> None:
    shown = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert shown == as_env(variables), RENEW


def test_the_example_env_file_changes_nothing_as_it_stands() -> None:
    assert dotenv_values(ROOT / ".env.example", interpolate=False) == {}


def test_the_readme_lists_what_is_read(variables: list[Variable]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = re.search(r"<!-- settings -->\n(.*)<!-- /settings -->", text, re.DOTALL)
    assert tables is not None, "README.md has no <!-- settings --> ... <!-- /settings -->"
    assert tables[1].strip() == as_markdown(variables).strip(), RENEW


def test_every_variable_says_what_it_is_for_and_stands_in_a_chapter(variables: list[Variable]) -> None:
    assert [variable.name for variable in variables if not variable.about or variable.about.endswith(".")] == []
    assert [variable.name for variable in variables if not variable.chapter] == []


def test_each_name_that_scripts_rely_on_is_read(variables: list[Variable]) -> None:
    names = {variable.name for variable in variables}
    assert {
        "GATEWAY_HOST",
        "GATEWAY_PORT",
        "GATEWAY_API_KEYS",
        "GATEWAY_MAX_BODY_BYTES",
        "GATEWAY_CONNECT_TIMEOUT",
        "GATEWAY_FIRST_BYTE_TIMEOUT",
        "GATEWAY_IDLE_TIMEOUT",
        "GATEWAY_PROVIDER_<NAME>_BASE_URL",
        "GATEWAY_PROVIDER_<NAME>_API_KEY",
        "GATEWAY_PROVIDER_<NAME>_DIALECT",
        "GATEWAY_PROVIDER_<NAME>_CONNECT_TIMEOUT",
        "GATEWAY_PROVIDER_<NAME>_FIRST_BYTE_TIMEOUT",
        "GATEWAY_PROVIDER_<NAME>_IDLE_TIMEOUT",
        "GATEWAY_WORKERS",
        "GATEWAY_LOG_LEVEL",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
    } <= names

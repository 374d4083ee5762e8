"""What the documents say of the settings is what the gateway reads: both are written from the same list."""

import re
from pathlib import Path

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


def test_the_page_of_settings_lists_what_is_read(variables: list[Variable]) -> None:
    shown = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert shown == as_markdown(variables), RENEW


PAGES = [
    *(
        each
        for pattern in ("*.md", "docs/*.md", "deploy/*/README.md", "tests/*/README.md")
        for each in ROOT.glob(pattern)
    ),
    ROOT / "nginx/README.md",
]
NOT_THE_GATEWAYS = re.compile(r"GATEWAY_(KEY|TEST_\w+)")
"""What shells and tests call theirs."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_speaks_of_a_variable_that_is_not_read(page: Path, variables: list[Variable]) -> None:
    known = [re.sub("<[A-Z]+>", "[A-Z0-9_<>]+", variable.name) + "(_FILE)?" for variable in variables]
    spoken = re.findall(r"\b(?:GATEWAY|PHOENIX|OPENINFERENCE|OTEL)_[A-Z0-9_<>]*[A-Z0-9>]\b", page.read_text("utf-8"))
    is_known = re.compile("|".join(known)).fullmatch
    assert [name for name in spoken if not is_known(name) and not NOT_THE_GATEWAYS.fullmatch(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for path, _, title in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", page.read_text("utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        if title:
            headings = re.findall(r"(?m)^#+ (.+)$", target.read_text("utf-8"))
            assert title in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings], title


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

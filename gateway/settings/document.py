"""The settings as people read them: `.env.example` and `docs/settings.md`, from the variables that are read."""

from collections.abc import Iterable
from textwrap import wrap

from gateway.settings.reader import Variable

WIDTH = 100

PREAMBLE = """\
# Every setting of the gateway. Copy this file to `.env` and uncomment what you need: KEY=value, quotes allowed,
# nothing inside a value is expanded. A variable of the environment wins over this file; one that is empty counts
# as not set. What can hold a secret can be read from a file instead: NAME_FILE=/path/to/file.
"""

HEADING = """\
# Settings

Every variable that the gateway reads, from the environment or from a file `.env` in the folder it is started in; the
environment wins, and a variable that is empty counts as not set. What can hold a secret can be read from a file
instead: `NAME_FILE=/path/to/file`. `python -m gateway check` shows what is configured, without a secret, and all that
is wrong with it at once. `kill -HUP` takes over changed keys, scopes, limits and prices, unless they come from the
environment of the process, which does not change; all else needs a restart. Keys in a file (`GATEWAY_API_KEYS_FILE`)
are taken over by themselves when the file changes.

This page is written by `scripts/settings`, as `.env.example` is.
"""


def as_env(variables: Iterable[Variable]) -> str:
    """A `.env` in which each variable is a comment that shows its default."""
    parts = [PREAMBLE]
    for chapter, members in _chapters(variables).items():
        parts.append(f"\n# ---- {chapter}\n")
        parts.extend(_env_lines(variable) for variable in members)
    return "".join(parts)


def as_markdown(variables: Iterable[Variable]) -> str:
    """A page with a table for each chapter."""
    parts = [HEADING]
    for chapter, members in _chapters(variables).items():
        rows = "".join(_row(variable) for variable in members)
        parts.append(f"## {chapter}\n\n| Variable | Default | What it is for |\n|---|---|---|\n{rows}")
    return "\n".join(parts)


def _chapters(variables: Iterable[Variable]) -> dict[str, list[Variable]]:
    chapters: dict[str, list[Variable]] = {}
    for variable in variables:
        chapters.setdefault(variable.chapter, []).append(variable)
    return chapters


def _env_lines(variable: Variable) -> str:
    about = "".join(f"# {line}\n" for line in wrap(f"{variable.about}.", WIDTH))
    file = f"# {variable.name}_FILE=\n" if variable.secret else ""
    return f"{about}# {variable.name}={variable.default}\n{file}"


def _row(variable: Variable) -> str:
    name = f"`{variable.name}`" + (f", `{variable.name}_FILE`" if variable.secret else "")
    default = f"`{variable.default}`" if variable.default else ""
    return f"| {name} | {default} | {_cell(variable.about)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

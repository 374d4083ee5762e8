"""The settings as people read them."""

from pathlib import Path

from dotenv import dotenv_values

from gateway.settings import Reader, Variable
from gateway.settings.document import as_env, as_markdown

VARIABLES = (
    Variable("PORT", "Port to listen on", "8080", chapter="Listening"),
    Variable("KEYS", "Keys: this|that", secret=True, chapter="Keys"),
)


def test_every_variable_stands_in_the_env_file_with_its_default_and_its_file() -> None:
    text = as_env(VARIABLES)
    assert "# Port to listen on.\n# PORT=8080\n" in text
    assert "# KEYS=\n# KEYS_FILE=\n" in text
    assert text.index("---- Listening") < text.index("PORT=") < text.index("---- Keys") < text.index("KEYS=")


def test_the_env_file_sets_nothing_until_a_line_is_uncommented(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(as_env(VARIABLES))
    assert dotenv_values(file, interpolate=False) == {}
    file.write_text(as_env(VARIABLES).replace("# PORT=", "PORT="))
    assert Reader({k: v or "" for k, v in dotenv_values(file).items()}).integer("PORT", 1, "about") == 8080


def test_the_table_has_a_row_for_each_variable() -> None:
    lines = as_markdown(VARIABLES).splitlines()
    assert "| `PORT` | `8080` | Port to listen on |" in lines
    assert "| `KEYS`, `KEYS_FILE` |  | Keys: this\\|that |" in lines
    assert lines.index("## Listening") < lines.index("## Keys")

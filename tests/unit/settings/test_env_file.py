"""The environment a gateway starts with."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError
from gateway.settings.env_file import merged_environ, read_env_file


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / ".env"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path, *, required: bool = False) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_env_file(path, required=required)
    return list(caught.value.problems)


def test_values_are_taken_as_they_stand(env_file: Path) -> None:
    write(
        env_file,
        b"\xef\xbb\xbf# a comment\r\nA=1\r\nexport B='two words'\nC=${A}\nD=\"${A}\"\nE='${A}$B'\n"
        b'F=a;b=c|d # said aside\nG=\nH="x=y,\nz=w"\n',
    )
    assert read_env_file(env_file) == {
        "A": "1",
        "B": "two words",
        "C": "${A}",
        "D": "${A}",
        "E": "${A}$B",
        "F": "a;b=c|d",
        "G": "",
        "H": "x=y,\nz=w",
    }


def test_a_file_that_is_not_there_says_nothing(env_file: Path) -> None:
    assert read_env_file(env_file) == {}
    assert merged_environ(env_file, {"A": "1"}) == {"A": "1"}


def test_a_file_that_was_asked_for_must_be_there(env_file: Path) -> None:
    assert problems(env_file, required=True) == [f"{env_file}: there is no such file"]


def test_every_line_that_says_nothing_is_told_without_what_it_holds(env_file: Path) -> None:
    write(env_file, "A=1\n\n\nsecret words here\nB=2\nLONELY\nC='never closed\n")
    assert problems(env_file) == [
        f"{env_file}: line 4 is not NAME=value",
        f"{env_file}: line 6 is not NAME=value",
        f"{env_file}: line 7 is not NAME=value",
    ]


def test_a_file_that_is_no_text_is_a_problem(env_file: Path) -> None:
    assert problems(write(env_file, b"A=\xff\xfe\n")) == [f"{env_file}: cannot be read (not UTF-8 text)"]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory)"]


def test_the_environment_wins_where_it_says_something(env_file: Path) -> None:
    write(env_file, "A=file\nB=file\nC=file\n")
    assert merged_environ(env_file, {"A": "own", "B": " ", "D": "own"}) == {
        "A": "own",
        "B": "file",
        "C": "file",
        "D": "own",
    }


def test_a_secret_and_its_file_count_as_one(env_file: Path) -> None:
    write(env_file, "A_FILE=/run/secrets/a\nB=secret\nC_FILE=/run/secrets/c\n")
    assert merged_environ(env_file, {"A": "own", "B_FILE": "/own"}) == {
        "A": "own",
        "B_FILE": "/own",
        "C_FILE": "/run/secrets/c",
    }

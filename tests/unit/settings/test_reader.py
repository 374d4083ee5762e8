"""Reading variables: typed, remembered, and every problem told without a secret in it."""

from pathlib import Path

import pytest

from gateway.settings import Reader, Secret, SettingsError

SECRET = "sesame-open-5f1e"


def problems(reader: Reader) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        reader.finish()
    return list(caught.value.problems)


def test_a_variable_that_is_not_set_or_empty_has_its_default() -> None:
    reader = Reader({"A": "", "B": "  "})
    assert reader.text("A", "a", "about") == "a"
    assert reader.integer("B", 7, "about") == 7
    assert reader.seconds("C", 2.5, "about") == 2.5
    assert reader.flag("D", True, "about") is True
    assert reader.names("E", ("x", "y"), "about") == ("x", "y")
    assert reader.optional_integer("F", "about") is None
    assert reader.optional_seconds("G", "about") is None
    assert reader.secret("H", "about") is None
    assert reader.url("I", "about") is None
    reader.finish()


def test_values_are_read_as_their_types() -> None:
    reader = Reader(
        {"I": "1_000", "S": " 0.5 ", "Z": "0", "F": "off", "R": "0.25", "N": "a, b ,,c", "C": "WARNING", "O": "9"}
    )
    assert reader.integer("I", 1, "about") == 1000
    assert reader.seconds("S", 1, "about") == 0.5
    assert reader.seconds("Z", 1, "about", zero=True) == 0
    assert reader.flag("F", True, "about") is False
    assert reader.ratio("R", 1, "about") == 0.25
    assert reader.names("N", (), "about") == ("a", "b", "c")
    assert reader.choice("C", "info", ("info", "warning"), "about") == "warning"
    assert reader.optional_integer("O", "about") == 9
    reader.finish()


@pytest.mark.parametrize("value", ["eight", "-1", "1.5", "0x10", "70000", "٣", "9" * 5000])
def test_a_number_that_is_none_or_out_of_range_is_a_problem(value: str) -> None:
    reader = Reader({"PORT": value})
    assert reader.integer("PORT", 8080, "about", least=1, most=65535) == 8080
    assert problems(reader) == ["PORT: must be a whole number, at least 1, at most 65535"]


@pytest.mark.parametrize("value", ["0", "-3", "nan", "inf", "1e400", "soon", "1e12"])
def test_a_duration_that_nobody_can_wait_is_a_problem(value: str) -> None:
    reader = Reader({"T": value})
    assert reader.seconds("T", 5, "about") == 5
    assert reader.optional_seconds("T", "about") is None
    assert problems(reader) == ["T: must be a number of seconds, above 0 and at most a year"] * 2


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "half"])
def test_a_ratio_is_from_0_to_1(value: str) -> None:
    reader = Reader({"R": value})
    reader.ratio("R", 0.5, "about")
    assert problems(reader) == ["R: must be a number from 0 to 1"]


@pytest.mark.parametrize(
    "value",
    [
        "api.example.com",
        "ftp://example.com",
        "https://",
        "https://user:pass@example.com",
        "https://user@example.com",
        "https://example.com/?key=1",
        "https://example.com/#top",
        "https://example.com:99999",
    ],
)
def test_a_url_that_is_none_or_holds_credentials_is_a_problem_and_not_shown(value: str) -> None:
    reader = Reader({"U": value})
    assert reader.url("U", "about") is None
    [problem] = problems(reader)
    assert problem.startswith("U: must be an http:// or https:// URL")
    assert value == "https://" or value not in problem
    assert value not in reader.values["U"]


def test_a_url_keeps_its_path() -> None:
    url = Reader({"U": "http://127.0.0.1:8081/base/path"}).url("U", "about")
    assert str(url) == "http://127.0.0.1:8081/base/path"


def test_every_problem_is_told_at_once_and_names_its_variable() -> None:
    reader = Reader({"A": "x", "B": "y", "C": "z", "D": "maybe"})
    reader.integer("A", 1, "about")
    reader.seconds("B", 1, "about")
    reader.choice("C", "p", ("p", "q"), "about")
    reader.flag("D", False, "about")
    assert problems(reader) == [
        "A: must be a whole number, at least 0",
        "B: must be a number of seconds, above 0 and at most a year",
        "C: must be one of p, q",
        "D: must be true or false",
    ]


def test_a_secret_is_shown_nowhere() -> None:
    reader = Reader({"KEY": SECRET})
    secret = reader.secret("KEY", "about")
    assert secret is not None
    assert secret.reveal() == SECRET
    assert SECRET not in repr(secret) + str(secret) + f"{secret}"
    assert reader.values["KEY"] == "***"


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_secret_comes_from_a_file_without_its_last_line_end(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(SECRET.encode() + b"\r\n")
    reader = Reader({"KEY_FILE": str(file)})
    secret = reader.secret("KEY", "about")
    assert secret == Secret(SECRET)
    assert reader.values["KEY"] == "*** (from a file)"
    assert reader.is_set("KEY")
    assert reader.unknown("KEY") == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xff\xfe", "the file cannot be read (not UTF-8 text)"),
    ],
)
def test_a_file_that_holds_no_secret_is_a_problem(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    reader = Reader({"KEY_FILE": str(file)})
    assert reader.secret("KEY", "about") is None
    assert problems(reader) == [f"KEY_FILE: {told}"]


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    reader = Reader({"KEY_FILE": str(tmp_path / "missing")})
    assert reader.secret("KEY", "about") is None
    assert problems(reader) == ["KEY_FILE: the file cannot be read (No such file or directory)"]


def test_a_secret_that_is_set_twice_is_a_problem_that_shows_neither(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("another")
    reader = Reader({"KEY": SECRET, "KEY_FILE": str(file)})
    assert reader.secret("KEY", "about") is None
    assert problems(reader) == ["KEY: is set, and so is KEY_FILE; set one of them"]


def test_names_that_nobody_asked_for_are_told() -> None:
    reader = Reader({"GATEWAY_PORT": "1", "GATEWAY_PROT": "1", "PATH": "/bin"})
    reader.integer("GATEWAY_PORT", 8080, "about")
    assert reader.unknown("GATEWAY_") == ["GATEWAY_PROT"]


def test_the_names_in_a_family_are_found_by_their_suffixes() -> None:
    reader = Reader({"P_MY_LLM_BASE_URL": "x", "P_OTHER_KEY": "y", "P_BASE_URL": "z", "Q_A_KEY": "w", "P_C_KEY": ""})
    assert reader.named("P_", ("_BASE_URL", "_KEY")) == {"MY_LLM", "OTHER"}


def test_each_variable_is_remembered_with_what_it_is_for() -> None:
    reader = Reader({"P_X_URL": "http://x"})
    reader.chapter("Providers")
    reader.url("P_X_URL", "Where it is", as_name="P_<NAME>_URL")
    reader.chapter("Limits")
    reader.integer("MOST", 5, "How many")
    reader.integer("MOST", 6, "asked for again")
    family, single = reader.variables.values()
    assert (family.name, family.chapter) == ("P_<NAME>_URL", "Providers")
    assert (single.name, single.about, single.default, single.chapter) == ("MOST", "How many", "5", "Limits")
    assert reader.values == {"P_X_URL": "http://x", "MOST": "5"}


def test_a_file_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere" / "log"):
        reader = Reader({"LOG": str(wrong)})
        reader.writable_file("LOG", "")
        assert reader.problems == ["LOG: must be a file that can be written, in a directory that exists"]
    for right in (tmp_path / "log", Path("/dev/null")):
        reader = Reader({"LOG": str(right)})
        assert reader.writable_file("LOG", "") == str(right)
        assert not reader.problems
    assert Reader({}).writable_file("LOG", "") == ""

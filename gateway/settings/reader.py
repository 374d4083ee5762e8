"""Reading variables: typed, each name remembered with what it is for, every problem kept until all are known.

Rule 1: a problem names the variable and what would be right, never the value of a secret.
Rule 2: a variable that is set but empty counts as not set, so that a compose file may pass it through unconditionally.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import W_OK, access
from pathlib import Path

from yarl import URL

from gateway.settings.file_state import FileState

LONGEST_SECONDS = 365 * 24 * 3600
MOST_DIGITS = 18
QUOTED = "its value has quotation marks around it, which count as part of it; `docker --env-file` does not remove them"


class Secret:
    """A text that prints as `***`; `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class SettingsError(Exception):
    """The configuration cannot be used; `problems` holds one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Variable:
    """A name the gateway reads; `default` as text, "" if there is none. Files stand in for secrets as NAME_FILE.

    `<NAME>` inside a name stands for whatever the operator puts there.
    """

    name: str
    about: str
    default: str = ""
    secret: bool = False
    chapter: str = ""


class Reader:
    """One look at the environment. Ask for each variable once; then `finish()`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name: value.strip() for name, value in environ.items() if value and value.strip()}
        self.variables: dict[str, Variable] = {}
        self.values: dict[str, str] = {}  # as resolved, secrets as ***, for `check`
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.files: dict[str, FileState] = {}  # that secrets were read from
        self._asked: set[str] = set()
        self._chapter = ""

    def chapter(self, title: str) -> None:
        """What is asked for from here on stands below `title` in the documents."""
        self._chapter = title

    def is_set(self, name: str) -> bool:
        """Whether the environment gives `name` a value of its own, directly or by a file."""
        return name in self._environ or f"{name}_FILE" in self._environ

    def finish(self) -> None:
        """Raise one SettingsError if anything was wrong."""
        if self.problems:
            raise SettingsError(self.problems)

    def problem(self, name: str, what: str) -> None:
        """Note that `name` is wrong and what would be right."""
        self.problems.append(f"{name}: {what}")

    def warning(self, name: str, what: str) -> None:
        """Note that the value of `name` is probably a mistake."""
        line = f"{name}: {what}"
        if line not in self.warnings:
            self.warnings.append(line)

    def unknown(self, *prefixes: str) -> list[str]:
        """Names with one of `prefixes` that are set and not read."""
        return sorted(name for name in self._environ if name.startswith(prefixes) and name not in self._asked)

    def named(self, prefix: str, suffixes: Iterable[str]) -> set[str]:
        """What stands between `prefix` and one of `suffixes` in the names that are set."""
        found = set()
        for name in self._environ:
            for suffix in suffixes:
                if name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix) + len(suffix):
                    found.add(name[len(prefix) : -len(suffix)])
        return found

    def text(self, name: str, default: str, about: str, *, as_name: str = "") -> str:
        """`as_name` documents a family of names, such as GATEWAY_PROVIDER_<NAME>_BASE_URL."""
        raw = self._raw(Variable(as_name or name, about, default), name)
        return default if raw is None else raw

    def choice(self, name: str, default: str, options: Iterable[str], about: str, *, as_name: str = "") -> str:
        options = tuple(options)
        value = self.text(name, default, about, as_name=as_name).lower()
        if value in options or value == default:
            return value
        self.problem(name, f"must be one of {', '.join(options)}")
        return default

    def flag(self, name: str, default: bool, about: str) -> bool:
        value = self.text(name, "true" if default else "false", about).lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value not in ("0", "false", "no", "off"):
            self.problem(name, "must be true or false")
        return False

    def integer(
        self, name: str, default: int, about: str, *, least: int = 0, most: int | None = None, as_name: str = ""
    ) -> int:
        raw = self._raw(Variable(as_name or name, about, str(default)), name)
        if raw is None:
            return default
        digits = raw.replace("_", "")
        if digits.isascii() and digits.isdigit() and len(digits) <= MOST_DIGITS:
            value = int(digits)
            if value >= least and (most is None or value <= most):
                return value
        self.problem(name, f"must be a whole number, at least {least}" + (f", at most {most}" if most else ""))
        return default

    def optional_integer(
        self, name: str, about: str, *, least: int = 0, most: int | None = None, as_name: str = ""
    ) -> int | None:
        self._raw(Variable(as_name or name, about), name)
        value = self.integer(name, -1, about, least=least, most=most, as_name=as_name)
        return None if value == -1 else value

    def seconds(self, name: str, default: float, about: str, *, as_name: str = "", zero: bool = False) -> float:
        """A duration in seconds, above 0 (or from 0 on, where `zero` has a meaning)."""
        raw = self._raw(Variable(as_name or name, about, f"{default:g}"), name)
        value = None if raw is None else self._seconds(name, raw, zero)
        return default if value is None else value

    def optional_seconds(self, name: str, about: str, *, as_name: str = "") -> float | None:
        """A duration in seconds above 0, None if not set."""
        raw = self._raw(Variable(as_name or name, about), name)
        return None if raw is None else self._seconds(name, raw, zero=False)

    def ratio(self, name: str, default: float, about: str) -> float:
        raw = self._raw(Variable(name, about, f"{default:g}"), name)
        try:
            value = default if raw is None else float(raw)
        except ValueError:
            value = math.nan
        if 0 <= value <= 1:
            return value
        self.problem(name, "must be a number from 0 to 1")
        return default

    def names(self, name: str, default: tuple[str, ...], about: str, *, as_name: str = "") -> tuple[str, ...]:
        """A comma-separated list."""
        value = self.text(name, ",".join(default), about, as_name=as_name)
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def url(self, name: str, about: str, *, default: str = "", as_name: str = "") -> URL | None:
        """An absolute http(s) URL without query, fragment or credentials; None if not set."""
        value = self.text(name, default, about, as_name=as_name)
        if not value:
            return None
        try:
            url = URL(value)
            right = url.scheme in ("http", "https") and bool(url.host) and not (url.query_string or url.fragment)
            right = right and url.user is None and url.password is None and url.port is not None
        except ValueError:
            right = False
        if right:
            return url
        self.problem(name, "must be an http:// or https:// URL without credentials, query or fragment")
        self.values[name] = "(not a usable URL)"  # it may hold credentials
        return None

    def writable_file(self, name: str, about: str) -> str:
        """A path that can be written to, or will be once it is created; "" if not set."""
        value = self.text(name, "", about)
        path = Path(value)
        there = path if path.exists() else path.parent
        if value and (path.is_dir() or not there.exists() or not access(there, W_OK)):
            self.problem(name, "must be a file that can be written, in a directory that exists")
        return value

    def secret(self, name: str, about: str, *, as_name: str = "") -> Secret | None:
        """`name`, or the content of the file that `name`_FILE points to, without its last line end."""
        raw = self._raw(Variable(as_name or name, about, secret=True), name)
        path = self._environ.get(f"{name}_FILE")
        self._asked.add(f"{name}_FILE")
        if path is None:
            return None if raw is None else Secret(raw)
        if raw is not None:
            self.problem(name, f"is set, and so is {name}_FILE; set one of them")
            return None
        return self._file(name, path)

    def _seconds(self, name: str, raw: str, zero: bool) -> float | None:
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
        if 0 < value <= LONGEST_SECONDS or (zero and value == 0):
            return value
        self.problem(name, f"must be a number of seconds, {'0 or more' if zero else 'above 0'} and at most a year")
        return None

    def _file(self, name: str, path: str) -> Secret | None:
        self.files[name] = FileState.of(Path(path))
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            self.problem(f"{name}_FILE", f"the file cannot be read ({reason})")
            return None
        self.values[name] = "*** (from a file)"
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            self.problem(f"{name}_FILE", "the file is empty")
            return None
        self._note_quotes(f"{name}_FILE", text)
        return Secret(text)

    def _note_quotes(self, name: str, value: str) -> None:
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            self.warning(name, QUOTED)

    def _raw(self, variable: Variable, name: str) -> str | None:
        if variable.name not in self.variables:
            self.variables[variable.name] = replace(variable, chapter=self._chapter)
        self._asked.add(name)
        raw = self._environ.get(name)
        if raw is not None:
            self._note_quotes(name, raw)
            self.values[name] = "***" if variable.secret else raw
        elif variable.name == name:
            self.values.setdefault(name, variable.default)
        return raw

"""The environment a gateway starts with: its own, over what a `.env` file says.

Nothing inside a value is expanded: a secret may hold a dollar sign.
"""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from gateway.settings.reader import SettingsError


def merged_environ(env_file: Path, environ: Mapping[str, str], *, required: bool = False) -> dict[str, str]:
    """`environ`, and what `env_file` says where `environ` is silent: NAME and NAME_FILE count as one there.

    Raises SettingsError if the file cannot be used, or is `required` and not there.
    """
    own = {name: value for name, value in environ.items() if value.strip()}
    spoken = own.keys() | {f"{name}_FILE" for name in own} | {name.removesuffix("_FILE") for name in own}
    said = read_env_file(env_file, required=required)
    return {name: value for name, value in said.items() if name not in spoken} | own


def read_env_file(path: Path, *, required: bool = False) -> dict[str, str]:
    """The values in a `.env` file; none if it is not there. Raises SettingsError with every line that is none."""
    try:
        bindings = list(parse_stream(StringIO(path.read_text(encoding="utf-8-sig"))))
    except FileNotFoundError:
        if required:
            raise SettingsError([f"{path}: there is no such file"]) from None
        return {}
    except OSError as error:
        raise SettingsError([f"{path}: cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: cannot be read (not UTF-8 text)"]) from None
    if problems := [f"{path}: line {_line(one)} is not NAME=value" for one in bindings if _is_wrong(one)]:
        raise SettingsError(problems)
    return {one.key: one.value for one in bindings if one.key is not None and one.value is not None}


def _is_wrong(binding: Binding) -> bool:
    return binding.error or (binding.key is not None and binding.value is None)


def _line(binding: Binding) -> int:
    """Where a binding begins, below the blank lines that the parser counts in."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")

"""What the gateway uses of aiohttp without aiohttp promising it: found in the source, and told when it moves."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import aiohttp

from tests.needing import ROOT

WRITTEN_AGAINST = "3.14"
COMPILED = "aiohttp._http_parser"
TESTING_ONLY = {"pytest_plugin.py", "test_utils.py"}


def moved(owner: Any, what: str, side: str) -> str:
    """What a test says that finds `what` changed."""
    name = getattr(owner, "__qualname__", owner.__name__)
    return (
        f"aiohttp {aiohttp.__version__}: {name}.{what} is not what it was in aiohttp {WRITTEN_AGAINST}; files of "
        f"gateway/{side}/ lean on it: read them and it anew before raising the pin"
    )


def signature(function: Any) -> str:
    """Names, and those defaults that are plain."""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        plain = parameter.default is None or isinstance(parameter.default, int | str | bytes)
        default = repr(parameter.default) if plain and not isinstance(parameter.default, type) else "..."
        shown.append(parameter.name if parameter.default is parameter.empty else f"{parameter.name}={default}")
    return f"({', '.join(shown)})"


def made_by(owner: type) -> set[str]:
    """Attributes that `owner` and its bases within aiohttp define, declare or give their instances."""
    names: set[str] = set()
    for each in owner.__mro__:
        if each.__module__.startswith("aiohttp.") and each.__module__ != COMPILED:
            names |= _defined(ast.parse(dedent(inspect.getsource(each))))
    return names


@cache
def private_in_aiohttp() -> frozenset[str]:
    """Every private name that a class of aiohttp has. To find them takes a second."""
    folder = Path(aiohttp.__file__).parent
    trees = [ast.parse(path.read_text()) for path in folder.glob("*.py") if path.name not in TESTING_ONLY]
    return frozenset(name for tree in trees for name in _defined(tree) if _is_private(name))


def private_names_used(path: Path, known: frozenset[str]) -> Iterator[str]:
    """The private names of aiohttp's that a file of ours imports, or reads, sets or overrides in aiohttp's objects.

    An attribute of `self` is aiohttp's in a class that derives from something; that of a class of our own is not.
    """
    tree = ast.parse(path.read_text())
    if not any(module.split(".")[0] == "aiohttp" for module in _imported(tree)):
        return
    yield from (name for name in _imported_from_aiohttp(tree) if _is_private(name))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not _is_self(node.value) and node.attr in known:
            yield node.attr
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) != "Protocol" for base in node.bases):
            yield from _of_self(node) & known


def files() -> Iterator[str]:
    """Our files, from the project's root; without the mock upstream, which is no part of the gateway's path."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        if "mock_upstream" not in path.parts:
            yield path.relative_to(ROOT).as_posix()


def _defined(tree: ast.AST) -> set[str]:
    names = _of_self(tree, stored=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                names |= _member(member)
    return names


def _member(member: ast.stmt) -> set[str]:
    if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
        return {member.name}
    if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
        return {member.target.id}
    if isinstance(member, ast.Assign):
        slots = ast.literal_eval(member.value) if ast.unparse(member.targets[0]) == "__slots__" else ()
        return {target.id for target in member.targets if isinstance(target, ast.Name)} | set(slots)
    return set()


def _of_self(tree: ast.AST, *, stored: bool = False) -> set[str]:
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _is_self(node.value) and (not stored or isinstance(node.ctx, ast.Store))
    }
    overridden = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not stored
    }
    return named | overridden


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _imported_from_aiohttp(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiohttp":
            yield from (alias.name for alias in node.names)


def _is_self(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "self") or ast.unparse(node) == "super()"


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")

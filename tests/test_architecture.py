"""The house's floors and its few rules, read off the source itself.

A module imports from its own package or from a lower floor, never upwards and never sideways.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gateway"

# From the ground up. What stands on one floor does not know of each other.
FLOORS = (
    {"settings", "errors"},
    {"wire", "schema"},
    {"telemetry", "access"},
    {"providers"},
    {"upstream"},
    {"projects"},
    {"downstream"},
    {"workers"},
    {"configuration"},
    {"app", "summary"},
    {"serve", "supervise"},
    {"work"},
    {"__main__"},
)
APART = {"mock_upstream"}
"""A house of its own: it knows nothing of the gateway's rooms, and only those on `serve`'s floor know it."""

LONGEST_FILE = 450
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "misc"}
NEVER_IMPORTED = {
    "fastapi",
    "starlette",
    "pydantic",
    "pydantic_settings",
    "uvicorn",
    "httpx",
    "requests",
    "aioresponses",
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
LATE = {
    *(
        ("gateway/__main__.py", f"gateway.{name}")
        for name in ("serve", "supervise", "work", "app", "downstream.api_document")
    ),
    *(("gateway/supervise.py", f"gateway.mock_upstream{part}") for part in ("", ".serving")),
    ("gateway/access/limiters.py", "gateway.access.rate_redis"),
    ("gateway/access/ticket_stores.py", "gateway.access.tickets_redis"),
}
"""Imports inside a function that are meant: `check` and `keys` are quick because they load nothing that serves, a
gateway without Redis does not wait for its client, and a supervisor not for what only its workers need."""


@dataclass(frozen=True)
class Module:
    """A file of the package: where it stands, what it says."""

    path: str
    room: str
    text: str
    tree: ast.Module

    @property
    def is_command(self) -> bool:
        return self.path.endswith("/__main__.py")

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 0)}"


def read(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    text = path.read_text(encoding="utf-8")
    room = "" if parts == ("__init__",) else parts[0]
    return Module(path.relative_to(ROOT).as_posix(), room, text, ast.parse(text, str(path)))


MODULES = [read(path) for path in sorted(PACKAGE.rglob("*.py"))]


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every module that is imported, anywhere in `tree`; of `from gateway import x`, `gateway.x` where that is one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = "." * node.level + (node.module or "")
                deeper = ROOT / f"{module}.{alias.name}".replace(".", "/")
                is_module = deeper.with_suffix(".py").exists() or (deeper / "__init__.py").exists()
                yield (f"{module}.{alias.name}" if is_module else module), node


def room_of(module: str) -> str:
    """`gateway.wire.headers` -> `wire`; the package itself is "" and stands below all floors."""
    return module.split(".")[1] if "." in module else ""


def floor(room: str) -> int:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), -1)


def may_import(here: str, there: str) -> bool:
    if there in ("", here):
        return True
    if here in APART or there in APART:
        return floor(here) == floor("serve")
    return floor(there) < floor(here)


def test_every_room_stands_on_a_floor() -> None:
    assert {module.room for module in MODULES} - {""} <= set().union(*FLOORS) | APART


def test_imports_go_down_only() -> None:
    assert [
        f"{module.at(node)} imports {name}"
        for module in MODULES
        for name, node in imports(module.tree)
        if name.split(".")[0] == "gateway" and not may_import(module.room, room_of(name))
    ] == []


def test_imports_are_absolute_and_stand_at_the_top() -> None:
    late = []
    for module in MODULES:
        top = {id(node) for node in module.tree.body}
        for node in module.tree.body:
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                top |= {id(child) for child in node.body}
        late += [
            f"{module.at(node)} imports {name}"
            for name, node in imports(module.tree)
            if name.startswith(".") or (id(node) not in top and (module.path, name) not in LATE)
        ]
    assert late == []


def test_nothing_is_imported_that_the_gateway_does_without() -> None:
    assert [
        f"{module.at(node)} imports {name}"
        for module in MODULES
        for name, node in imports(module.tree)
        if name.split(".")[0] in NEVER_IMPORTED
    ] == []


def test_a_file_has_one_idea() -> None:
    lengths = {module.path: module.text.count("\n") for module in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_names_say_something() -> None:
    names = {part for module in MODULES for part in module.path.removesuffix(".py").split("/")}
    assert names & SAYS_NOTHING == set()


def test_a_module_says_what_it_is_for() -> None:
    assert [module.path for module in MODULES if not ast.get_docstring(module.tree)] == []


def test_only_a_command_looks_at_the_environment() -> None:
    assert [
        module.at(node)
        for module in MODULES
        if not module.is_command
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.alias) and node.name in ENVIRONMENT)
    ] == []


def test_only_a_command_prints() -> None:
    assert [
        module.at(node)
        for module in MODULES
        if not module.is_command
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ] == []


def test_nothing_is_left_undone() -> None:
    marks = ("TODO", "FIXME", "XXX", "HACK")
    assert [f"{module.path}: {mark}" for module in MODULES for mark in marks if mark in module.text] == []

"""Finds projects by name: packages in `gateway.projects`, or entry points of installed distributions.

A project that cannot be served is a problem of the settings, told in one line with where it arose, never a traceback.
"""

import inspect
import pkgutil
import re
import traceback
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

import msgspec

import gateway.projects
from gateway.projects.project import Endpoint, Project
from gateway.settings import Reader

GROUP = "gateway.projects"
VARIABLE = "GATEWAY_PROJECTS"

_IS_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}").fullmatch
_IS_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+").fullmatch


class CannotServe(Exception):
    """A project is not as it has to be; the message says why."""


def load(names: Sequence[str], reader: Reader) -> tuple[Project, ...]:
    """The projects of these names that can be served; what is wrong with the others is noted with `reader`."""
    projects = []
    for name in names:
        try:
            projects.append(_loaded(name))
        except CannotServe as reason:
            reader.problem(VARIABLE, f"the project {name!r} cannot be served: {reason}")
    return tuple(projects)


def is_name(text: str) -> bool:
    """Whether a project, or a role of one, can be called that."""
    return _IS_NAME(text) is not None


def available() -> tuple[str, ...]:
    """The names of all projects there are, on or off."""
    return tuple(sorted({*_built_in(), *(point.name for point in entry_points(group=GROUP))}))


def _loaded(name: str) -> Project:
    point = _found(name)
    try:
        project = point.load()
    except Exception as error:
        raise CannotServe(_told(error, point)) from error
    _check(name, project)
    return cast(Project, project)


def _found(name: str) -> EntryPoint:
    installed = list(entry_points(group=GROUP, name=name))
    if name in _built_in():
        installed.append(EntryPoint(name, f"gateway.projects.{name}:PROJECT", GROUP))
    if len(installed) > 1:
        raise CannotServe("more than one is installed under this name")
    if not installed:
        raise CannotServe(f"there is none of this name; there are: {', '.join(available()) or 'none'}")
    return installed[0]


def _built_in() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(gateway.projects.__path__) if module.ispkg]


def _check(name: str, project: Any) -> None:
    """Raise CannotServe for what would otherwise come out only when it is called."""
    if not isinstance(project, Project):
        raise CannotServe(f"its entry point is not a Project but {type(project).__name__}")
    if project.name != name:
        raise CannotServe(f"it calls itself {project.name!r}")
    if not is_name(name):
        raise CannotServe("a name is lower-case letters, digits, - and _, and begins with a letter")
    if not all(is_name(role) for role in project.roles):
        raise CannotServe("a role is lower-case letters, digits, - and _, and begins with a letter")
    if not project.endpoints:
        raise CannotServe("it has no endpoint")
    paths = [endpoint.operation.path for endpoint in project.endpoints]
    if len(set(paths)) < len(paths):
        raise CannotServe("two of its endpoints have the same path")
    for endpoint in project.endpoints:
        for objection in _objections(endpoint):
            raise CannotServe(f"{endpoint.operation.path}: {objection}")


def _objections(endpoint: Endpoint) -> Iterable[str]:
    operation = endpoint.operation
    if operation.method != "POST":
        yield f"an endpoint is called by POST, not {operation.method}"
    if not _IS_PATH(operation.path):
        yield "a path is made of /, letters, digits and . _ ~ -"
    for role, contract in (("request", operation.request), ("response", operation.response)):
        if not (isinstance(contract, type) and issubclass(contract, msgspec.Struct)):
            yield f"the {role} must be a msgspec.Struct"
            return
    if not inspect.isasyncgenfunction(endpoint.workflow):
        yield "the workflow must be an async generator: `async def` with a `yield`"
    if endpoint.deadline <= 0:
        yield "the deadline must be above 0 seconds"
    for title, example in operation.examples.items():
        if objection := _misfit(example, operation.request):
            yield f"the example {title!r} is not a valid request: {objection}"
    if operation.reply is not None and (objection := _misfit(operation.reply, operation.response)):
        yield f"the example reply is not valid: {objection}"


def _misfit(example: Any, contract: Any) -> str:
    """Why an example does not keep to its contract, as a client would be told; "" if it does."""
    try:
        msgspec.json.decode(msgspec.json.encode(example), type=contract)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _told(error: Exception, point: EntryPoint) -> str:
    """What went wrong while a project was loaded, and the last line of the project's own that led there."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    package = point.module.replace(".", "/")
    own = [place for place in traceback.extract_tb(error.__traceback__) if _is_below(package, place.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


def _is_below(package: str, filename: str) -> bool:
    return f"/{package}/" in Path(filename).as_posix() or Path(filename).as_posix().endswith(f"/{package}.py")

"""Mounts routes from Operations, and tells afterwards what is mounted."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from aiohttp import web

from gateway.schema.operation import Operation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Served:
    """An operation, and what answers it; at `also`, another spelling of its path, too."""

    operation: Operation
    handler: Handler
    also: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that it is served at."""
        return (self.operation.path,) if self.also is None else (self.operation.path, self.also)


@dataclass(frozen=True, slots=True)
class Tag:
    """What the operations of an application have in common, for the documentation."""

    name: str
    about: str


OPERATIONS = web.AppKey("operations", list[Operation])
TAG = web.AppKey("tag", Tag)


def mount(app: web.Application, *served: Served) -> None:
    """Add a route for each; HEAD goes with GET, except where a GET is a stream."""
    for one in served:
        operation = one.operation
        for path in one.paths:
            if operation.method == "GET" and not operation.streams:
                app.router.add_get(path, one.handler)
            else:
                app.router.add_route(operation.method, path, one.handler)
        describe(app, operation)


def public_paths(served: Iterable[Served]) -> frozenset[str]:
    """The paths that need no key."""
    return frozenset(path for one in served if one.operation.public for path in one.paths)


def describe(app: web.Application, *operations: Operation) -> None:
    """Document operations of routes that are mounted already: the customary uses of a pass-through."""
    app.setdefault(OPERATIONS, []).extend(operations)


def mounted_on(app: web.Application) -> tuple[Operation, ...]:
    """Every operation of an application and of those below it, with its whole path, in the order of mounting."""
    return tuple(operation.under(prefix) for prefix, part in _parts(app) for operation in part.get(OPERATIONS, ()))


def tags_of(app: web.Application) -> dict[str, str]:
    """What the tags of an application and of those below it stand for."""
    return {tag.name: tag.about for _, part in _parts(app) if (tag := part.get(TAG)) is not None}


def _parts(app: web.Application, prefix: str = "") -> Iterator[tuple[str, web.Application]]:
    yield prefix, app
    for resource in app.router.resources():
        below = resource.get_info()
        if "app" in below:
            yield from _parts(below["app"], below["prefix"])

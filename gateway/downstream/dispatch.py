"""Who answers a request: what aiohttp's router finds and its middlewares wrap, remembered for the next one.

The router walks a path's segments upwards, once for each application on the way, and comes to the same end for the same
path. What it finds for a path is kept, with the chain of middlewares before the handler; what nothing answers is not.

This file leans on names that aiohttp does not promise; `test_connection.py` lists them.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_urldispatcher import AbstractRoute, SystemRoute, UrlMappingMatchInfo

MOST: Final = 1024
"""Paths that are remembered: for a pass-through, any path leads somewhere."""
LONGEST: Final = 256


Hook = Callable[[web.Request, web.StreamResponse], None]


def at_once(hook: Hook) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """`hook` as `on_response_prepare` takes it; as it waits for nothing, it may be called where nothing is awaited."""

    async def called(request: web.Request, response: web.StreamResponse) -> None:
        hook(request, response)

    called.at_once = hook  # type: ignore[attr-defined]
    return called


class Match(UrlMappingMatchInfo):
    """What requests matched; `template` is the route's path, bounded in number, "unmatched" where nothing is.

    `hooks` are called before a response's head is written: all those of `on_response_prepare`. The same are `at_once`,
    None if any of them has to be awaited.
    """

    __slots__ = ("at_once", "hooks", "template")

    def __init__(self, variables: dict[str, str], route: AbstractRoute, apps: list[web.Application]) -> None:
        super().__init__(variables, route)
        self._apps, self._current_app, self._frozen = apps, apps[-1], True
        self.template = "unmatched" if route.resource is None else route.resource.canonical
        self.hooks = tuple([hook for app in apps for hook in app.on_response_prepare])
        at_once: list[Hook | None] = [getattr(hook, "at_once", None) for hook in self.hooks]
        self.at_once = None if None in at_once else tuple([hook for hook in at_once if hook is not None])


class Dispatch:
    """Takes requests to the handlers of an application and those below it."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._known: dict[tuple[str, str], tuple[Handler, Match]] = {}

    def handle(self, request: web.Request) -> Awaitable[web.StreamResponse]:
        """The response to `request`. Raises what its handler raises."""
        message = request._message
        path = message.path.partition("?")[0]
        found = self._known.get((message.method, path))
        if found is None:
            return self._find_and_handle(request, path)
        handler, request._match_info = found
        return handler(request)

    async def _find_and_handle(self, request: web.Request, path: str) -> web.StreamResponse:
        handler, request._match_info = await self._find(request, path)
        return await handler(request)

    async def _find(self, request: web.Request, path: str) -> tuple[Handler, Match]:
        """Where `path` leads."""
        match: Any = await self._app.router.resolve(request)
        match.add_app(self._app)
        handler = match.handler
        for app in reversed(match.apps):
            for middleware in reversed(app.middlewares):
                handler = _before(handler, middleware)
        found = handler, Match(dict(match), match.route, [*match.apps])
        if not isinstance(match.route, SystemRoute) and len(path) <= LONGEST:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[request.method, path] = found
        return found


def _before(handler: Handler, middleware: Middleware) -> Handler:
    # By position: `partial` would call it by name, which costs the interpreter a frame of its own.
    return lambda request: middleware(request, handler)

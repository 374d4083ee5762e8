"""What answers a path is found once, by aiohttp's own router, and is the same ever after."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from gateway.downstream import dispatch
from gateway.downstream.dispatch import Dispatch, at_once
from tests.guarded_app import answer_to, served

PASSED = web.RequestKey("passed", list[str])


def middleware(name: str) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    @web.middleware
    async def marked(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[PASSED] = [*request.get(PASSED, []), name]
        return await handler(request)

    return marked


async def tell(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "passed": request[PASSED],
            "variables": dict(request.match_info),
            "route": request.match_info.route.resource.canonical,
            "apps": len(request.match_info.apps),
            "own": request.app is request.match_info.apps[-1],
        }
    )


@pytest.fixture
async def found() -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    below = web.Application(middlewares=[middleware("third"), middleware("fourth")])
    below.router.add_get("/{tail:.*}", tell)
    app = web.Application(middlewares=[middleware("first"), middleware("second")])
    app.router.add_get("/own", tell)
    app.add_subapp("/below", below)
    async with served(app=app) as it:

        async def asked(target: str) -> object:
            answer = await answer_to(it, f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n")
            return answer.status if answer.status != 200 else json.loads(answer.body)

        yield asked


async def test_requests_pass_the_middlewares_of_each_application_in_order(
    found: Callable[[str], Awaitable[object]],
) -> None:
    own = {"passed": ["first", "second"], "variables": {}, "route": "/own", "apps": 1, "own": True}
    below = {
        "passed": ["first", "second", "third", "fourth"],
        "variables": {"tail": "a/b c"},
        "route": "/below/{tail}",
        "apps": 2,
        "own": True,
    }
    for _ in range(3):  # found, and remembered
        assert await found("/own?query=1") == own
        assert await found("/below/a/b%20c") == below
        assert await found("/nowhere") == 404


async def test_what_nothing_answers_is_not_remembered_and_paths_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "MOST", 8)
    app = web.Application()
    app.router.add_get("/{tail:.*}", tell)
    finding = Dispatch(app)

    async def ask(method: str, path: str) -> None:
        await finding._find(_Request(method, path), path)

    for number in range(100):
        await ask("POST", f"/{number}")
    assert not finding._known
    for number in range(100):
        await ask("GET", f"/{number}")
        assert len(finding._known) <= 8
    await ask("GET", "/" + "a" * 300)
    assert ("GET", "/" + "a" * 300) not in finding._known


async def test_hooks_that_wait_for_nothing_are_called_at_once_only_if_all_are_such() -> None:
    signed: list[str] = []

    async def waits(request: web.Request, response: web.StreamResponse) -> None:
        signed.append("waits")

    def hooked(*hooks: str) -> web.Application:
        app = web.Application()
        app.router.add_get("/", tell)
        for name in hooks:
            app.on_response_prepare.append(
                waits if name == "waits" else at_once(lambda *_, name=name: signed.append(name))
            )
        return app

    request, response = _Request("GET", "/"), web.Response()
    for hooks, calls in (("first", "second"), 2), ((), 0):
        _, match = await Dispatch(hooked(*hooks))._find(request, "/")
        assert match.at_once is not None and len(match.at_once) == calls
        for hook in match.at_once:
            hook(request, response)
        for signal in match.hooks:
            await signal(request, response)
    assert signed == ["first", "second", "first", "second"]
    assert (await Dispatch(hooked("first", "waits"))._find(request, "/"))[1].at_once is None


class _Request:
    """As much of a request as the router looks at."""

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.rel_url = URL(path)

"""What is mounted answers, and is told with its whole path."""

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.downstream.routes import TAG, Served, Tag, describe, mount, mounted_on, public_paths, tags_of
from gateway.schema.operation import Operation, Response

PLAIN = Operation("GET", "/plain", "Plain", public=True, responses=(Response(200, "It."),))
STREAM = Operation("GET", "/stream", "Stream", streams=True)
ANYTHING = Operation("*", "/{tail:.*}", "Anything")
KNOWN = Operation("POST", "/known", "A known use of anything")


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=request.method)


def application() -> web.Application:
    app, below = web.Application(), web.Application()
    mount(app, Served(PLAIN, answer), Served(STREAM, answer))
    mount(below, Served(ANYTHING, answer))
    describe(below, KNOWN)
    below[TAG] = Tag("below", "What is below.")
    app.add_subapp("/below", below)
    return app


async def test_operations_are_served_by_their_handlers() -> None:
    async with TestClient(TestServer(application())) as client:
        for method, path, status in (
            ("GET", "/plain", 200),
            ("HEAD", "/plain", 200),
            ("POST", "/plain", 405),
            ("GET", "/stream", 200),
            ("HEAD", "/stream", 405),
            ("DELETE", "/below/any/thing", 200),
        ):
            async with client.request(method, path) as response:
                assert response.status == status, (method, path)


def test_what_is_mounted_is_told_in_order_with_its_prefix() -> None:
    assert [(operation.method, operation.path) for operation in mounted_on(application())] == [
        ("GET", "/plain"),
        ("GET", "/stream"),
        ("*", "/below/{tail:.*}"),
        ("POST", "/below/known"),
    ]


def test_tags_are_gathered_from_below() -> None:
    assert tags_of(application()) == {"below": "What is below."}


def test_open_paths_are_those_of_open_operations() -> None:
    assert public_paths([Served(PLAIN, answer, also="/plain/"), Served(STREAM, answer)]) == {"/plain", "/plain/"}

"""The gateway's connection, transport and response by themselves: no key, limit, record, log, metric, span, usage.

`python bare_relay.py PORT UPSTREAM_PORT`. What all features cost together is what the gateway costs more.
"""

import asyncio
import socket
import sys
from typing import Any

import uvloop
from aiohttp import web
from yarl import URL

from gateway.downstream.connection_bounds import ConnectionBounds
from gateway.downstream.guarded_request import GuardedRequest
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.runner import GuardedRunner
from gateway.serve import spare_collections
from gateway.settings import Timeouts
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.roads import roads
from gateway.upstream.tap import Tap
from gateway.upstream.transport import Outgoing, Transport, field_lines
from gateway.wire import headers


class Outflow:
    """The body of a response on its way to the client."""

    def __init__(self, request: web.Request, response: RelayedResponse) -> None:
        self._request = request
        self._response = response

    def take(self, piece: bytes, framed: bytes = b"") -> bool:
        return self._response.put(piece) and not self._request.protocol.writing_paused

    async def taken(self) -> None:
        await self._request.protocol._drain_helper()


class Relay:
    """Sends every request on as it came."""

    def __init__(self, transport: Transport, host: bytes) -> None:
        self._transport = transport
        self._host = host

    async def serve(self, request: web.Request) -> web.StreamResponse:
        fields = headers.to_upstream(request.raw_headers, host=self._host, via=b"1.1 bare-relay")
        assert isinstance(request, GuardedRequest)
        body = request.take_body() or await request.read() or None
        asked = Outgoing(request.method, request.raw_path.encode(), field_lines(fields), body, len(body or b""))
        call = UpstreamCall("upstream", request.method, request.path, "0" * 16)
        async with self._transport.send(asked, call) as answer:
            lines = headers.client_lines(answer.values, answer.layout)
            at = answer.layout.at.get(b"content-length")
            length = None if at is None else int(answer.values[at])
            response = RelayedResponse.of_lines(
                answer.status, answer.reason, lines or b"", length=length, has_date=b"date" in answer.layout.at
            )
            whole = answer.whole()
            if whole is not None:
                await response.deliver(request, whole)
                return response
            await response.prepare(request)
            await answer.hand_over(Outflow(request, response), Tap())
            await response.write_eof()
            return response


async def serve(port: int, upstream: int) -> None:
    origin = f"127.0.0.1:{upstream}"
    transport = roads()(URL(f"http://{origin}"), Timeouts(), 1000)
    app = web.Application()
    app.router.add_route("*", "/{target:.*}", Relay(transport, origin.encode()).serve)
    unheard: Any = lambda malformed: None  # noqa: E731
    runner = GuardedRunner(app, bounds=ConnectionBounds(), on_malformed=unheard)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    await web.SockSite(runner, listening, backlog=4096).start()
    spare_collections()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))

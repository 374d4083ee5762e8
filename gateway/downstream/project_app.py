"""`/projects/<name>/...`: workflows over HTTP. The routes are mounted from the endpoints' own Operations."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from gateway.access.clients import Client
from gateway.downstream.body import stored_body
from gateway.downstream.contract_body import read_checked
from gateway.downstream.routes import TAG, Served, Tag, mount
from gateway.downstream.state import CLIENT, EXCHANGE
from gateway.downstream.stream import stream
from gateway.downstream.workflow_frames import error_frame, written
from gateway.errors import Forbidden, InvalidRequest, MethodNotAllowed
from gateway.projects.binding import BoundProject
from gateway.projects.project import Endpoint, Project
from gateway.projects.running import Run
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.schema.operation import Operation, Parameter, Response
from gateway.settings import Limits
from gateway.telemetry.exchange import Content, Exchange, UpstreamCall
from gateway.telemetry.logs import speak_for
from gateway.telemetry.trace_context import new_span_id
from gateway.upstream.chat import Chat, Model, OpenSession, Tell, Upstream, UpstreamAnswer
from gateway.wire.mode import PARAMETER, StreamMode, asked

PING_SECONDS = 15.0
STREAM_FIELDS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Shared:
    """What the workflows of all projects have in common."""

    upstream: Upstream
    providers: Mapping[str, Provider]
    http: OpenSession
    limits: Limits
    capture: bool = False  # keep what was asked and answered, for traces
    ping: float = PING_SECONDS  # seconds of silence
    key_providers: bool = False  # a workflow may call only the providers that the client's key may use


@dataclass(frozen=True, slots=True)
class ScopedUpstream:
    """Calls to the providers that a client's key may use. Raises Forbidden for any other."""

    upstream: Upstream
    client: Client

    def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall
    ) -> AbstractAsyncContextManager[UpstreamAnswer]:
        if not self.client.may_use_provider(provider.name):
            raise Forbidden(f"This key may not use the provider {provider.name}, which this workflow calls.")
        return self.upstream.call(exchange, provider, request, call)


def project_app(bound: BoundProject, shared: Shared) -> web.Application:
    """The sub-application of one project."""
    project, models = bound.project, bound.models(shared.providers)
    app = web.Application()
    app[TAG] = Tag(project.name, project.description or project.title)
    for endpoint in project.endpoints:
        mount(app, *_served(project, endpoint, models, shared))
    return app


def _served(project: Project, endpoint: Endpoint, models: Mapping[str, Model], shared: Shared) -> Sequence[Served]:
    operation = project.contract(endpoint)
    workflow = ServedWorkflow(project, endpoint, models, shared, msgspec.json.Decoder(operation.request))
    posted = Served(operation, workflow.answer)
    return (posted, Served(by_ticket(operation), workflow.answer)) if operation.streams else (posted,)


def by_ticket(operation: Operation) -> Operation:
    """The same operation for a browser's EventSource, which can send neither a key nor a body."""
    return replace(
        operation,
        method="GET",
        summary=f"{operation.summary}, for EventSource",
        description="A ticket stands for the key and the body, once; POST /tickets gives it.",
        request=None,
        examples={},
        parameters=(Parameter("ticket", "query", "What POST /tickets gave.", required=True),),
        responses=(Response(204, "The ticket was used before; this makes EventSource stop asking.", media_type=""),),
        errors=(MethodNotAllowed, *operation.errors),
    )


@dataclass(frozen=True, slots=True)
class ServedWorkflow:
    """One endpoint: checks what comes in, runs the workflow, and writes what it says in the mode that was asked for."""

    project: Project
    endpoint: Endpoint
    models: Mapping[str, Model]
    shared: Shared
    decoder: "msgspec.json.Decoder[Any]"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        exchange, project = request[EXCHANGE], self.project
        exchange.project = project.name
        if not request[CLIENT].may_use_project(project.name):
            raise Forbidden(
                f"This key may not use the project {project.name}; GET /projects lists those that it may use."
            )
        if request.method != "POST" and stored_body(request) is None:
            raise MethodNotAllowed(
                "Use POST at this path; a GET needs a ticket from /tickets.", headers={"Allow": "POST"}
            )
        mode = exchange.stream_mode = self._mode(request)
        body, said = await read_checked(request, self.decoder, self.shared.limits.max_body_bytes)
        exchange.workflow_span_id = new_span_id(exchange.trace)
        if self.shared.capture:
            exchange.content = Content(input_value=body.decode("utf-8", "replace"))
        with speak_for(exchange):
            return await self._run(request, exchange, said, mode)

    async def _run(self, request: web.Request, exchange: Exchange, said: Any, mode: StreamMode) -> web.StreamResponse:
        async with Run(self.endpoint, partial(self._open_chat, request[CLIENT]), exchange, said) as run:
            if mode is StreamMode.JSON:
                return web.Response(body=msgspec.json.encode(await run.reply()), content_type="application/json")
            return await self._stream(request, run, mode)

    def _mode(self, request: web.Request) -> StreamMode:
        query = request.raw_path.partition("?")[2]
        mode = asked(query, request.headers.getall("x-stream-mode", ())) or StreamMode.JSON
        if mode.streams and not self.endpoint.operation.streams:
            raise InvalidRequest("This endpoint answers in one piece; it has no streaming modes.", param=PARAMETER)
        return mode

    async def _stream(self, request: web.Request, run: Run, mode: StreamMode) -> web.StreamResponse:
        """The head goes out with the first words, so that what fails before them still has a status of its own."""
        patience = self.shared.ping if mode is StreamMode.SSE else None
        opening = await run.opening(patience, own_words=mode is StreamMode.TEXT)
        response = web.StreamResponse(headers={"Content-Type": mode.content_type, **STREAM_FIELDS})
        failed = error_frame(mode, request[EXCHANGE].id, request.path)
        return await stream(request, response, written(run, opening, mode, self.shared.ping), failed)

    def _open_chat(self, client: Client, exchange: Exchange, tell: Tell) -> Chat:
        shared = self.shared
        upstream = ScopedUpstream(shared.upstream, client) if shared.key_providers else shared.upstream
        return Chat(upstream, exchange, self.models, http=shared.http, tell=tell)

"""The composition root: the one file that knows every room. Objects are made here and handed to whoever needs them."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.access.tickets import MemoryStore, Tickets
from gateway.configuration import Configuration
from gateway.downstream.api_document import render
from gateway.downstream.demo_app import demo_routes, ticket_routes
from gateway.downstream.docs_app import docs_routes
from gateway.downstream.middlewares.authenticate import authenticate
from gateway.downstream.middlewares.errors import errors
from gateway.downstream.middlewares.limit import limit
from gateway.downstream.middlewares.observe import name_exchange, observe
from gateway.downstream.ops_app import ops_routes
from gateway.downstream.project_app import Shared, project_app
from gateway.downstream.project_list import project_list
from gateway.downstream.provider_app import provider_app, unconfigured_app
from gateway.downstream.routes import mount, public_paths
from gateway.downstream.state import RECORDER
from gateway.providers.catalog import KNOWN
from gateway.settings import Settings
from gateway.telemetry.recorder import Recorder, View
from gateway.telemetry.trace_context import Sampler
from gateway.upstream.client import UpstreamClient
from gateway.upstream.http_calls import HttpCalls


@dataclass(slots=True)
class Lifecycle:
    """Whether the process is on its way out; `/readyz` and the serving loop share it."""

    draining: bool = False


@dataclass(frozen=True, slots=True)
class Gateway:
    """The application and what its server steers it by."""

    app: web.Application
    recorder: Recorder
    lifecycle: Lifecycle = field(default_factory=Lifecycle)


def build(configuration: Configuration, views: tuple[View, ...]) -> Gateway:
    """The application for `configuration`; every finished exchange is shown to `views`."""
    settings, providers = configuration.settings, configuration.providers
    recorder, lifecycle, tickets = Recorder(views), Lifecycle(), _tickets(settings)
    upstream, http = UpstreamClient(providers, pool_size=settings.pool_size), HttpCalls()
    own = (
        *ops_routes(build=settings.server.build, is_draining=lambda: lifecycle.draining),
        *demo_routes(),
        *ticket_routes(tickets),
        project_list([bound.project for bound in configuration.projects]),
        *docs_routes(configuration.docs, lambda: render(app)),
    )
    app = web.Application(
        # Read downwards: this is the order in which a request meets them.
        middlewares=[
            observe(recorder, Sampler()),
            errors,
            authenticate(configuration.clients, tickets, public_paths(own)),
            limit(settings.limits),
        ],
    )
    app[RECORDER] = recorder
    app.cleanup_ctx.extend((while_open(upstream), while_open(http)))
    app.on_response_prepare.append(name_exchange)
    mount(app, *own)
    shared = Shared(upstream, {provider.name: provider for provider in providers}, http.session, settings.limits)
    for bound in configuration.projects:
        app.add_subapp(bound.project.prefix, project_app(bound, shared))
    for provider in providers:
        app.add_subapp(f"/provider/{provider.name}", provider_app(provider, upstream, settings.limits))
    served = {provider.name for provider in providers}
    for name, known in KNOWN.items():
        if name not in served:
            app.add_subapp(f"/provider/{name}", unconfigured_app(name, known.dialect))
    return Gateway(app, recorder, lifecycle)


def while_open(resource: AbstractAsyncContextManager[object]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Keep `resource` open from the application's start-up to its clean-up."""

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with resource:
            yield

    return opened


def _tickets(settings: Settings) -> Tickets:
    configured = settings.tickets.secret
    secret = secrets.token_bytes(32) if configured is None else configured.reveal().encode("utf-8")
    return Tickets(secret, settings.tickets.seconds, MemoryStore())

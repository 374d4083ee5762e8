"""The composition root: the one file that knows every room. Objects are made here and handed to whoever needs them."""

import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial

from aiohttp import web

import gateway
from gateway.access.budgets import Budgets
from gateway.access.gate import Gate
from gateway.access.limiters import Kept, limiter_for
from gateway.access.ticket_stores import ticket_store_for
from gateway.access.tickets import Tickets, TicketStore
from gateway.access.upload_tokens import UploadTokens
from gateway.configuration import Configuration
from gateway.downstream.api_document import render
from gateway.downstream.client_address import Trusts, origin_reader, trusted_proxies
from gateway.downstream.cors import open_to_pages, preflights
from gateway.downstream.demo_app import demo_routes, ticket_routes
from gateway.downstream.directory import Directory
from gateway.downstream.dispatch import at_once
from gateway.downstream.docs_app import docs_routes
from gateway.downstream.metrics_app import Gathered, metrics_route
from gateway.downstream.middlewares.authenticate import authenticate
from gateway.downstream.middlewares.errors import errors
from gateway.downstream.middlewares.limit import limit
from gateway.downstream.middlewares.observe import name_exchange, observe
from gateway.downstream.middlewares.rate import rate, show_limits
from gateway.downstream.ops_app import ops_routes
from gateway.downstream.project_app import Shared, project_app
from gateway.downstream.project_list import project_list
from gateway.downstream.provider_app import provider_app, unconfigured_app
from gateway.downstream.provider_links import ProviderLinks
from gateway.downstream.provider_list import provider_list
from gateway.downstream.routes import mount, public_paths
from gateway.downstream.server_timing import tell_server_timing
from gateway.downstream.state import RECORDER
from gateway.providers.catalog import KNOWN
from gateway.providers.reading.parameters import ParameterScope
from gateway.settings import Settings
from gateway.settings.tracing import Capture as Captured
from gateway.settings.tracing import ContentSettings
from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import Road
from gateway.telemetry.fallbacks import Fallbacks
from gateway.telemetry.loop_lag import LoopLag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.model_calls import gen_ai_name
from gateway.telemetry.recorder import Recorder, View
from gateway.telemetry.tracing import Tracing, sampler_of
from gateway.upstream.circuit import Circuit, State
from gateway.upstream.client import UpstreamClient
from gateway.upstream.http_calls import HttpCalls
from gateway.upstream.limited import LimitedUpstream
from gateway.upstream.response import NO_CAPTURE, Capture
from gateway.upstream.retries import Retries
from gateway.upstream.roads import roads
from gateway.wire.headers import new_via_name


@dataclass(slots=True)
class Lifecycle:
    """Whether the process is on its way out; `/readyz` and the serving loop share it."""

    draining: bool = False


@dataclass(frozen=True, slots=True)
class InCommon:
    """What one of several workers has together with the others; None: this process is alone, and has its own.

    `limits` is one end of a socket pair whose other end an arbiter has.
    """

    limits: socket.socket | None = None
    tickets: TicketStore | None = None
    ticket_secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    via_name: str = field(default_factory=new_via_name)
    figures: Gathered | None = None


@dataclass(frozen=True, slots=True)
class Gateway:
    """The application and what its server steers it by. `figures` are what a scrape is told."""

    app: web.Application
    recorder: Recorder
    metrics: Metrics
    lifecycle: Lifecycle
    figures: Gathered
    fallbacks: Fallbacks
    trusts: Trusts
    take_over: Callable[[Configuration], None]
    """What can change while requests run: keys and their scopes, limits, prices."""


def build(configuration: Configuration, views: tuple[View, ...], common: InCommon | None = None) -> Gateway:
    """The application for `configuration`; every finished exchange is shown to `views`, metrics and tracing."""
    common = common or InCommon()
    settings, providers = configuration.settings, configuration.providers
    vendors = {provider.name: provider.system or provider.name for provider in providers}
    metrics, tracing = _metrics(configuration, vendors), _tracing(settings, vendors)
    traced = (tracing.view,) if tracing is not None else ()
    recorder = Recorder((*views, metrics.view, *traced))
    sold = ticket_store_for(settings.redis, common.tickets)
    lifecycle, secret = Lifecycle(), _ticket_secret(settings, common.ticket_secret)
    tickets, uploads = Tickets(secret, settings.tickets.seconds, sold.store), UploadTokens(secret)
    figures = common.figures or metrics.gathered
    capture = replace(
        NO_CAPTURE if tracing is None else _capture(settings.tracing.content),
        error_messages=settings.log.provider_messages,
    )
    forced = None if settings.upstream.road == "auto" else Road(settings.upstream.road)
    via_name = settings.server.via_name or common.via_name
    fallbacks = Fallbacks()
    upstream = UpstreamClient(
        providers,
        pool_size=settings.pool_size,
        live=metrics,
        capture=capture,
        transport=roads(forced, settings.tcp_keepalive, fallbacks),
        via_name=via_name,
    )
    http = HttpCalls(settings.tcp_keepalive)
    kept = limiter_for(settings.rates, settings.redis, common.limits)
    gate = Gate(Budgets(settings.rates.rules), kept.limiter)
    limited = LimitedUpstream(upstream, gate, settings.prices)
    _watch(metrics, recorder, tracing, upstream, kept)
    metrics.watch(table.FALLBACKS, (), lambda: fallbacks.count)
    metrics.watch_each(table.LIMIT_POLICY_REFUSALS, lambda: gate.refusals)
    directory = Directory(providers, [bound.project for bound in configuration.projects])
    own = (
        *ops_routes(
            build=settings.server.build,
            is_draining=lambda: lifecycle.draining,
            doors=upstream.doors.values(),
            clients=configuration.clients,
        ),
        *demo_routes(),
        *ticket_routes(tickets),
        provider_list(providers),
        project_list(directory.projects),
        *(() if settings.metrics.on_own_listener else (metrics_route(figures, settings.metrics),)),
        *docs_routes(configuration.docs, lambda: render(app)),
    )
    public = public_paths(own)
    app = web.Application(
        # Read downwards: this is the order in which a request meets them.
        middlewares=[
            observe(recorder, sampler_of(settings.tracing), origin_reader(settings.proxies), via_name, fallbacks),
            errors(directory),
            *((preflights,) if settings.cors.origins else ()),
            authenticate(configuration.clients, tickets, uploads, public),
            limit(settings.limits, public),
            rate(gate),
        ],
    )
    app[RECORDER] = recorder
    lag = LoopLag(metrics.histogram(table.EVENT_LOOP_LAG))
    opened = (recorder, kept.connection, sold.connection, upstream, http, lag)
    app.cleanup_ctx.extend([while_open(each) for each in opened])
    if tracing is not None:
        app.cleanup_ctx.insert(0, while_open(tracing))  # closed last: the others' last spans go out too
    app.on_response_prepare.append(at_once(_sign))
    if settings.server.timing:
        app.on_response_prepare.append(at_once(tell_server_timing))
    to_pages = open_to_pages(settings.cors)
    mount(to_pages(app), *own)
    by_name = {provider.name: provider for provider in providers}
    shared = Shared(
        limited,
        by_name,
        http.session,
        settings.limits,
        capture=capture.content,
        key_providers=settings.project_key_providers,
    )
    for bound in configuration.projects:
        app.add_subapp(bound.project.prefix, to_pages(project_app(bound, shared)))
    links = ProviderLinks(uploads, map_batches=settings.upstream.map_results_url)
    retries = Retries(limited, by_name, upstream.doors, settings.upstream.retry)
    for provider in providers:
        app.add_subapp(f"/provider/{provider.name}", to_pages(provider_app(provider, retries, settings.limits, links)))
    served = {provider.name for provider in providers}
    for name, known in KNOWN.items():
        if name not in served:
            app.add_subapp(f"/provider/{name}", to_pages(unconfigured_app(name, known.dialect, directory)))

    def take_over(fresh: Configuration) -> None:
        configuration.clients.replace(fresh.clients)
        gate.budgets.replace(fresh.settings.rates.rules)
        limited.prices = fresh.settings.prices

    return Gateway(app, recorder, metrics, lifecycle, figures, fallbacks, trusted_proxies(settings.proxies), take_over)


def _sign(request: web.Request, response: web.StreamResponse) -> None:
    """Say what stands on every response, streamed ones too: a signal, because a middleware comes too late."""
    name_exchange(request, response)
    show_limits(request, response)


def while_open(resource: AbstractAsyncContextManager[object]) -> Callable[[web.Application], AsyncIterator[None]]:
    """Keep `resource` open from the application's start-up to its clean-up."""

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with resource:
            yield

    return opened


def _metrics(configuration: Configuration, vendors: Mapping[str, str]) -> Metrics:
    return Metrics(
        {provider.name: provider.models for provider in configuration.providers},
        [bound.project.name for bound in configuration.projects],
        gen_ai_names={name: gen_ai_name(vendor) for name, vendor in vendors.items()},
        version=gateway.__version__,
        commit=configuration.settings.server.build,
        max_series=configuration.settings.metrics.max_series,
    )


def _tracing(settings: Settings, vendors: Mapping[str, str]) -> Tracing | None:
    return Tracing(settings.tracing, vendors) if settings.tracing.endpoint is not None else None


def _capture(content: ContentSettings) -> Capture:
    scope = ParameterScope.ALL if content.shows_all_of_inputs else ParameterScope.KNOWN
    return Capture(content=content.capture is not Captured.OFF, parameters=scope)


def _watch(metrics: Metrics, recorder: Recorder, tracing: Tracing | None, upstream: UpstreamClient, kept: Kept) -> None:
    """Let the metrics look at what is counted elsewhere."""
    metrics.before_reading(recorder.show_all)
    metrics.watch(table.VIEW_FAILURES, (), lambda: recorder.view_failures)
    metrics.watch(table.LIMITS_UNDECIDED, (), lambda: kept.failures)
    metrics.watch_open(recorder.open_methods)
    metrics.watch_pools(upstream.pools)
    for door in upstream.doors.values():
        circuit = door.circuit
        metrics.watch(table.CIRCUIT_OPENINGS, (door.name,), partial(getattr, circuit, "openings"))
        for state in State:
            metrics.watch(table.CIRCUITS, (door.name, state), partial(_one_if, circuit, state))
    if tracing is not None:
        for became in ("sent", "failed", "dropped"):
            metrics.watch(table.SPANS, (became,), partial(getattr, tracing.counts, became))


def _one_if(circuit: Circuit, state: State) -> int:
    return int(circuit.is_in(state))


def _ticket_secret(settings: Settings, minted: bytes) -> bytes:
    configured = settings.tickets.secret
    return minted if configured is None else configured.reveal().encode("utf-8")

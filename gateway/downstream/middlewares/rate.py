"""How often a client may call: its request is let in, or answered 429; what it used is settled when it ends."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from time import monotonic_ns

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.access.clients import Client
from gateway.access.gate import Admission, Gate
from gateway.access.rate_fields import BY_DIALECT, ietf
from gateway.downstream.middlewares.errors import dialect_of
from gateway.downstream.state import ADMISSION, CLIENT, EXCHANGE


def rate(gate: Gate) -> Middleware:
    """Stands after authentication. A request that nothing is bounded for passes as if this were not there."""

    @web.middleware
    def limited(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        client = request._state.get(CLIENT)
        if client is None or not gate.budgets.concern(client):
            return handler(request)
        admission = admission_of(request, client, gate)
        return handler(request) if admission is None else admitted(request, handler, admission)

    async def admitted(request: web.Request, handler: Handler, admission: Admission) -> web.StreamResponse:
        exchange = request[EXCHANGE]
        try:
            if not admission.waits_for_body:  # else the call lets it in, when the body is there
                await admission.enter()
                exchange.admitted = monotonic_ns()
            return await handler(request)
        finally:
            gate.close(exchange)

    return limited


def admission_of(request: web.Request, client: Client, gate: Gate) -> Admission | None:
    """The admission of a request; what a key may not use, it does not draw on."""
    exchange = request[EXCHANGE]
    parts = exchange.route.split("/", 3)  # "", "provider" or "projects", its name
    place, name = (parts[1], parts[2]) if len(parts) > 2 and parts[2] else ("", "")
    admission = gate.open(
        exchange,
        client,
        project=name if place == "projects" and client.may_use_project(name) else None,
        provider=name if place == "provider" and client.may_use_provider(name) else None,
    )
    if admission is not None:
        request[ADMISSION] = admission
    return admission


def show_limits(request: web.Request, response: web.StreamResponse) -> None:
    """Tell a client where it stands, on refusals and good answers alike, before the head is written.

    Where the provider told its own limits in its API's fields, those stay, and ours are told in the IETF's alone.
    """
    admission = request._state.get(ADMISSION)  # `request.get` would be three calls, for every response
    if admission is None or admission.shown is None:
        return
    fields = response.headers
    for name, value in ietf(admission.shown).items():
        fields.add(name, value)
    dialect = dialect_of(request)
    beginning, told = BY_DIALECT.get("" if dialect is None else dialect.name, ("", None))
    if told is not None and not any(name.lower().startswith(beginning) for name in fields):
        fields.update(told(admission.shown, datetime.now(UTC)))

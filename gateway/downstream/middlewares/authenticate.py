"""Who is calling: a gateway key in one of the fields stock clients use, or a browser's ticket.

Rule: a key decides wherever one is sent, and the query is then the provider's. Without one, a parameter named exactly
`ticket` decides about a GET.
"""

import time
from collections.abc import Awaitable, Collection
from contextlib import suppress
from time import monotonic_ns

from aiohttp import web
from aiohttp.hdrs import SEC_WEBSOCKET_KEY
from aiohttp.typedefs import Handler, Middleware

from gateway.access.clients import Client, Clients
from gateway.access.tickets import Tickets, Used
from gateway.access.upload_tokens import PARAMETER, UploadTokens
from gateway.downstream.guarded_request import Message
from gateway.downstream.head import Told
from gateway.downstream.known_request import KnownRequest
from gateway.downstream.state import CLIENT, EXCHANGE, STORED_BODY, TOLD
from gateway.errors import Unauthenticated, UpgradeRequired
from gateway.telemetry.exchange import Exchange
from gateway.wire import headers
from gateway.wire.target import has_parameter, parameter, without_parameter

TICKET = "ticket"
NO_KEY = "No gateway key was sent."
NOT_OURS = "The key that was sent is not a key of this gateway; a provider's own key is of no use here."
HOW = "Send a gateway key as `Authorization: Bearer KEY` or in the X-API-Key field."
HTTP_ONLY = {"Upgrade": "HTTP/1.1", "Connection": "close, Upgrade"}
"""A 426 has to name a protocol (RFC 9110, section 15.5.22), and `Connection` has to name `Upgrade` (section 7.8)."""


def authenticate(clients: Clients, tickets: Tickets, uploads: UploadTokens, public: Collection[str]) -> Middleware:
    """Let by requests to the `public` route templates, and those of a known client that has not expired."""
    public = frozenset(public)

    @web.middleware
    def authenticated(request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        exchange = request._state[EXCHANGE]
        if request._method == "GET":
            if is_websocket_handshake(request):
                return refuse_websocket(request, exchange)
            if has_ticket(request) and exchange.route not in public:
                return by_ticket(request, handler)
        if exchange.route not in public:
            let_in(request, exchange)
        exchange.authenticated = monotonic_ns()
        return handler(request)

    async def refuse_websocket(request: web.Request, exchange: Exchange) -> web.StreamResponse:
        with suppress(Unauthenticated):  # the log line names the client if there is a valid key
            let_in(request, exchange)
        raise UpgradeRequired(headers=HTTP_ONLY)

    async def by_ticket(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = request[EXCHANGE]
        client = await ticket_holder(request, clients, tickets)
        if client is None:
            return web.Response(status=204)  # which ends a browser's reconnecting
        request[CLIENT], exchange.client = client, client.id
        exchange.authenticated = monotonic_ns()
        return await handler(request)

    def let_in(request: web.Request, exchange: Exchange) -> None:
        try:
            client = client_of(request, clients)
        except Unauthenticated:
            found = uploader(request, clients, uploads)
            if found is None:
                raise
            client = found
        request._state[CLIENT] = client
        exchange.client = client.id

    return authenticated


def is_websocket_handshake(request: web.Request) -> bool:
    """Whether a GET opens a WebSocket (RFC 6455, section 4.1), also where a proxy in front has dropped its `Upgrade`.

    It is refused before authentication: browsers cannot send one along, and no other status makes clients use HTTP.
    """
    message: Message = request._message
    return type(message) is not KnownRequest and SEC_WEBSOCKET_KEY in message.headers


def has_ticket(request: web.Request) -> bool:
    """Whether a GET is to be decided by a ticket."""
    target = request._message.path
    if f"{TICKET}=" not in target or request._state[TOLD].keys:
        return False
    return has_parameter(target.partition("?")[2], TICKET)


def client_of(request: web.Request, clients: Clients) -> Client:
    """The client whose key the request carries. Raises Unauthenticated.

    Who is called the same again is the same client, as long as keys are the same.
    """
    told: Told = request._state[TOLD]
    proven = told.proven
    if proven is not None and proven[0] is clients.generation:
        client = proven[1]
        if client.expires is None or not client.expired(time.time()):
            return client
    query = request._message.path.partition("?")[2]
    if query and headers.key_in_query(query):
        raise Unauthenticated(f"Keys are not taken from the query. {HOW}")
    expired = False
    for key in told.keys:
        found = clients.find(key)
        if found is not None:
            if found.expires is None or not found.expired(time.time()):
                told.proven = clients.generation, found
                return found
            expired = True
    if expired:
        raise Unauthenticated("This gateway key has expired.")
    raise Unauthenticated(f"{NOT_OURS if told.keys else NO_KEY} {HOW}")


def uploader(request: web.Request, clients: Clients, uploads: UploadTokens) -> Client | None:
    """The client that began the upload which a request without a key goes on with, if there is one."""
    told: Told = request._state[TOLD]
    if told.keys or f"{PARAMETER}=" not in request._message.path:
        return None
    client = clients.named(uploads.client_id(request._message.path, time.time()) or "")
    return client if client is not None and not client.expired(time.time()) else None


async def ticket_holder(request: web.Request, clients: Clients, tickets: Tickets) -> Client | None:
    """The client a ticket was given to, its request stored beside; None if it was used. Raises Unauthenticated."""
    path, _, query = request.raw_path.partition("?")
    rest = without_parameter(query, TICKET)
    redeemed = await tickets.redeem(parameter(query, TICKET), f"{path}?{rest}" if rest else path, time.time())
    if isinstance(redeemed, Used):
        return None
    client = clients.named(redeemed.client_id)
    if client is None or client.expired(time.time()):
        raise Unauthenticated("The key that this ticket was given to is not valid any more.")
    request[STORED_BODY] = redeemed.body
    return client

"""The demo page and the tickets it lives on.

A browser's EventSource can send no key. So a POST with the key and the request that is meant buys a ticket; a GET of
the same path with the ticket then stands for that request, once.
"""

import re
import time
from importlib import resources
from urllib.parse import quote

import msgspec
import orjson
from aiohttp import web

from gateway.access.tickets import Tickets
from gateway.downstream.contract_body import read_checked
from gateway.downstream.ops_contract import BELOW, DEMO, DEMO_FILE, DEMO_FILES, TICKETS, TicketRequest
from gateway.downstream.routes import Served
from gateway.downstream.state import CLIENT
from gateway.errors import InvalidRequest, NotFound

TICKET_REQUEST_BYTES = 256 * 1024
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def demo_routes() -> tuple[Served, ...]:
    """`/demo` and the files of its page."""
    files = resources.files("gateway.downstream") / "demo_page"
    bodies = {name: (files / name).read_bytes() for name in DEMO_FILES}

    async def page(request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        if name not in bodies:
            raise NotFound()
        return web.Response(body=bodies[name], content_type=DEMO_FILES[name], charset="utf-8", headers=SECURITY)

    return Served(DEMO, page, also=f"{DEMO.path}/"), Served(DEMO_FILE, page)


def ticket_routes(tickets: Tickets) -> tuple[Served, ...]:
    """`POST /tickets`."""
    decoder, is_below = msgspec.json.Decoder(TicketRequest), re.compile(BELOW).fullmatch

    async def issue(request: web.Request) -> web.Response:
        _, asked = await read_checked(request, decoder, TICKET_REQUEST_BYTES)
        if not is_below(asked.path):
            raise InvalidRequest(
                "`path` must begin with /provider/ or /projects/ and be percent-encoded ASCII.", param="path"
            )
        ticket = await tickets.mint(request[CLIENT].id, "POST", asked.path, bytes(asked.body), time.time())
        joint = "&" if "?" in asked.path else "?"
        answer = {
            "ticket": ticket,
            "url": f"{asked.path}{joint}ticket={quote(ticket, safe='')}",
            "expires_in": tickets.seconds,
        }
        return web.Response(
            status=201,
            body=orjson.dumps(answer),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    return (Served(TICKETS, issue),)

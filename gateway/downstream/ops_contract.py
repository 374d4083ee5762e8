"""What is promised on the gateway's own routes."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.errors import Draining, NotFound
from gateway.schema.operation import Operation, Parameter, Response

TAGS = ("gateway",)
VERBOSE = "verbose"
BELOW = r"/(provider|projects)/[!-\"$-~]*"
# For the API document alone: msgspec's message about a pattern helps no user. Python's `$` would allow a line end.
_FORM = {"pattern": rf"^{BELOW}$(?!\n)"}
DEMO_FILES = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
OK = (Response(200, "It is.", str, "text/plain"),)


class Greeting(msgspec.Struct, frozen=True):
    service: str
    version: str


class Health(msgspec.Struct, frozen=True):
    status: str
    version: str
    build: Annotated[str, Meta(description="Commit or build number; `unknown` where none was given.")]
    uptime_seconds: float


class TicketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request a ticket is to stand for."""

    path: Annotated[str, Meta(description="Path and query, below /provider/ or /projects/.", extra_json_schema=_FORM)]
    body: Annotated[msgspec.Raw, Meta(description="The JSON body that would be POSTed there.")]


class Ticket(msgspec.Struct, frozen=True):
    ticket: str
    url: Annotated[str, Meta(description="What an EventSource opens: the path with the ticket in it.")]
    expires_in: Annotated[float, Meta(description="Seconds until it is good for nothing.")]


ROOT = Operation("GET", "/", "What this is", tags=TAGS, response=Greeting, public=True)
HEALTH = Operation("GET", "/health", "Version, build and uptime", tags=TAGS, response=Health, public=True)
LIVE = Operation("GET", "/livez", "Is it alive?", tags=TAGS, responses=OK, public=True)
READY = Operation(
    "GET",
    "/readyz",
    "May it be sent requests?",
    description="With `?verbose`, a JSON document tells of this worker's circuits; with a key as well, which providers "
    "of those that it may use they belong to.",
    tags=TAGS,
    responses=(Response(200, "It may.", media_type="*/*"),),
    public=True,
    errors=(Draining,),
    parameters=(Parameter(VERBOSE, "query", "How the providers answer, as JSON."),),
)
TICKETS = Operation(
    "POST",
    "/tickets",
    "Buy a ticket for a browser's EventSource",
    description="EventSource can send neither a key nor a body. The ticket stands for both: once, within seconds, and "
    "for this request alone.",
    tags=TAGS,
    request=TicketRequest,
    responses=(Response(201, "The ticket.", Ticket),),
    examples={
        "A summary": {
            "path": "/projects/demo/summary?stream_mode=sse",
            "body": {"text": "The gateway checks a key, calls a provider and streams its answer back."},
        }
    },
)
DEMO = Operation(
    "GET",
    "/demo",
    "A page that shows a stream as it is written",
    tags=TAGS,
    public=True,
    responses=(Response(200, "The page.", media_type="text/html"),),
)
DEMO_FILE = Operation(
    "GET",
    "/demo/{name}",
    "A file of that page",
    tags=TAGS,
    public=True,
    parameters=(Parameter("name", "path", "Which.", {"type": "string", "enum": list(DEMO_FILES)}),),
    responses=(Response(200, "The file.", media_type="*/*"),),
    errors=(NotFound,),
)

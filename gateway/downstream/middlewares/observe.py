"""Opens the record of a request before anything else happens, and closes it after the last byte."""

import asyncio
from time import monotonic_ns

from aiohttp import hdrs, web
from aiohttp.http import SERVER_SOFTWARE, HttpVersion, HttpVersion11
from aiohttp.typedefs import Handler, Middleware
from multidict import istr

from gateway.downstream.client_address import ReadOrigin
from gateway.downstream.dispatch import Match
from gateway.downstream.guarded_request import has_begun
from gateway.downstream.head import Heads, Told
from gateway.downstream.relayed import RelayedResponse
from gateway.downstream.state import EXCHANGE, TOLD
from gateway.errors import InternalFault
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.fallbacks import Fallbacks
from gateway.telemetry.logs import serve, served
from gateway.telemetry.recorder import Recorder
from gateway.telemetry.trace_context import Sampler, new_trace, random_hex, trace_for

REQUEST_ID_NAME = b"x-gateway-request-id"
REQUEST_ID_FIELD = istr(REQUEST_ID_NAME.decode("ascii"))


def observe(
    recorder: Recorder, sampler: Sampler, read_origin: ReadOrigin, via_name: str, fallbacks: Fallbacks
) -> Middleware:
    heads = Heads(via_name, fallbacks)

    @web.middleware
    async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
        state = request._state  # each `request[...]` is a call, and there would be twenty
        told = state[TOLD] = heads.read(request)
        exchange = state[EXCHANGE] = exchange_of(request, told, sampler, read_origin)
        task = request._task
        recorder.opened(exchange, task)
        serve(task, exchange)
        try:
            response = await handler(request)
            # Whether a response is one of these is asked last: it is an abstract class's to say.
            if type(response) is not RelayedResponse and isinstance(response, web.Response) and not response.prepared:
                # Sent here and not by aiohttp afterwards, so that the record ends after the last byte.
                exchange.status = response.status
                await response.prepare(request)
                await response.write_eof()
                exchange.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
            return response
        except (ConnectionResetError, asyncio.CancelledError):
            exchange.client_left()
            raise
        except Exception:  # raised while sending a response: `errors` has answered everything else
            exchange.error = None
            exchange.failed(InternalFault())
            if not has_begun(request):
                exchange.status = InternalFault.status
            raise
        finally:
            exchange.ended = monotonic_ns()
            served(task)
            recorder.closed(exchange)

    return observed


def exchange_of(request: web.Request, told: Told, sampler: Sampler, read_origin: ReadOrigin) -> Exchange:
    """A new record with all that the head tells."""
    head, message = told.head, request._message
    match = request._match_info
    assert isinstance(match, Match)
    origin = told.origin
    if origin is None:
        peer = request._transport_peername
        origin = read_origin(peer[0] if type(peer) is tuple else request.remote or "", head.host, message)
        told.origin = origin
    hints = head.hints
    digits = random_hex(72)
    return Exchange(
        id=f"req_{digits[48:]}",
        method=message.method,
        path=message.path.partition("?")[0],
        trace=trace_for(message.headers, sampler) if told.continues_trace else new_trace(sampler, digits),
        route=match.template,
        http_version="1.1" if message.version is HttpVersion11 else _version(message.version),
        scheme=origin.scheme,
        host=origin.host,
        peer=origin.address,
        proxy_request_id=origin.request_id,
        session=hints.session,
        template=hints.template,
        ignored_headers=hints.ignored,
        user_agent=head.user_agent,
        retry_count=head.retry_count,
    )


def _version(version: HttpVersion) -> str:
    return f"{version.major}.{version.minor}"


def name_exchange(request: web.Request, response: web.StreamResponse) -> None:
    """Put our request id on a response, before its head is written."""
    exchange = request._state.get(EXCHANGE)
    if type(response) is RelayedResponse:  # its fields are another's: it says nothing of its own
        if exchange is not None:
            response.add(REQUEST_ID_NAME, exchange.id.encode("ascii"))
        return
    fields = response.headers
    if exchange is not None:
        fields[REQUEST_ID_FIELD] = exchange.id
    if fields.get(hdrs.SERVER) is SERVER_SOFTWARE:
        del fields[hdrs.SERVER]  # which versions run here is nobody's business

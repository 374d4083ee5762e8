"""The two spans of an exchange that went well: the server's, and its one call's.

Most exchanges are of this kind, and what many of them have in common is found by one look-up: both spans, to the last
byte of their framing, with a `%b` for what is each one's own. So what takes ten microseconds span by span takes four. A
test holds both ways to the same spans.
"""

from gateway.telemetry import names, otlp
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, LONGEST, first_chunk, kind_of, usage
from gateway.telemetry.otlp import text
from gateway.telemetry.span_frames import (
    Frames,
    client_attributes,
    context,
    owner_attributes,
    plain_id,
)

MOST = 64  # templates of a kind
NO_PAIR: dict[object, bytes] = {}
Sizes = tuple[int, int, int, int, int, int, int, int]
"""The bytes of our id, of the upstream's and the response's, of what tells the client's address, whose the request is
and in which conversation, of what was used, and of when a stream began."""

_COMPLETE = Outcome.COMPLETE
_REFUSED = 400


class Pairs:
    """Knows what the pairs of one configuration have in common."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames

    def encoded(self, exchange: Exchange) -> bytes | None:
        """Both spans, as `otlp.scope_spans` writes them; None for an exchange of another kind."""
        kind = exchange.kind
        if kind is None:
            return None
        templates = kind.spans
        if templates is None:
            templates = kind.spans = {} if _is_pair(exchange) else NO_PAIR
        if templates is NO_PAIR:
            return None
        call, trace, session = exchange.calls[0], exchange.trace, exchange.session
        facts, theirs, ours = call.facts, plain_id(call), exchange.id
        parameters, response_id = self._frames.parameters(facts), facts.response_id or ""
        ended, call_ended = exchange.ended, call.ended
        # What a template does not tell apart, or no pair has.
        if (
            call.template is not None
            or (call.request_id and not theirs)
            or trace.tracestate is not None
            or ended is None
            or call_ended is None
            or len(parameters) > LONGEST
            or not response_id.isascii()
            or "\0" in response_id
        ):
            return None
        of_client = client_attributes(exchange.peer, exchange.user_agent[:LONGEST])
        of_owner = owner_attributes(exchange.client, session)
        of_talk = text(names.GEN_AI_CONVERSATION, session) if session else b""
        used = b"" if facts.usage is None else usage(facts.usage)
        of_day = exchange.started_at - exchange.started
        began = first_chunk(call, of_day) if facts.streamed else b""
        sizes = (
            len(ours),
            len(theirs),
            len(response_id),
            len(of_client),
            len(of_owner),
            len(of_talk),
            len(used),
            len(began),
        )
        template = templates.get((sizes, parameters)) or self._keep(templates, sizes, exchange, theirs)
        trace_id, span_id, own_id = bytes.fromhex(trace.trace_id), bytes.fromhex(trace.span_id), ours.encode()
        return template % (
            trace_id,
            span_id,
            b"" if trace.parent_id is None else otlp.parent(bytes.fromhex(trace.parent_id)),
            otlp.times(exchange.started_at, of_day + ended),
            own_id,
            of_client,
            of_owner,
            trace_id,
            bytes.fromhex(call.span_id),
            span_id,
            otlp.times(of_day + call.started, of_day + call_ended),
            own_id,
            theirs.encode(),
            response_id.encode(),
            used,
            of_owner,
            of_talk,
            began,
        )

    def _keep(self, templates: dict[object, bytes], sizes: Sizes, exchange: Exchange, theirs: str) -> bytes:
        call, trace = exchange.calls[0], exchange.trace
        id_size, their_size, response_id, of_client, of_owner, of_talk, used, began = sizes
        before, after = self._frames.server(exchange, "")
        after += context(trace, trace.parent_id)
        server: list[bytes | int] = [0 if trace.parent_id is None else len(otlp.parent(bytes(8))), otlp.TIMES]
        server += [before, id_size, after, of_client, of_owner]
        before, between, after = self._frames.call(exchange, call, "", theirs)
        after += context(trace, trace.span_id) + otlp.ok_status() + _id_head(call)
        called: list[bytes | int] = [otlp.parent(b""), 8, otlp.TIMES]
        called += [before, id_size, between, their_size, after, response_id, used, of_owner, of_talk, began]
        template = otlp.span_template(server) + otlp.span_template(called)
        if len(templates) >= MOST:
            templates.clear()
        templates[sizes, self._frames.parameters(call.facts)] = template
        return template


def _is_pair(exchange: Exchange) -> bool:
    """Whether all went well, as far as the kind of an exchange tells."""
    call = exchange.calls[0]
    return (
        exchange.outcome is _COMPLETE
        and exchange.error is None
        and exchange.fault is None
        and call.outcome is _COMPLETE
        and call.error is None
        and call.status is not None
        and max(call.status, exchange.status) < _REFUSED
        and kind_of(call.facts.operation) is not CHAIN
    )


def _id_head(call: UpstreamCall) -> bytes:
    """The attribute for the response's id, up to the id."""
    response_id = call.facts.response_id
    return text(names.GEN_AI_RESPONSE_ID, response_id)[: -len(response_id)] if response_id else b""

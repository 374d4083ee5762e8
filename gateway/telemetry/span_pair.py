"""The two spans of an exchange that went well: the server's, and its one call's.

Most exchanges are of this kind, and what many of them have in common is found by one look-up: both spans, to the last
byte of their framing, with a `%b` for what is each one's own. So what takes ten microseconds span by span takes half of
that. A test holds both ways to the same spans.
"""

from binascii import unhexlify
from functools import lru_cache

from gateway.telemetry import names, otlp
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, KEPT, LONGEST, estimated, first_chunk, kind_of, usage
from gateway.telemetry.otlp import text
from gateway.telemetry.span_frames import (
    MOST_REASONS,
    Frames,
    client_attributes,
    context,
    owner_attributes,
    plain_id,
)

_REFUSED = 400


class Pairs:
    """Knows what the pairs of one configuration have in common."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._kept: dict[object, bytes] = {}

    def encoded(self, exchange: Exchange) -> bytes | None:
        """Both spans, as `otlp.scope_spans` writes them; None for an exchange of another kind.

        What is asked of `exchange` first is what no kind can tell; all else is asked when a kind is first met.
        """
        if len(exchange.calls) != 1:
            return None
        call, trace, ours = exchange.calls[0], exchange.trace, exchange.id
        facts, theirs = call.facts, plain_id(call)
        ended, call_ended, response_id = exchange.ended, call.ended, facts.response_id or ""
        if (
            ended is None
            or call_ended is None
            or call.template is not None
            or (not theirs and call.request_id)
            or not response_id.isascii()
            or "\0" in response_id
        ):
            return None
        of_client, of_owner = _whose(exchange.peer, exchange.user_agent, exchange.client, exchange.session)
        used = b"" if facts.usage is None else usage(facts.usage)
        if call.estimated_tokens is not None:
            used += estimated(call.estimated_tokens)
        of_day = exchange.started_at - exchange.started
        began = first_chunk(call, of_day) if facts.streamed else b""
        kind = (
            exchange.method,
            exchange.path,
            exchange.route,
            exchange.scheme,
            exchange.host,
            exchange.http_version,
            exchange.status,
            exchange.outcome,
            exchange.error,
            exchange.fault,
            exchange.project,
            exchange.provider,
            exchange.stream_mode,
            exchange.retry_count,
            exchange.ignored_headers,
            exchange.workflow_span_id,
            trace.flags,
            trace.tracestate,
            trace.parent_id is None,
            len(ours),
            call.provider,
            call.method,
            call.path,
            call.server,
            call.port,
            call.status,
            call.outcome,
            call.error,
            call.parent_span_id,
            call.attempt,
            call.step,
            len(theirs),
            facts.operation,
            facts.request_model,
            facts.response_model,
            facts.streamed,
            tuple(facts.finish_reasons),
            self._frames.parameters(facts),
            len(response_id),
            len(of_client),
            len(of_owner),
            len(used),
            len(began),
        )
        template = self._kept.get(kind)
        if template is None:
            if not _is_pair(exchange, call) or len(self._frames.parameters(facts)) > LONGEST:
                return None
            template = self._keep(kind, exchange, theirs, (of_client, of_owner, used, began))
        trace_id, span_id = unhexlify(trace.trace_id), unhexlify(trace.span_id)
        own_id = ours.encode()
        return template % (
            trace_id,
            span_id,
            b"" if trace.parent_id is None else otlp.parent(unhexlify(trace.parent_id)),
            otlp.times(exchange.started_at, of_day + ended),
            own_id,
            of_client,
            trace_id,
            unhexlify(call.span_id),
            span_id,
            otlp.times(of_day + call.started, of_day + call_ended),
            own_id,
            theirs.encode(),
            response_id.encode(),
            used,
            of_owner,
            began,
        )

    def _keep(self, kind: object, exchange: Exchange, theirs: str, own: tuple[bytes, ...]) -> bytes:
        """`own` is what is put into the template for this exchange, and as long for all of its kind."""
        call, trace, our_id = exchange.calls[0], exchange.trace, len(exchange.id)
        of_client, of_owner, used, began = map(len, own)
        before, after = self._frames.server(exchange, "")
        after += context(trace, trace.parent_id)
        server: list[bytes | int] = [0 if trace.parent_id is None else len(otlp.parent(bytes(8))), otlp.TIMES]
        server += [before, our_id, after, of_client]
        before, between, after = self._frames.call(exchange, call, "", theirs)
        after += context(trace, trace.span_id) + otlp.ok_status() + _id_head(call)
        called: list[bytes | int] = [otlp.parent(b""), 8, otlp.TIMES, before, our_id, between, len(theirs), after]
        called += [len(call.facts.response_id or ""), used, of_owner, began]
        template = otlp.span_template(server) + otlp.span_template(called)
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[kind] = template
        return template


def _is_pair(exchange: Exchange, call: UpstreamCall) -> bool:
    """Whether exchanges of this kind went well, and are small enough to be kept."""
    facts, trace = call.facts, exchange.trace
    went_well = exchange.outcome is call.outcome is Outcome.COMPLETE and exchange.error is call.error is None
    return (
        went_well
        and exchange.status < _REFUSED
        and call.status is not None
        and call.status < _REFUSED
        and exchange.workflow_span_id is None
        and call.parent_span_id is None
        and trace.tracestate is None  # there are as many as clients
        and kind_of(facts.operation) is not CHAIN
        and len(facts.finish_reasons) <= MOST_REASONS
        and len(exchange.path) + len(exchange.host) + len(call.path) <= LONGEST
    )


@lru_cache(KEPT)
def _whose(peer: str, user_agent: str, client: str | None, session: str | None) -> tuple[bytes, bytes]:
    """What tells on the server's span where a request came from and whose it is, and on the call's whose it is."""
    owner = owner_attributes(client, session)
    conversation = text(names.GEN_AI_CONVERSATION, session) if session else b""
    return client_attributes(peer, user_agent[:LONGEST]) + owner, owner + conversation


def _id_head(call: UpstreamCall) -> bytes:
    """The attribute for the response's id, up to the id."""
    response_id = call.facts.response_id
    return text(names.GEN_AI_RESPONSE_ID, response_id)[: -len(response_id)] if response_id else b""

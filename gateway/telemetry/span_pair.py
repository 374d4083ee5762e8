"""The two spans of an exchange that went well: the server's, and its one call's.

Most exchanges are of this kind, and what many of them have in common is found by one look-up: both spans, to the last
byte of their framing, with a `%b` for what is each one's own. So what takes ten microseconds span by span takes half of
that. A test holds both ways to the same spans.
"""

from binascii import unhexlify

from gateway.telemetry import names, otlp
from gateway.telemetry.exchange import Exchange, Outcome, UpstreamCall
from gateway.telemetry.model_calls import CHAIN, KEPT, LONGEST, first_chunk, kind_of, usage
from gateway.telemetry.otlp import text
from gateway.telemetry.span_frames import (
    MOST_REASONS,
    Frames,
    client_attributes,
    context,
    owner_attributes,
    plain_id,
)

_COMPLETE = Outcome.COMPLETE
_REFUSED = 400


class Pairs:
    """Knows what the pairs of one configuration have in common."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._kept: dict[object, bytes] = {}

    def encoded(self, exchange: Exchange) -> bytes | None:
        """Both spans, as `otlp.scope_spans` writes them; None for an exchange of another kind.

        What is asked of `exchange` first is what the frames do not tell apart, or what no pair has.
        """
        if len(exchange.calls) != 1:
            return None
        call, trace, session = exchange.calls[0], exchange.trace, exchange.session
        facts, theirs, ours = call.facts, plain_id(call), exchange.id
        parameters, response_id = self._frames.parameters(facts), facts.response_id or ""
        ended, call_ended = exchange.ended, call.ended
        if (
            exchange.outcome is not _COMPLETE
            or exchange.error is not None
            or exchange.fault is not None
            or call.outcome is not _COMPLETE
            or call.error is not None
            or call.status is None
            or call.status >= _REFUSED
            or exchange.status >= _REFUSED
            or exchange.workflow_span_id is not None
            or call.parent_span_id is not None
            or call.template is not None
            or (call.request_id and not theirs)
            or trace.tracestate is not None
            or ended is None
            or call_ended is None
            or kind_of(facts.operation) is CHAIN
            or len(facts.finish_reasons) > MOST_REASONS
            or len(exchange.path) + len(exchange.host) + len(call.path) + len(parameters) > LONGEST
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
        kind = (
            exchange.method,
            exchange.path,
            exchange.route,
            exchange.scheme,
            exchange.host,
            exchange.http_version,
            exchange.status,
            exchange.project,
            exchange.provider,
            exchange.stream_mode,
            exchange.retry_count,
            exchange.ignored_headers,
            trace.flags,
            trace.parent_id is None,
            len(ours),
            call.provider,
            call.method,
            call.path,
            call.server,
            call.port,
            call.status,
            call.attempt,
            call.step,
            len(theirs),
            facts.operation,
            facts.request_model,
            facts.response_model,
            facts.streamed,
            tuple(facts.finish_reasons),
            parameters,
            len(response_id),
            len(of_client),
            len(of_owner),
            len(of_talk),
            len(used),
            len(began),
        )
        template = self._kept.get(kind) or self._keep(
            kind, exchange, theirs, (of_client, of_owner, of_talk, used, began)
        )
        trace_id, span_id = unhexlify(trace.trace_id), unhexlify(trace.span_id)
        own_id = ours.encode()
        return template % (
            trace_id,
            span_id,
            b"" if trace.parent_id is None else otlp.parent(unhexlify(trace.parent_id)),
            otlp.times(exchange.started_at, of_day + ended),
            own_id,
            of_client,
            of_owner,
            trace_id,
            unhexlify(call.span_id),
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

    def _keep(self, kind: object, exchange: Exchange, theirs: str, own: tuple[bytes, ...]) -> bytes:
        """`own` is what is put into the template for this exchange, and as long for all of its kind."""
        call, trace, our_id = exchange.calls[0], exchange.trace, len(exchange.id)
        of_client, of_owner, of_talk, used, began = map(len, own)
        before, after = self._frames.server(exchange, "")
        after += context(trace, trace.parent_id)
        server: list[bytes | int] = [0 if trace.parent_id is None else len(otlp.parent(bytes(8))), otlp.TIMES]
        server += [before, our_id, after, of_client, of_owner]
        before, between, after = self._frames.call(exchange, call, "", theirs)
        after += context(trace, trace.span_id) + otlp.ok_status() + _id_head(call)
        called: list[bytes | int] = [otlp.parent(b""), 8, otlp.TIMES, before, our_id, between, len(theirs), after]
        called += [len(call.facts.response_id or ""), used, of_owner, of_talk, began]
        template = otlp.span_template(server) + otlp.span_template(called)
        if len(self._kept) >= KEPT:
            self._kept.clear()
        self._kept[kind] = template
        return template


def _id_head(call: UpstreamCall) -> bytes:
    """The attribute for the response's id, up to the id."""
    response_id = call.facts.response_id
    return text(names.GEN_AI_RESPONSE_ID, response_id)[: -len(response_id)] if response_id else b""

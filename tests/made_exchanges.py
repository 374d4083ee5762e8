"""Exchanges and calls as the gateway would have recorded them, with instants chosen by the test (milliseconds)."""

from typing import Any

from gateway.telemetry.exchange import Exchange, Facts, TraceIds, UpstreamCall, Usage

MS = 1_000_000
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def exchange(*calls: UpstreamCall, took: int = 10, first_byte: int | None = 5, **facts: Any) -> Exchange:
    """A finished exchange that took `took` ms. Calls keep their own instants; see `call`."""
    started = calls[0].started - 1 * MS if calls else 1_000 * MS
    known: dict[str, Any] = {
        "id": "r1",
        "method": "POST",
        "path": "/provider/openai/v1/chat/completions",
        "trace": TraceIds(TRACE_ID, "b7ad6b7169203331", sampled=False),
        "route": "/provider/openai/{tail}",
        "provider": "openai",
        "status": 200,
    }
    made = Exchange(**{**known, **facts}, started=started, calls=list(calls))
    made.ended = started + took * MS
    made.first_byte = None if first_byte is None else started + first_byte * MS
    return made


def call(
    *, at: int = 1_001, took: int = 8, head: int | None = 3, first_byte: int | None = 4, **facts: Any
) -> UpstreamCall:
    """A finished call to `openai` that began at `at` ms and took `took` ms."""
    known: dict[str, Any] = {"provider": "openai", "method": "POST", "path": "/v1/chat/completions", "status": 200}
    made = UpstreamCall(**{**known, **facts}, span_id="00f067aa0ba902b7", started=at * MS)
    made.connected = made.started
    made.head = None if head is None else made.started + head * MS
    made.first_byte = None if first_byte is None else made.started + first_byte * MS
    made.ended = made.started + took * MS
    return made


def chat(
    model: str = "gpt-4o", *, streamed: bool = False, tokens: tuple[int | None, int | None] | None = (7, 9)
) -> Facts:
    """What a dialect tells of a chat call."""
    usage = None if tokens is None else Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    return Facts(operation="chat", request_model=model, streamed=streamed, usage=usage)

"""The one record of a request: whoever learns a fact writes it here.

Log line, metrics and spans are views of the finished record. All instants are `time.monotonic_ns()`; the wall-clock
start is `started_at`, so that a view gets any absolute time as `started_at + (instant - started)`.

Records are Structs, which are made several times as quickly as dataclasses with as many fields.
"""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from gateway.errors import (
    Drained,
    Fault,
    GatewayError,
    IdleTimeout,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)


class Outcome(StrEnum):
    """How an exchange, or one call of it, really ended. Exactly one of these, the same word in every view."""

    __hash__ = str.__hash__  # Enum's is a function in Python, and views look up by these

    COMPLETE = "complete"
    REFUSED = "refused"
    CLIENT_GONE = "client_gone"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    DRAINED = "drained"
    FAULT = "fault"


class Road(StrEnum):
    """How a call travels to its upstream (`upstream/roads.py`)."""

    __hash__ = str.__hash__

    DIRECT = "direct"
    SESSION = "session"


def outcome_of(error: GatewayError) -> Outcome:
    """The one outcome that `error` stands for."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return _BY_FAULT[error.fault]


_OUTCOMES: tuple[tuple[type[GatewayError], Outcome], ...] = (
    (IdleTimeout, Outcome.IDLE_TIMEOUT),
    (UpstreamTimeout, Outcome.UPSTREAM_TIMEOUT),
    (UpstreamTruncated, Outcome.UPSTREAM_TRUNCATED),
    (UpstreamUnreachable, Outcome.UPSTREAM_UNREACHABLE),
    (Drained, Outcome.DRAINED),
)
_BY_FAULT = {
    Fault.CALLER: Outcome.REFUSED,
    Fault.POLICY: Outcome.REFUSED,
    Fault.UPSTREAM: Outcome.UPSTREAM_ERROR,
    Fault.GATEWAY: Outcome.FAULT,
}


class Usage(Struct):
    """Tokens as billed. `input_tokens` includes cached ones; None means the upstream did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def undivided_tokens(self) -> int | None:
        """The total, where neither of its parts is known."""
        return self.total_tokens if self.input_tokens is None and self.output_tokens is None else None


class Message(Struct):
    """One chat message as a view shows it: plain text, and the tool calls in it."""

    role: str
    content: str = ""
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list["ToolCall"] = field(default_factory=list)


class ToolCall(Struct):
    """A function the model asks for; `arguments` is a JSON string."""

    id: str
    name: str
    arguments: str


class Content(Struct):
    """What was said, read from the bodies only where content capture is on."""

    input_messages: list[Message] = field(default_factory=list)
    output_messages: list[Message] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)  # each a JSON schema
    input_value: str = ""  # the request body as text
    output_value: str = ""  # the response body as text
    embedding_texts: list[str] = field(default_factory=list)


class Parameters(dict[str, Any]):
    """Invocation parameters that many calls have in common, and so are not to be changed. `text` is their JSON, once
    somebody has written it.
    """

    text = ""


class ProviderError(Struct, frozen=True, gc=False):
    """An error that a provider answered: its type and code, each one word, and its message where that is wanted."""

    type: str | None = None
    code: str | None = None
    message: str | None = None


class Facts(Struct):
    """What a dialect tells about one call, after its last byte. `operation` is a `gen_ai.operation.name`, or ""."""

    operation: str = ""
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    streamed: bool = False
    finish_reasons: list[str] = field(default_factory=list)
    usage: Usage | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)  # invocation parameters: no messages, no tools
    content: Content | None = None
    provider_error: ProviderError | None = None
    usage_error: str = ""  # why `usage` could not be read: `content_coding` or `implausible`


class TraceIds(Struct):
    """W3C trace context of an exchange: ours, or taken over from the client's `traceparent`."""

    trace_id: str  # 32 hex digits
    span_id: str  # 16 hex digits: our server span
    parent_id: str | None = None  # the client's span
    sampled: bool = True
    flags: int = 1
    tracestate: str | None = None


class TemplateUse(Struct):
    """The prompt template a call was made from."""

    template: str
    variables: Mapping[str, str]
    version: str = ""
    name: str = ""


class UpstreamCall(Struct, eq=False):
    """One request to one upstream, from the decision to send it until its last byte."""

    provider: str
    method: str
    path: str  # below the provider's base, no query
    span_id: str  # 16 hex digits
    dialect: str = ""
    step: str | None = None  # a workflow's own name for it
    parent_span_id: str | None = None  # None: the server span
    attempt: int = 0
    server: str = ""  # host
    port: int = 0
    status: int | None = None
    outcome: Outcome = Outcome.COMPLETE
    error: str | None = None  # the error's code
    failure: str | None = None  # why there was no answer, an UpstreamFailure
    request_id: str | None = None  # the upstream's own
    road: Road | None = None
    reused_connection: bool = False
    waited_for_pool_ns: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    chunks: int = 0
    started: int = field(default_factory=time.monotonic_ns)
    connected: int | None = None
    head: int | None = None  # response head in
    first_byte: int | None = None  # first body byte in
    ended: int | None = None
    facts: Facts = field(default_factory=Facts)
    unread: Callable[[], Facts] | None = None  # reads the facts off the bodies, which it holds on to
    template: TemplateUse | None = None
    estimated_tokens: int | None = None  # that limits were charged, where the provider did not report them all

    def learn(self) -> None:
        """Read the facts, if nobody has yet."""
        unread, self.unread = self.unread, None
        if unread is not None:
            self.facts = unread()

    def failed(self, error: GatewayError) -> None:
        """Note how this call ended, unless it had ended already."""
        if self.error is None:
            self.error = error.code
            self.failure = error.failure
            self.outcome = outcome_of(error)


class Exchange(Struct, eq=False):
    """One client request and everything the gateway did about it."""

    id: str
    method: str
    path: str  # no query
    trace: TraceIds
    route: str = "unmatched"  # the template: bounded, fit for a metric label
    client: str | None = None  # the key's id, never the key
    project: str | None = None
    provider: str | None = None
    session: str | None = None  # whose conversation this is, from the client's header
    template: "TemplateUse | None" = None  # that the client filled in, as its headers tell
    ignored_headers: tuple[str, ...] = ()  # what the client said for traces and could not be read
    workflow_span_id: str | None = None
    content: Content | None = None  # what a workflow was asked and answered, where capture is on
    stream_mode: str | None = None
    http_version: str = "1.1"
    scheme: str = "http"
    host: str = ""
    peer: str = ""  # the client's address, behind trusted proxies the original one
    proxy_request_id: str | None = None  # what a trusted proxy calls this request
    user_agent: str = ""
    retry_count: int = 0  # what the SDK says in x-stainless-retry-count
    status: int = 0
    outcome: Outcome = Outcome.COMPLETE
    error: str | None = None  # the error's code
    fault: Fault | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    started: int = field(default_factory=time.monotonic_ns)
    started_at: int = field(default_factory=time.time_ns)
    authenticated: int | None = None  # instants the exchange passed
    admitted: int | None = None
    first_byte: int | None = None  # first body byte handed to the client's socket
    ended: int | None = None
    delivered: bool = False  # a streamed response, to its end
    waited_for_body_ns: int = 0  # for the request body, while no call was open
    waited_to_retry_ns: int = 0  # between a call that failed and the next one
    waited_for_client_ns: int = 0  # in back-pressure from the client
    calls: list[UpstreamCall] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Scheme and authority as the client sees them; "" where it named no host (HTTP/1.0)."""
        return f"{self.scheme}://{self.host}" if self.host else ""

    def failed(self, error: GatewayError) -> None:
        """Note how this exchange ended, unless it had ended already."""
        if self.error is None:
            self.error = error.code
            self.fault = error.fault
            self.outcome = outcome_of(error)

    def learn(self) -> None:
        """Read what the calls' bodies tell. To be called before their `facts` are looked at."""
        for call in self.calls:
            if call.unread is not None:
                call.learn()

    def client_left(self) -> None:
        """The client went away before the response was complete."""
        if self.error is None and self.outcome is Outcome.COMPLETE and not self.delivered:
            self.outcome = Outcome.CLIENT_GONE

"""What the gateway knows of an API: a declaration, a credential, and a dialect that answers a few pure questions."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct
from yarl import URL

from gateway.errors import GatewayError
from gateway.providers.apis import Api
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, StreamBody, StreamEndRule
from gateway.settings import Secret, Timeouts
from gateway.settings.upstream import Policy
from gateway.telemetry.exchange import Facts
from gateway.wire.headers import Form

BEARER = "Bearer {}"


class UpstreamRequest(Struct, frozen=True, eq=False):
    """A request as it goes to a provider: `target` is path and query below the base URL, verbatim.

    Bytes that are no UTF-8 stand in `target` as surrogate escapes. A streamed body has `length` bytes, None if unknown.
    Where there is a `form`, that of many requests, this one's fields are that's, its holes filled with `values`.
    """

    method: str
    target: str
    fields: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | AsyncIterator[bytes] | None = None
    length: int | None = None
    form: Form | None = None
    values: tuple[bytes, ...] = ()

    @property
    def own_fields(self) -> Sequence[tuple[bytes, bytes]]:
        """The fields, wherever they stand."""
        return self.fields if self.form is None else self.form.filled(self.values)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A filled-in prompt for a chat call: plain text by role, in order."""

    messages: Sequence[tuple[str, str]]  # (role: system | user | assistant, text)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a client's body is changed for a stream mode; `target` and `body` verbatim where nothing had to change."""

    target: str
    body: bytes


class Dialect(Protocol):
    """The pure questions the gateway asks of an API. `path` is the path below the base URL, without query."""

    @property
    def name(self) -> str:
        """`openai`, `anthropic` or `gemini`."""
        ...

    @property
    def root(self) -> str:
        """Where the API is below the base URL, version and all, such as `/v1`; the same for all fallbacks if ""."""
        ...

    def api(self, path: str) -> Api | None:
        """The API that a path belongs to, however it is spelled; None if it is no known one."""
        ...

    def is_ambiguous(self, path: str) -> bool:
        """Whether a provider may read a path as that of another API than we do."""
        ...

    def operation(self, path: str) -> str:
        """The `gen_ai.operation.name` of a path (`chat`, `embeddings`, ...), "" for any other."""
        ...

    def streams(self, path: str, query: str, body: bytes) -> bool:
        """Whether the client asked for a stream."""
        ...

    def reshape(self, target: str, body: bytes, *, stream: bool) -> Shape:
        """Ask for a stream, or for one document; InvalidRequest if the body says the opposite."""
        ...

    def stream_end(self, path: str, body: StreamBody) -> End | None:
        """How a stream of a known operation ended; None where the operation is unknown, or the body is no stream."""
        ...

    def facts(
        self,
        path: str,
        request: bytes,
        head: bytes,
        tail: bytes,
        content: bool,
        parameters: ParameterScope = ParameterScope.KNOWN,
        whole: bool = True,
    ) -> Facts:
        """All that can be read off a call. Never raises, whatever the bytes.

        `head` is the response's first N bytes, `tail` its last M bytes after those: not a byte in both, none between
        them if `whole`. A short response has an empty `tail`, or one that equals `head`. `content` also reads
        messages; those of a streamed answer only if it is `whole`. To read no `parameters` saves a third of the cost.
        Bodies have no content coding any more.
        """
        ...

    def chat(self, model: str, prompt: Prompt, parameters: Mapping[str, Any], *, stream: bool) -> UpstreamRequest:
        """A chat completion request; `parameters` in common names (`max_tokens`, `temperature`, `top_p`, `stop`)."""
        ...

    def embed(self, model: str, texts: Sequence[str]) -> UpstreamRequest:
        """An embeddings request."""
        ...

    def text(self, body: bytes) -> str:
        """The answer's text in a whole (unary) chat response; ValueError if it is none."""
        ...

    def vectors(self, body: bytes) -> list[list[float]]:
        """The embeddings in a whole response; ValueError if it is none."""
        ...

    def delta(self, data: bytes) -> str:
        """The text in one event's data, "" if it has none."""
        ...

    def stream_failed(self, data: bytes) -> bool:
        """Whether an event's data is the upstream's own error."""
        ...

    def end_of_stream(self) -> bytes:
        """The event that closes a stream we frame ourselves, b"" if this API has none."""
        ...

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Our error as a response body, in this API's words."""
        ...

    def stream_error(self, error: GatewayError, request_id: str, path: str) -> bytes:
        """The same as an event, or events, inside a running stream of `path`."""
        ...


@dataclass(frozen=True, slots=True)
class Credential:
    """Where and how a provider wants its key.

    `template` has one `{}`; `env` are the customary variables, in order; without `required` it may do without. Targets
    that begin with `bearer_below`, if that is set, get the key as a bearer token instead.
    """

    header: str
    template: str = "{}"
    env: tuple[str, ...] = ()
    required: bool = True
    bearer_below: str = ""


@dataclass(frozen=True, slots=True)
class Provider:
    """A declaration, ready to be called once `base_url` and, where it needs one, `key` are known."""

    name: str
    base_url: URL | None
    dialect: Dialect
    credential: Credential | None
    default_headers: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[tuple[str, Secret], ...] = ()  # of the operator's, in every request, instead of the client's
    base_url_env: tuple[str, ...] = ()
    key: Secret | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    policy: Policy = field(default_factory=Policy)
    stream_end: StreamEndRule = StreamEndRule.FINISH
    system: str = ""  # OpenInference `llm.provider`, where it differs from `name`
    models: tuple[str, ...] = ()  # known to metrics by name; others count as `_other`

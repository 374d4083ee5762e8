"""What a workflow is given to work with: models by role, whoever provides them and whatever API they speak.

Every call goes the one way out and stands on the exchange's record, with its step and its prompt template. What must
end is held by `async with`, so that a workflow which is stopped stops its calls.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from time import monotonic_ns
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

from aiohttp import ClientSession
from msgspec.structs import replace

from gateway.errors import InvalidRequest, UpstreamError, UpstreamRejected
from gateway.providers.provider import Prompt, Provider, UpstreamRequest
from gateway.providers.reading.ends import is_event_stream
from gateway.providers.translate import first_bytes, with_blank_line
from gateway.schema.frames import StepFrame
from gateway.telemetry.exchange import Exchange, UpstreamCall, Usage
from gateway.telemetry.trace_context import new_span_id
from gateway.upstream.interleaving import Interleaved
from gateway.upstream.prompt_template import FilledPrompt
from gateway.wire import sse

ANSWER_LIMIT = 16 << 20  # bytes
"""What a model may answer to one call, all told."""

Asked = FilledPrompt | Prompt | str
Tell = Callable[[StepFrame], None]
OpenSession = Callable[[Exchange], ClientSession]
Result = TypeVar("Result")
Name = TypeVar("Name")


class UpstreamAnswer(Protocol):
    """A response whose head is in, as far as it matters here."""

    status: int

    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]: ...
    @property
    def is_event_stream(self) -> bool: ...
    def field(self, name: bytes) -> bytes: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read(self, limit: int) -> bytes: ...


class Upstream(Protocol):
    """The one way out."""

    def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall
    ) -> AbstractAsyncContextManager[UpstreamAnswer]: ...


@dataclass(frozen=True, slots=True)
class Model:
    """Which model of which provider; prints as settings name it: `openai/gpt-4o-mini`."""

    provider: Provider
    name: str

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `usage` and `finish_reason` are None where the provider did not tell."""

    text: str
    model: str
    finish_reason: str | None = None
    usage: Usage | None = None


class Chat:
    """The models of one workflow, for one request. An async context manager.

    A prompt is a plain text, a filled template, or messages. Parameters have common names, whatever the API:
    `max_tokens`, `temperature`, `top_p`, `stop`; one that is None is left out. A step is called like its role unless it
    is given a name of its own. Every call raises UpstreamRejected for a provider's refusal, UpstreamError or
    UpstreamTimeout for what else it may fail at; a workflow need not catch any of them.
    """

    def __init__(
        self,
        upstream: Upstream,
        exchange: Exchange,
        models: Mapping[str, Model],
        *,
        http: OpenSession,
        tell: Tell = lambda step: None,
        answer_limit: int = ANSWER_LIMIT,
    ) -> None:
        self._upstream = upstream
        self._exchange = exchange
        self._models = models
        self._open_session = http
        self._tell = tell
        self._answer_limit = answer_limit
        self._http: ClientSession | None = None

    async def __aenter__(self) -> "Chat":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    def model(self, role: str) -> Model:
        """The model that settings bind `role` to. Raises KeyError for a role that the project does not declare."""
        return self._models[role]

    @property
    def http(self) -> ClientSession:
        """A session for HTTP calls of the workflow's own: on the record, with our `traceparent`, without cookies."""
        if self._http is None:
            self._http = self._open_session(self._exchange)
        return self._http

    async def complete(self, role: str, prompt: Asked, *, step: str = "", **parameters: Any) -> str:
        """The whole text that the model of `role` answers."""
        return (await self.ask(role, prompt, step=step, **parameters)).text

    async def ask(self, role: str, prompt: Asked, *, step: str = "", **parameters: Any) -> Answer:
        """Like `complete`, with what else is known about the answer."""
        model = self.model(role)
        request = _chat_request(model, prompt, parameters, stream=False)
        call = self._call(model, request, step or role, prompt)
        async with self._answered(model, request, call) as response:
            text = _read_by(model.provider.dialect.text, await response.read(self._answer_limit), call)
        call.learn()
        facts = call.facts
        finish = facts.finish_reasons[0] if facts.finish_reasons else None
        return Answer(text, facts.response_model or model.name, finish, facts.usage)

    @asynccontextmanager
    async def stream(
        self, role: str, prompt: Asked, *, step: str = "", **parameters: Any
    ) -> AsyncIterator[AsyncIterator[str]]:
        """The text that the model of `role` answers, delta by delta, while the block runs."""
        model = self.model(role)
        request = _chat_request(model, prompt, parameters, stream=True)
        call = self._call(model, request, step or role, prompt)
        async with (
            self._answered(model, request, call) as response,
            aclosing(self._deltas(model, response, call)) as deltas,
        ):
            yield deltas

    async def embed(self, role: str, texts: Sequence[str], *, step: str = "") -> list[list[float]]:
        """The embedding of each of `texts`, in order."""
        model = self.model(role)
        try:
            request = model.provider.dialect.embed(model.name, texts)
        except InvalidRequest as error:  # not the client's doing: settings bind the role to a provider that cannot
            raise UpstreamRejected(error.message) from error
        call = self._call(model, request, step or role)
        async with self._answered(model, request, call) as response:
            vectors = _read_by(model.provider.dialect.vectors, await response.read(self._answer_limit), call)
            if len(vectors) != len(texts):
                raise UpstreamError(f"{call.provider} sent {len(vectors)} embeddings for {len(texts)} texts.")
        return vectors

    async def gather(self, *calls: Coroutine[Any, Any, Result]) -> list[Result]:
        """The results of `calls`, made side by side, in order. When one fails the others are stopped."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call) for call in calls]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    @asynccontextmanager
    async def interleave(
        self, streams: Mapping[Name, AbstractAsyncContextManager[AsyncIterator[str]]]
    ) -> AsyncIterator[AsyncIterator[tuple[Name, str]]]:
        """All of `streams` at once while the block runs: each delta as it comes, with the name of its stream."""
        async with Interleaved(streams) as deltas:
            yield deltas

    def _call(self, model: Model, request: UpstreamRequest, step: str, prompt: Asked | None = None) -> UpstreamCall:
        return UpstreamCall(
            model.provider.name,
            request.method,
            request.target.partition("?")[0],
            new_span_id(self._exchange.trace),
            step=step,
            parent_span_id=self._exchange.workflow_span_id,
            template=prompt.use if isinstance(prompt, FilledPrompt) else None,
        )

    @asynccontextmanager
    async def _answered(
        self, model: Model, request: UpstreamRequest, call: UpstreamCall
    ) -> AsyncIterator[UpstreamAnswer]:
        """A response that is a success; its step is told while it lasts."""
        step, began = call.step or "", monotonic_ns()
        state: Literal["finished", "failed"] = "failed"
        # Read here, so no content coding can be asked for.
        readable = replace(request, fields=(*request.fields, (b"accept-encoding", b"identity")))
        self._tell(StepFrame(step, "started", str(model)))
        try:
            async with self._upstream.call(self._exchange, model.provider, readable, call) as response:
                call.request_id = _request_id(response.fields)
                _check(response, call)
                yield response
            state = "finished"
        finally:
            seconds = round((monotonic_ns() - began) / 1e9, 6)
            self._tell(StepFrame(step, state, str(model), seconds))

    async def _deltas(self, model: Model, response: UpstreamAnswer, call: UpstreamCall) -> AsyncGenerator[str, None]:
        dialect = model.provider.dialect
        chunks = self._within_limit(response, call)
        begun = await first_bytes(chunks)
        # Some providers answer a request for a stream with a document, even labelled as an event stream.
        if not response.is_event_stream or (begun.strip() and not is_event_stream(begun)):
            yield _read_by(dialect.text, begun + b"".join([chunk async for chunk in chunks]), call)
            return
        decoder = sse.Decoder()
        async for chunk in with_blank_line(begun, chunks):
            for event in decoder.feed(chunk):
                if dialect.stream_failed(event.data):
                    raise UpstreamRejected(f"{call.provider} failed in the middle of step {call.step!r}.")
                if delta := dialect.delta(event.data):
                    yield delta

    async def _within_limit(self, response: UpstreamAnswer, call: UpstreamCall) -> AsyncGenerator[bytes, None]:
        room = self._answer_limit
        async for chunk in response.chunks():
            room -= len(chunk)
            if room < 0:
                raise UpstreamError(f"{call.provider} sent a larger answer than is taken here.")
            yield chunk


def _chat_request(model: Model, prompt: Asked, parameters: Mapping[str, Any], *, stream: bool) -> UpstreamRequest:
    given = {name: value for name, value in parameters.items() if value is not None}
    return model.provider.dialect.chat(model.name, _messages(prompt), given, stream=stream)


def _messages(prompt: Asked) -> Prompt:
    match prompt:
        case FilledPrompt():
            return prompt.prompt
        case Prompt():
            return prompt
        case _:
            return Prompt((("user", prompt),))


def _request_id(fields: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The provider's own id of a call."""
    told = next((value for name, value in fields if name.lower() in (b"x-request-id", b"request-id")), b"")
    return told[:200].decode("ascii", "replace") or None


def _check(response: UpstreamAnswer, call: UpstreamCall) -> None:
    """Raise for an answer that is none. The provider's own words are for the record, not for the client."""
    if not 200 <= response.status < 300:
        wait = response.field(b"retry-after")
        raise UpstreamRejected(
            f"{call.provider} answered step {call.step!r} with status {response.status}.",
            retry_after=int(wait) if wait.isdigit() and len(wait) < 6 else None,
        )
    if response.field(b"content-encoding") not in (b"", b"identity"):
        raise UpstreamError(f"{call.provider} encoded an answer that was asked for as it is.")


def _read_by(read: Callable[[bytes], Result], body: bytes, call: UpstreamCall) -> Result:
    try:
        return read(body)
    except ValueError as error:
        raise UpstreamError(f"{call.provider} answered step {call.step!r} with something else.") from error

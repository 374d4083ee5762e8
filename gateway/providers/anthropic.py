"""Anthropic's dialect: the Messages API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.errors import GatewayError, InvalidRequest
from gateway.providers import apis, failures
from gateway.providers.apis import Api
from gateway.providers.provider import Prompt, Shape, UpstreamRequest
from gateway.providers.reading import messages
from gateway.providers.reading.api import Bodies
from gateway.providers.reading.lenient import mapping, objects, parsed, text
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, StreamBody
from gateway.providers.stream_flag import NO_STREAM, asks_for_stream, with_stream
from gateway.telemetry.exchange import Facts

VERSION: Final = "2023-06-01"

_DEFAULT_MAX_TOKENS: Final = 4096
_WITHOUT_SAMPLING: Final = "2026-10-21"
"""The first version that refuses the parameters in `_SAMPLING`."""
_SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})


@dataclass(frozen=True, slots=True)
class AnthropicDialect:
    """`max_tokens` is mandatory, so workflows that name none are given one.

    `version` is the one that requests get which name none, those of workflows among them.
    """

    version: str = VERSION

    @property
    def name(self) -> str:
        return "anthropic"

    @property
    def root(self) -> str:
        return ""

    def api(self, path: str) -> Api | None:
        return _api_at(path)

    def is_ambiguous(self, path: str) -> bool:
        return _is_ambiguous(path)

    def operation(self, path: str) -> str:
        return apis.operation(_api_at(path))

    def streams(self, path: str, query: str, body: bytes) -> bool:
        return asks_for_stream(body)

    def reshape(self, target: str, body: bytes, *, stream: bool) -> Shape:
        if _api_at(target.partition("?")[0]) is apis.MESSAGES:
            return Shape(target, with_stream(body, stream))
        if stream:
            raise InvalidRequest(NO_STREAM, param="stream_mode")
        return Shape(target, body)

    def stream_end(self, path: str, body: StreamBody) -> End | None:
        return apis.stream_end(_api_at(path), path, body)

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
        bodies = Bodies(request, head, tail, whole)
        return apis.facts(_api_at(path), path, bodies, content, parameters)

    def chat(self, model: str, prompt: Prompt, parameters: Mapping[str, Any], *, stream: bool) -> UpstreamRequest:
        given = dict(parameters)
        if self.version >= _WITHOUT_SAMPLING:
            given = {name: value for name, value in given.items() if name not in _SAMPLING}
        if "stop" in given:
            stop = given.pop("stop")
            given["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
        system = [said for role, said in prompt.messages if role == "system"]
        turns = [{"role": role, "content": said} for role, said in prompt.messages if role != "system"]
        if not turns:  # at least one turn is mandatory
            turns, system = [{"role": "user", "content": "\n\n".join(system)}], []
        body: dict[str, Any] = {"max_tokens": _DEFAULT_MAX_TOKENS, **given, "model": model, "messages": turns}
        if system:
            body["system"] = "\n\n".join(system)
        if stream:
            body["stream"] = True
        fields = ((b"Content-Type", b"application/json"),)
        return UpstreamRequest("POST", "/v1/messages", fields, msgspec.json.encode(body))

    def embed(self, model: str, texts: Sequence[str]) -> UpstreamRequest:
        raise InvalidRequest("Anthropic's API has no embeddings.")

    def text(self, body: bytes) -> str:
        answer = mapping(parsed(body))
        if not isinstance(answer.get("content"), list):
            raise ValueError("no message")
        blocks = objects(answer["content"])
        return "".join(text(block.get("text")) for block in blocks if block.get("type") == "text")

    def vectors(self, body: bytes) -> list[list[float]]:
        raise ValueError("Anthropic's API has no embeddings")

    def delta(self, data: bytes) -> str:
        return messages.delta_text(mapping(parsed(data))) if data.find(b"text_delta") >= 0 else ""

    def stream_failed(self, data: bytes) -> bool:
        return data.find(b"error") >= 0 and mapping(parsed(data)).get("type") == "error"

    def end_of_stream(self) -> bytes:
        return b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return failures.anthropic_error(error, request_id)

    def stream_error(self, error: GatewayError, request_id: str, path: str) -> bytes:
        api = _api_at(path)
        in_words_of = api.stream_error if api is not None and api.stream_error else failures.anthropic_event
        return in_words_of(error, request_id)


# The base URL may end with the version already.
_api_at, _is_ambiguous = apis.finder(("/messages", apis.MESSAGES))


ANTHROPIC: Final = AnthropicDialect()

"""The dialect most APIs speak: chat completions, completions, embeddings and the Responses API."""

import base64
import binascii
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.errors import GatewayError, InvalidRequest
from gateway.providers import apis, failures
from gateway.providers.apis import Api, api_at
from gateway.providers.provider import Prompt, Shape, UpstreamRequest
from gateway.providers.reading import chat_completions, responses
from gateway.providers.reading.api import Bodies
from gateway.providers.reading.content import all_text
from gateway.providers.reading.lenient import mapping, objects, parsed, text
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, StreamBody
from gateway.providers.stream_flag import NO_STREAM, asks_for_stream, with_stream
from gateway.telemetry.exchange import Facts

_JSON_FIELDS: Final = ((b"Content-Type", b"application/json"),)
_STREAMS: Final = (apis.CHAT_COMPLETIONS, apis.RESPONSES, apis.COMPLETIONS)


@dataclass(frozen=True, slots=True)
class OpenAIDialect:
    """`stream_usage` says whether workflows may ask a stream for its usage: some servers refuse a member they do not
    know.
    """

    root: str = "/v1"
    stream_usage: bool = True

    @property
    def name(self) -> str:
        return "openai"

    def api(self, path: str) -> Api | None:
        return api_at(path)

    def is_ambiguous(self, path: str) -> bool:
        return apis.is_ambiguous(path)

    def operation(self, path: str) -> str:
        return apis.operation(api_at(path))

    def streams(self, path: str, query: str, body: bytes) -> bool:
        return asks_for_stream(body)

    def reshape(self, target: str, body: bytes, *, stream: bool) -> Shape:
        if api_at(target.partition("?")[0]) in _STREAMS:
            return Shape(target, with_stream(body, stream))
        if stream:
            raise InvalidRequest(NO_STREAM, param="stream_mode")
        return Shape(target, body)

    def stream_end(self, path: str, body: StreamBody) -> End | None:
        return apis.stream_end(api_at(path), path, body)

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
        return apis.facts(api_at(path), path, bodies, content, parameters)

    def chat(self, model: str, prompt: Prompt, parameters: Mapping[str, Any], *, stream: bool) -> UpstreamRequest:
        given = dict(parameters)
        if "max_tokens" in given and _COUNTS_REASONING.match(model):
            given["max_completion_tokens"] = given.pop("max_tokens")
        body: dict[str, Any] = {
            **given,
            "model": model,
            "messages": [{"role": role, "content": said} for role, said in prompt.messages],
        }
        if stream:
            body["stream"] = True
            if self.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return _post(f"{self.root}/chat/completions", body)

    def embed(self, model: str, texts: Sequence[str]) -> UpstreamRequest:
        return _post(f"{self.root}/embeddings", {"model": model, "input": list(texts)})

    def text(self, body: bytes) -> str:
        answer = mapping(parsed(body))
        if choices := objects(answer.get("choices")):
            message = mapping(choices[0].get("message"))
            return all_text(message.get("content")) or text(message.get("refusal")) or text(choices[0].get("text"))
        if isinstance(answer.get("output"), list):
            return "".join(responses.output_text(item) for item in objects(answer["output"]))
        raise ValueError("no chat completion")

    def vectors(self, body: bytes) -> list[list[float]]:
        data = objects(mapping(parsed(body)).get("data"))
        if not data:
            raise ValueError("no embeddings")
        try:
            return [_vector(item["embedding"]) for item in sorted(data, key=lambda item: item.get("index", 0))]
        except (KeyError, TypeError, struct.error, binascii.Error) as error:
            raise ValueError("no embeddings") from error

    def delta(self, data: bytes) -> str:
        event = mapping(parsed(data))
        choices = objects(event.get("choices"))
        if choices:
            return "".join(chat_completions.delta_text(choice) for choice in choices if not choice.get("index"))
        return responses.delta_text(event)

    def stream_failed(self, data: bytes) -> bool:
        return (data.find(b"error") >= 0 or data.find(b"failed") >= 0) and chat_completions.is_failure(
            mapping(parsed(data))
        )

    def end_of_stream(self) -> bytes:
        return b"data: [DONE]\n\n"

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return failures.openai_error(error, request_id)

    def stream_error(self, error: GatewayError, request_id: str, path: str) -> bytes:
        api = api_at(path)
        in_words_of = api.stream_error if api is not None and api.stream_error else failures.openai_event
        return in_words_of(error, request_id)


# OpenAI's reasoning models refuse `max_tokens`; other servers know only that.
_COUNTS_REASONING: Final = re.compile(r"(?:o\d|gpt-[5-9])")


def _post(target: str, body: Mapping[str, Any]) -> UpstreamRequest:
    return UpstreamRequest("POST", target, _JSON_FIELDS, msgspec.json.encode(body))


def _vector(embedding: Any) -> list[float]:
    if isinstance(embedding, str):  # little-endian floats
        packed = base64.b64decode(embedding, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    return [float(number) for number in embedding]


OPENAI: Final = OpenAIDialect()

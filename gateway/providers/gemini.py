"""Google's dialect: models named in the path, and a method after the colon that says whether the answer streams.

Its Interactions API names the model in the body, like the others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, unquote_plus

import msgspec

from gateway.errors import GatewayError, InvalidRequest
from gateway.providers import apis, failures
from gateway.providers.apis import Api, api_at
from gateway.providers.provider import Prompt, Shape, UpstreamRequest
from gateway.providers.reading import generate_content, interactions
from gateway.providers.reading.api import Bodies
from gateway.providers.reading.lenient import mapping, objects, parsed
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, StreamBody
from gateway.providers.stream_flag import NO_STREAM, asks_for_stream, with_stream
from gateway.telemetry.exchange import Facts
from gateway.wire.target import lenient

_STREAMED: Final = "streamGenerateContent"
_UNARY: Final = "generateContent"
_METHOD: Final = re.compile(rf"(?::|%3[Aa])({_STREAMED}|{_UNARY})$")
_JSON_FIELDS: Final = ((b"Content-Type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class GeminiDialect:
    """The path says whether the answer streams, but for interactions: there the body does."""

    @property
    def name(self) -> str:
        return "gemini"

    @property
    def root(self) -> str:
        return ""

    def api(self, path: str) -> Api | None:
        return api_at(path)

    def is_ambiguous(self, path: str) -> bool:
        return apis.is_ambiguous(path)

    def operation(self, path: str) -> str:
        return apis.operation(api_at(path))

    def streams(self, path: str, query: str, body: bytes) -> bool:
        if api_at(path) is not apis.GENERATE_CONTENT:
            return asks_for_stream(body)
        return lenient(path).lower().endswith(f":{_STREAMED.lower()}")

    def reshape(self, target: str, body: bytes, *, stream: bool) -> Shape:
        path, question, query = target.partition("?")
        found = _METHOD.search(path)
        if found is not None:
            method = _STREAMED if stream else _UNARY
            return Shape(path[: found.start(1)] + method + _with_alt(question + query, stream), body)
        if api_at(path) is apis.INTERACTIONS:
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
        config = {_CONFIG.get(name, name): value for name, value in parameters.items()}
        if isinstance(config.get("stopSequences"), str):
            config["stopSequences"] = [config["stopSequences"]]
        system = [_part(said) for role, said in prompt.messages if role == "system"]
        turns = [
            {"role": "model" if role == "assistant" else "user", "parts": [_part(said)]}
            for role, said in prompt.messages
            if role != "system"
        ]
        if not turns:  # at least one turn is mandatory
            turns, system = [{"role": "user", "parts": system}], []
        body: dict[str, Any] = {"contents": turns}
        if system:
            body["systemInstruction"] = {"parts": system}
        if config:
            body["generationConfig"] = config
        method = f"{_STREAMED}?alt=sse" if stream else _UNARY
        return UpstreamRequest("POST", f"{_path_of(model)}:{method}", _JSON_FIELDS, msgspec.json.encode(body))

    def embed(self, model: str, texts: Sequence[str]) -> UpstreamRequest:
        name = _path_of(model)
        resource = unquote(name.removeprefix("/v1beta/"))
        requests = [{"model": resource, "content": {"parts": [_part(said)]}} for said in texts]
        body = msgspec.json.encode({"requests": requests})
        return UpstreamRequest("POST", f"{name}:batchEmbedContents", _JSON_FIELDS, body)

    def text(self, body: bytes) -> str:
        answer = mapping(parsed(body))
        if isinstance(answer.get("steps"), list):
            return interactions.answer_text(answer)
        if not objects(answer.get("candidates")):
            raise ValueError("no candidates")
        return generate_content.delta_text(answer)

    def vectors(self, body: bytes) -> list[list[float]]:
        answer = mapping(parsed(body))
        found = objects(answer.get("embeddings")) or objects([answer.get("embedding")])
        if not found:
            raise ValueError("no embeddings")
        try:
            return [[float(number) for number in item["values"]] for item in found]
        except (KeyError, TypeError) as error:
            raise ValueError("no embeddings") from error

    def delta(self, data: bytes) -> str:
        event = mapping(parsed(data))
        return interactions.delta_text(event) if "event_type" in event else generate_content.delta_text(event)

    def stream_failed(self, data: bytes) -> bool:
        if data.find(b'"error"') < 0:
            return False
        event = mapping(parsed(data))
        return bool(event.get("error")) or event.get("event_type") == "error"

    def end_of_stream(self) -> bytes:
        return b""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return failures.gemini_error(error, request_id)

    def stream_error(self, error: GatewayError, request_id: str, path: str) -> bytes:
        api = api_at(path)
        in_words_of = api.stream_error if api is not None and api.stream_error else failures.gemini_event
        return in_words_of(error, request_id)


def _with_alt(query: str, stream: bool) -> str:
    """A raw query, `?` and all, that asks for events, or for the document that is answered unasked."""
    parameters = query[1:].split("&") if len(query) > 1 else []
    if stream and "alt=sse" in parameters:
        return query
    kept = [parameter for parameter in parameters if unquote_plus(parameter.partition("=")[0]) != "alt"]
    if stream:
        kept.append("alt=sse")
    elif len(kept) == len(parameters):
        return query
    return "?" + "&".join(kept) if kept else ""


def _path_of(model: str) -> str:
    """Where a model is: by its bare name, or as `models/...` or `tunedModels/...`."""
    collection, _, name = model.rpartition("/")
    return f"/v1beta/{quote(collection or 'models', safe='')}/{quote(name, safe='')}"


def _part(said: str) -> dict[str, str]:
    return {"text": said}


_CONFIG: Final = {
    "max_tokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}

GEMINI: Final = GeminiDialect()

"""Operations -> one OpenAPI 3.1 document.

Rule 1: the same operations give the same bytes.
Rule 2: nothing is described here that an Operation, a Struct or an error class could say itself.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import Draining, GatewayError, Overloaded, RateLimited
from gateway.schema.error_bodies import ErrorStyle
from gateway.schema.frames import AnyFrame
from gateway.schema.operation import JSON, Operation, Parameter, phrase

Json = dict[str, Any]

MODES: Mapping[str, str] = {
    "json": JSON,
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "text": "text/plain",
}
STREAM_MODE = (
    Parameter(
        "stream_mode",
        "query",
        "The shape of the answer: `json` one document, `sse` an event stream, `ndjson` a JSON document per line, "
        "`text` the bare text as it is written.",
        {"type": "string", "enum": list(MODES)},
    ),
    Parameter(
        "X-Stream-Mode",
        "header",
        "The same as `stream_mode`, for clients that cannot change the query.",
        {"type": "string", "enum": list(MODES)},
    ),
)
_SHOWN_FOR_ANY_METHOD = ("get", "post", "put", "patch", "delete")
_RETRIED_LATER = (RateLimited, Overloaded, Draining)
_SECURITY: Json = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The gateway's key."},
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The gateway's key, as most SDKs send it."},
}
_HEADERS: Json = {
    "RequestId": {
        "description": "What the gateway's log and traces call this request.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 0}},
}


def document(
    operations: Sequence[Operation], *, title: str, version: str, description: str, tags: Mapping[str, str]
) -> Json:
    """The OpenAPI document of `operations`, whose paths are absolute; `tags` are those to show, in order."""
    schemas = _Schemas(operations)
    failures = _Failures(schemas)
    paths: dict[str, Json] = defaultdict(dict)
    for operation in operations:
        for method in _methods(operation):
            paths[_documented(operation.path)][method] = _operation(operation, method, schemas, failures)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": "/", "description": "This gateway"}],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "tags": [{"name": name, "description": about} for name, about in tags.items()],
        "paths": dict(paths),
        "components": {
            "schemas": schemas.components,
            "responses": failures.components,
            "parameters": {parameter.name: _parameter(parameter) for parameter in STREAM_MODE},
            "headers": _HEADERS,
            "securitySchemes": _SECURITY,
        },
    }


def encode(rendered: Json) -> bytes:
    """The document as it is served and printed."""
    return msgspec.json.format(msgspec.json.encode(rendered), indent=2) + b"\n"


class _Schemas:
    """The JSON Schemas of every contract there is, under names that are unique in the document."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        contracts = [contract for operation in operations for contract in _contracts(operation)]
        distinct = list(dict.fromkeys(contracts))
        schemas, components = msgspec.json.schema_components(distinct, ref_template="#/components/schemas/{name}")
        self._schemas = dict(zip(distinct, schemas, strict=True))
        self.components = dict(sorted(components.items()))

    def of(self, contract: Any) -> Json:
        return dict(self._schemas[contract])


def _streamed(frame: Json) -> Json:
    """The streaming modes; the schema of an event stream is that of an event, and of a list of lines that of a line."""
    names = [reference["$ref"].rpartition("/")[2] for reference in frame["anyOf"]]
    kinds = list(frame["discriminator"]["mapping"])
    event = {
        "type": "object",
        "description": f"One event, named by the type of its frame: {', '.join(names)}. The last one is `done` or "
        "`error`. Comments keep the connection alive while a step is silent.",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "enum": kinds},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": frame},
        },
    }
    text = {
        "type": "string",
        "description": "The answer's text as it is written. If the workflow fails after the first of it, the response "
        "breaks off.",
    }
    return {MODES["sse"]: {"schema": event}, MODES["ndjson"]: {"schema": frame}, MODES["text"]: {"schema": text}}


class _Failures:
    """The error responses, each described once however many operations share it."""

    def __init__(self, schemas: _Schemas) -> None:
        self._schemas = schemas
        self._names: dict[tuple[ErrorStyle, tuple[type[GatewayError], ...]], str] = {}
        self.components: Json = {}

    def of(self, style: ErrorStyle, errors: Sequence[type[GatewayError]]) -> Json:
        """A reference to the response for `errors`, which have one status."""
        known = (style, tuple(errors))
        if known not in self._names:
            name = f"{style.contract.__name__}{errors[0].status}"
            taken = sum(1 for other in self.components if other.partition("-")[0] == name)
            self._names[known] = f"{name}-{taken + 1}" if taken else name
            self.components[self._names[known]] = self._described(style, errors)
        return {"$ref": f"#/components/responses/{self._names[known]}"}

    def _described(self, style: ErrorStyle, errors: Sequence[type[GatewayError]]) -> Json:
        examples = {
            error.code: {
                "summary": error.title,
                "value": msgspec.json.decode(style.render(error(), "req_4d3c2b1a", "/the/path/asked/for")),
            }
            for error in errors
        }
        return {
            "description": f"{phrase(errors[0].status)}: " + "; ".join(error.title for error in errors) + ".",
            "headers": _headers(errors),
            "content": {style.media_type: {"schema": self._schemas.of(style.contract), "examples": examples}},
        }


def _contracts(operation: Operation) -> Iterable[Any]:
    own = (operation.request, operation.response, *(response.contract for response in operation.responses))
    yield from (contract for contract in own if contract is not None)
    yield operation.error_style.contract
    if operation.streams:
        yield AnyFrame


def _methods(operation: Operation) -> Sequence[str]:
    return _SHOWN_FOR_ANY_METHOD if operation.method == "*" else (operation.method.lower(),)


def _documented(path: str) -> str:
    """A route's path without the patterns that only the router understands."""
    return re.sub(r"\{(\w+)(:(?:[^{}]|\{[^{}]*\})*)?\}", r"{\1}", path) or "/"


def _operation(operation: Operation, method: str, schemas: _Schemas, failures: _Failures) -> Json:
    described: Json = {
        "operationId": _identifier(method, operation.path),
        "summary": operation.summary,
        "description": operation.description,
        "tags": list(operation.tags),
        "parameters": _parameters(operation),
        "requestBody": _request(operation, method, schemas),
        "responses": _responses(operation, schemas, failures),
    }
    if operation.public:
        described["security"] = []
    return {name: value for name, value in described.items() if value or name in ("responses", "security")}


def _identifier(method: str, path: str) -> str:
    return "_".join((method, *re.findall(r"[A-Za-z0-9]+", _documented(path))))


def _parameters(operation: Operation) -> list[Json]:
    told = {parameter.name for parameter in operation.parameters if parameter.where == "path"}
    in_path = [name for name in re.findall(r"\{(\w+)\}", _documented(operation.path)) if name not in told]
    parameters = [_parameter(Parameter(name, "path", "", required=True)) for name in in_path]
    parameters += [_parameter(parameter) for parameter in operation.parameters]
    if operation.streams:
        parameters += [{"$ref": f"#/components/parameters/{parameter.name}"} for parameter in STREAM_MODE]
    return parameters


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "schema": dict(parameter.schema),
    } | ({"description": parameter.description} if parameter.description else {})


def _request(operation: Operation, method: str, schemas: _Schemas) -> Json | None:
    examples = {
        title: {"summary": title, "value": msgspec.to_builtins(value)} for title, value in operation.examples.items()
    }
    if operation.request is not None:
        body = {"schema": schemas.of(operation.request)} | ({"examples": examples} if examples else {})
        return {"required": True, "content": {JSON: body}}
    if operation.method == "*" and method in ("post", "put", "patch"):
        return {"content": {"*/*": {}}}
    return {"content": {JSON: {"schema": {"type": "object"}, "examples": examples}}} if examples else None


def _responses(operation: Operation, schemas: _Schemas, failures: _Failures) -> Json:
    responses: Json = {}
    if operation.response is not None or operation.streams:
        responses["200"] = _success(operation, schemas)
    for response in operation.responses:
        body = {} if response.contract is None else {"schema": schemas.of(response.contract)}
        responses[str(response.status or "default")] = {
            "description": response.description,
            "headers": _headers(()),
        } | ({"content": {response.media_type: body}} if response.media_type else {})
    by_status: dict[int, list[type[GatewayError]]] = defaultdict(list)
    for error in operation.every_error:
        by_status[error.status].append(error)
    for status, errors in by_status.items():
        responses.setdefault(str(status), failures.of(operation.error_style, errors))
    return dict(sorted(responses.items(), key=lambda item: (item[0] == "default", item[0])))


def _success(operation: Operation, schemas: _Schemas) -> Json:
    content: Json = {operation.media_type: {"schema": schemas.of(operation.response)}}
    if operation.reply is not None:
        content[operation.media_type]["example"] = msgspec.to_builtins(operation.reply)
    if operation.streams:
        content |= _streamed(schemas.of(AnyFrame))
    return {"description": "The answer.", "headers": _headers(()), "content": content}


def _headers(errors: Sequence[type[GatewayError]]) -> Json:
    headers: Json = {"X-Gateway-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if any(issubclass(error, _RETRIED_LATER) for error in errors):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return headers

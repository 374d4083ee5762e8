"""The document says what the operations say, is valid, and comes out the same each time."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.errors import GatewayError, UpstreamRejected, UpstreamTruncated
from gateway.schema import openapi
from gateway.schema.error_bodies import ErrorStyle, OpenAIError
from gateway.schema.operation import Operation, Parameter, Response


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(description="What to say.", min_length=1)]
    loud: bool = False


class Said(msgspec.Struct, frozen=True):
    text: str


class Health(msgspec.Struct, frozen=True):
    status: str


def _openai(error: GatewayError, request_id: str, path: str) -> bytes:
    detail = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": detail})


ECHO = Operation(
    "POST",
    "/projects/echo/say",
    "Say it again",
    tags=("echo",),
    request=Asked,
    response=Said,
    streams=True,
    errors=(UpstreamRejected, UpstreamTruncated),
    examples={"Softly": Asked("hello")},
    reply=Said("hello"),
)
RELAY = Operation(
    "*",
    "/provider/openai/{tail:.*}",
    "Anything that OpenAI serves",
    error_style=ErrorStyle("application/json", OpenAIError, _openai),
    responses=(Response(None, "The provider's own response.", media_type="*/*"),),
)
HEALTH = Operation("GET", "/health", "Is it well?", response=Health, public=True)
OPERATIONS = (ECHO, RELAY, HEALTH)


def document(*operations: Operation) -> Any:
    return openapi.document(
        operations, title="Gateway", version="1.2.3", description="All of it.", tags={"echo": "It says things again."}
    )


@pytest.fixture
def rendered() -> Any:
    return document(*OPERATIONS)


def test_the_document_is_valid_openapi(rendered: Any) -> None:
    assert list(OpenAPIV31SpecValidator(rendered).iter_errors()) == []


def test_the_same_operations_give_the_same_bytes() -> None:
    first, second = openapi.encode(document(*OPERATIONS)), openapi.encode(document(*OPERATIONS))
    assert first == second
    assert msgspec.json.decode(first) == document(*OPERATIONS)


def test_requests_and_replies_are_described_by_their_structs(rendered: Any) -> None:
    post = rendered["paths"]["/projects/echo/say"]["post"]
    body = post["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/Asked"}
    assert post["requestBody"]["required"] is True
    asked = rendered["components"]["schemas"]["Asked"]
    assert asked["properties"]["text"] == {"type": "string", "minLength": 1, "description": "What to say."}
    assert asked["additionalProperties"] is False
    assert post["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Said"}


def test_examples_are_real_requests_and_replies(rendered: Any) -> None:
    post = rendered["paths"]["/projects/echo/say"]["post"]
    assert post["requestBody"]["content"]["application/json"]["examples"] == {
        "Softly": {"summary": "Softly", "value": {"text": "hello", "loud": False}}
    }
    assert post["responses"]["200"]["content"]["application/json"]["example"] == {"text": "hello"}


def test_an_operation_that_streams_offers_every_mode_as_a_media_type(rendered: Any) -> None:
    post = rendered["paths"]["/projects/echo/say"]["post"]
    assert set(post["responses"]["200"]["content"]) == set(openapi.MODES.values())
    assert {"$ref": "#/components/parameters/stream_mode"} in post["parameters"]
    assert rendered["components"]["parameters"]["stream_mode"]["schema"]["enum"] == ["json", "sse", "ndjson", "text"]
    assert "DeltaFrame" in rendered["components"]["schemas"]


def test_events_and_lines_are_described_by_their_frames(rendered: Any) -> None:
    content = rendered["paths"]["/projects/echo/say"]["post"]["responses"]["200"]["content"]
    line, event = (content[openapi.MODES[mode]]["schema"] for mode in ("ndjson", "sse"))
    frames = [reference["$ref"].rpartition("/")[2] for reference in line["anyOf"]]
    assert sorted(frames) == ["DeltaFrame", "DoneFrame", "ErrorFrame", "ReplyFrame", "StepFrame", "UsageFrame"]
    assert line["discriminator"]["propertyName"] == "type"
    assert event["properties"]["data"]["contentSchema"] == line
    assert set(event["properties"]["event"]["enum"]) == {"step", "delta", "reply", "usage", "error", "done"}
    assert all(name in event["description"] for name in frames)


def test_one_that_does_not_stream_offers_none() -> None:
    rendered = document(HEALTH)
    get = rendered["paths"]["/health"]["get"]
    assert set(get["responses"]["200"]["content"]) == {"application/json"}
    assert "parameters" not in get
    assert "DeltaFrame" not in rendered["components"]["schemas"]


def test_errors_come_from_their_classes(rendered: Any) -> None:
    reference = rendered["paths"]["/projects/echo/say"]["post"]["responses"]["502"]
    response = resolved(rendered, reference)
    body = response["content"]["application/problem+json"]
    assert body["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
    assert list(body["examples"]) == ["upstream_rejected", "upstream_truncated"]
    told = body["examples"]["upstream_rejected"]["value"]
    assert (told["status"], told["title"]) == (502, UpstreamRejected.title)
    assert UpstreamTruncated.title in response["description"]


def test_a_status_that_asks_for_patience_says_how_much(rendered: Any) -> None:
    responses = rendered["paths"]["/projects/echo/say"]["post"]["responses"]
    assert "Retry-After" in resolved(rendered, responses["429"])["headers"]
    assert "Retry-After" not in resolved(rendered, responses["401"])["headers"]


def test_a_route_with_another_style_tells_its_errors_in_that_style(rendered: Any) -> None:
    responses = rendered["paths"]["/provider/openai/{tail}"]["post"]["responses"]
    body = resolved(rendered, responses["401"])["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/OpenAIError"}
    assert body["examples"]["invalid_api_key"]["value"]["error"]["code"] == "invalid_api_key"
    assert responses["default"] == {
        "description": "The provider's own response.",
        "headers": {"X-Gateway-Request-Id": {"$ref": "#/components/headers/RequestId"}},
        "content": {"*/*": {}},
    }


def test_a_route_for_every_method_is_shown_for_each(rendered: Any) -> None:
    relay = rendered["paths"]["/provider/openai/{tail}"]
    assert list(relay) == ["get", "post", "put", "patch", "delete"]
    assert relay["get"]["parameters"] == [
        {"name": "tail", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    assert relay["post"]["requestBody"] == {"content": {"*/*": {}}}
    assert "requestBody" not in relay["get"]


def test_patterns_that_only_the_router_knows_are_not_shown() -> None:
    paths = document(Operation("GET", r"/v1/{year:\d{4}}/{name}", "Get", public=True))["paths"]
    assert list(paths) == ["/v1/{year}/{name}"]


def test_a_described_path_parameter_is_not_repeated() -> None:
    about = Parameter("name", "path", "Whose.")
    rendered = document(Operation("GET", "/v1/{name}", "Get", parameters=(about,)))
    assert [parameter["description"] for parameter in rendered["paths"]["/v1/{name}"]["get"]["parameters"]] == [
        "Whose."
    ]


def test_a_key_is_needed_except_where_it_is_not(rendered: Any) -> None:
    assert rendered["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert rendered["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert "security" not in rendered["paths"]["/projects/echo/say"]["post"]
    assert rendered["paths"]["/health"]["get"]["security"] == []


def test_structs_of_one_name_in_two_projects_do_not_hide_each_other() -> None:
    other = msgspec.defstruct("Asked", [("question", str)], module="elsewhere")
    rendered = document(ECHO, Operation("POST", "/projects/other/ask", "Ask", request=other))
    schema = resolved(
        rendered,
        rendered["paths"]["/projects/other/ask"]["post"]["requestBody"]["content"]["application/json"]["schema"],
    )
    assert list(schema["properties"]) == ["question"]
    assert list(OpenAPIV31SpecValidator(rendered).iter_errors()) == []


def test_error_responses_are_shared_only_by_operations_with_the_same_errors() -> None:
    plain = Operation("GET", "/a", "A", public=True)
    more = Operation("GET", "/b", "B", public=True, errors=(UpstreamRejected,))
    most = Operation("GET", "/c", "C", public=True, errors=(UpstreamRejected, UpstreamTruncated))
    rendered = document(plain, more, most)
    of = {path: rendered["paths"][path]["get"]["responses"] for path in ("/a", "/b", "/c")}
    assert of["/a"]["500"] == of["/b"]["500"]
    assert of["/b"]["502"] != of["/c"]["502"]
    assert len(resolved(rendered, of["/c"]["502"])["content"]["application/problem+json"]["examples"]) == 2


def resolved(rendered: Any, reference: Any) -> Any:
    found = rendered
    for step in reference["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found

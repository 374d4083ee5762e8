"""Settings of tracing, compared with what Phoenix's own libraries make of the same variables."""

import dataclasses

import pytest
from openinference.instrumentation import config as openinference
from phoenix.otel.settings import parse_env_headers

from gateway.settings.reader import Reader, Secret, SettingsError
from gateway.settings.tracing import Capture, Hidden, TracingSettings, read_tracing


def read(**environ: str) -> TracingSettings:
    reader = Reader(environ)
    settings = read_tracing(reader)
    reader.finish()
    return settings


def test_an_empty_environment_traces_nothing_and_captures_nothing() -> None:
    assert read() == TracingSettings()
    assert read().endpoint is None and read().content.capture is Capture.OFF


@pytest.mark.parametrize(
    ("given", "posted_to"),
    [
        ("http://phoenix:6006", "http://phoenix:6006/v1/traces"),
        ("http://phoenix:6006/", "http://phoenix:6006/v1/traces"),
        ("http://phoenix:6006/v1/traces", "http://phoenix:6006/v1/traces"),
        ("http://phoenix:6006/v1/traces/", "http://phoenix:6006/v1/traces"),
        ("https://app.phoenix.arize.com/s/space", "https://app.phoenix.arize.com/s/space/v1/traces"),
    ],
)
def test_the_collector_is_a_base_address_or_the_full_url(given: str, posted_to: str) -> None:
    assert str(read(PHOENIX_COLLECTOR_ENDPOINT=given).endpoint) == posted_to


@pytest.mark.parametrize(
    ("environ", "posted_to"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/spans"}, "http://collector:4318/spans"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://base",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces/x",
            },
            "http://traces/x",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://base",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces/x",
                "PHOENIX_COLLECTOR_ENDPOINT": "http://phoenix:6006",
            },
            "http://phoenix:6006/v1/traces",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://base", "OTEL_SDK_DISABLED": "true"}, "None"),
        ({"PHOENIX_COLLECTOR_ENDPOINT": "http://phoenix:6006", "OTEL_SDK_DISABLED": "true"}, "None"),
    ],
)
def test_an_endpoint_of_opentelemetry_counts_where_phoenix_names_none(environ: dict[str, str], posted_to: str) -> None:
    assert str(read(**environ).endpoint) == posted_to


def test_fields_of_opentelemetry_count_where_phoenix_names_none() -> None:
    settings = read(
        OTEL_EXPORTER_OTLP_HEADERS="x-a=general,x-b=general,x-c=general",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-a=traces,x-b=traces",
        PHOENIX_CLIENT_HEADERS="x-a=phoenix",
    )
    revealed = {name: value.reveal() for name, value in settings.fields.items()}
    assert revealed == {"x-a": "phoenix", "x-b": "traces", "x-c": "general"}
    assert "general" not in repr(settings)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_HEADERS: must be"):
        read(OTEL_EXPORTER_OTLP_HEADERS="oops")


def test_resource_attributes_are_read_and_named_settings_win() -> None:
    listed = "service.name=from-list, deployment.environment.name=a%2Cb,openinference.project.name=listed"
    settings = read(OTEL_RESOURCE_ATTRIBUTES=listed)
    assert (settings.service, settings.project) == ("from-list", "listed")
    assert settings.resource == {"deployment.environment.name": "a,b"}
    settings = read(OTEL_RESOURCE_ATTRIBUTES=listed, OTEL_SERVICE_NAME="edge", PHOENIX_PROJECT_NAME="named")
    assert (settings.service, settings.project) == ("edge", "named")
    with pytest.raises(SettingsError, match="OTEL_RESOURCE_ATTRIBUTES: must be"):
        read(OTEL_RESOURCE_ATTRIBUTES="service.name")


@pytest.mark.parametrize("given", ["phoenix:6006", "grpc://phoenix:4317", "http://", "http://user:pass@phoenix:6006"])
def test_an_address_that_is_none_is_a_problem(given: str) -> None:
    with pytest.raises(SettingsError, match="PHOENIX_COLLECTOR_ENDPOINT") as caught:
        read(PHOENIX_COLLECTOR_ENDPOINT=given)
    assert "pass" not in str(caught.value)


def test_each_name_is_read() -> None:
    settings = read(
        OTEL_SERVICE_NAME="edge",
        GATEWAY_TRACE_SAMPLE_RATIO="0.25",
        GATEWAY_TRACE_EXPORT_TIMEOUT="3",
        GATEWAY_TRACE_QUEUE_BYTES="2000000",
        GATEWAY_TRACE_CONTENT="HASHED",
        GATEWAY_TRACE_CONTENT_LIMIT="100",
    )
    assert (settings.service, settings.sample_ratio, settings.export_timeout) == ("edge", 0.25, 3)
    assert (settings.queue_bytes, settings.content.capture, settings.content.limit) == (2_000_000, Capture.HASHED, 100)


@pytest.mark.parametrize("value", ["true", "yes", "sha256"])
def test_content_is_off_on_or_hashed_and_nothing_else(value: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_TRACE_CONTENT: must be one of off, on, hashed"):
        read(GATEWAY_TRACE_CONTENT=value)


def test_phoenix_project_wins_over_its_alias_as_it_does_in_phoenix() -> None:
    assert read(PHOENIX_PROJECT_NAME="alias").project == "alias"
    assert read(PHOENIX_PROJECT_NAME="alias", PHOENIX_PROJECT="canonical").project == "canonical"


def test_a_gateway_project_may_have_a_phoenix_project_of_its_own() -> None:
    settings = read(PHOENIX_PROJECT_NAME="all", GATEWAY_PROJECT_MY_DEMO_PHOENIX_PROJECT="demos")
    assert settings.phoenix_project("my-demo") == settings.phoenix_project("my_demo") == "demos"
    assert settings.phoenix_project("other") == settings.phoenix_project(None) == "all"


@pytest.mark.parametrize(
    "listed",
    ["", "a=1", "X-A=1,x-b=two%20words", "x-a=%C2", " x-a = 1 , x-b = 2 ,", "authorization=Bearer%20abc", "x-a=b=c"],
)
def test_client_headers_are_read_as_phoenix_reads_them(listed: str) -> None:
    if "%C2" in listed:
        with pytest.raises(SettingsError, match="PHOENIX_CLIENT_HEADERS"):
            read(PHOENIX_CLIENT_HEADERS=listed)
        return
    fields = read(PHOENIX_CLIENT_HEADERS=listed).fields
    assert {name: value.reveal() for name, value in fields.items()} == parse_env_headers(listed)


@pytest.mark.parametrize("listed", ["novalue", "a b=1", "x=1,oops", "x=1%0d%0aevil:1", "=1"])
def test_bad_client_headers_are_a_problem_that_shows_no_value(listed: str) -> None:
    with pytest.raises(SettingsError, match="PHOENIX_CLIENT_HEADERS: must be") as caught:
        read(PHOENIX_CLIENT_HEADERS=listed)
    assert "evil" not in str(caught.value)


def test_the_api_key_is_a_bearer_token_and_a_secret() -> None:
    settings = read(PHOENIX_API_KEY="sesame", PHOENIX_CLIENT_HEADERS="authorization=other,x-a=1")
    assert settings.fields == {"authorization": Secret("Bearer sesame"), "x-a": Secret("1")}
    assert "sesame" not in repr(settings)
    with pytest.raises(SettingsError, match="PHOENIX_API_KEY"):
        read(PHOENIX_API_KEY="ses\name")


@pytest.mark.parametrize("switch", [field.name for field in dataclasses.fields(Hidden)])
def test_every_hide_switch_of_openinference_is_read(switch: str) -> None:
    name = f"OPENINFERENCE_HIDE_{switch.upper()}"
    assert getattr(openinference, name) == name, "the library knows this switch by the same name"
    hidden = read(**{name: "true"}).content.hidden
    assert hidden == dataclasses.replace(Hidden(), **{switch: True})
    assert read(**{name: "false"}).content.hidden == Hidden()


def test_no_hide_switch_of_openinference_is_forgotten() -> None:
    deprecated_or_about_spans_not_made_here = {"embedding_vectors", "retrieval_documents"}
    theirs = {
        name.removeprefix("OPENINFERENCE_HIDE_").lower()
        for name in vars(openinference)
        if name.startswith("OPENINFERENCE_HIDE_")
    }
    assert theirs - deprecated_or_about_spans_not_made_here == {field.name for field in dataclasses.fields(Hidden)}

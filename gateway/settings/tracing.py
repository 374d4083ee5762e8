"""Where spans go, which requests get them, and what they may show of what was said.

The names are those that Phoenix, OpenInference and OpenTelemetry use themselves; their libraries never see the
environment. Where Phoenix and OpenTelemetry have a name for the same thing, Phoenix's wins.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from yarl import URL

from gateway.settings.reader import Reader, Secret

TRACES_PATH = "/v1/traces"
PROTOCOL = "http/protobuf"
PREFIXES = ("OTEL_", "PHOENIX_", "OPENINFERENCE_")
PROJECT_ATTRIBUTE = "openinference.project.name"
PROJECT_PREFIX = "GATEWAY_PROJECT_"
PROJECT_SUFFIX = "_PHOENIX_PROJECT"
MIB = 1 << 20


class Capture(StrEnum):
    """What spans show of prompts and answers: nothing, all, or a digest that tells equal texts from others."""

    OFF = "off"
    ON = "on"
    HASHED = "hashed"


@dataclass(frozen=True, slots=True)
class Hidden:
    """The OPENINFERENCE_HIDE_* switches, each a field of the same name."""

    inputs: bool = False
    outputs: bool = False
    input_messages: bool = False
    output_messages: bool = False
    input_text: bool = False
    output_text: bool = False
    input_images: bool = False
    llm_invocation_parameters: bool = False
    llm_tools: bool = False
    prompts: bool = False
    choices: bool = False
    embeddings_text: bool = False
    embeddings_vectors: bool = False

    @property
    def part_of_inputs(self) -> bool:
        """Whether anything is hidden of what goes to a model. Images are never shown."""
        return any(
            (
                self.inputs,
                self.input_messages,
                self.input_text,
                self.llm_invocation_parameters,
                self.llm_tools,
                self.prompts,
                self.embeddings_text,
            )
        )

    @property
    def part_of_outputs(self) -> bool:
        """Whether anything is hidden of what a model answers."""
        return any((self.outputs, self.output_messages, self.output_text, self.choices, self.embeddings_vectors))


@dataclass(frozen=True, slots=True)
class ContentSettings:
    """`limit` is in characters, for each attribute."""

    capture: Capture = Capture.OFF
    limit: int = 32_768
    hidden: Hidden = field(default_factory=Hidden)

    @property
    def shows_all_of_inputs(self) -> bool:
        """Whether whatever goes to a model may be shown as it is."""
        return self.capture is Capture.ON and not self.hidden.part_of_inputs


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """`endpoint` is the full URL that spans are posted to, None for no tracing. `fields` are sent along, in lower case.

    `projects` maps a gateway project, as it is written in a variable's name, to its Phoenix project. `resource` are
    attributes of the resource that all spans belong to. `queue_bytes` bounds what waits for Phoenix.
    """

    endpoint: URL | None = None
    project: str = "default"
    projects: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Secret] = field(default_factory=dict)
    service: str = "llm-gateway"
    resource: Mapping[str, str] = field(default_factory=dict)
    sample_ratio: float = 1.0
    without_key: bool = False  # trace requests for which no key was accepted
    export_timeout: float = 2.0
    queue_bytes: int = 32 * MIB
    content: ContentSettings = field(default_factory=ContentSettings)

    def phoenix_project(self, project: str | None) -> str:
        """The Phoenix project of a gateway project's traces; None stands for provider routes."""
        return self.project if project is None else self.projects.get(_in_variable(project), self.project)


def read_tracing(reader: Reader) -> TracingSettings:
    """Everything about tracing; problems stay with the reader."""
    reader.chapter("Tracing")
    endpoint, resource = _endpoint(reader), _resource(reader)
    service, project = resource.pop("service.name", ""), resource.pop(PROJECT_ATTRIBUTE, "")
    return TracingSettings(
        endpoint=endpoint,
        project=_project(reader) or project or "default",
        projects=_projects(reader),
        fields=_fields(reader),
        service=reader.text("OTEL_SERVICE_NAME", "", "What spans call this service; not set: llm-gateway")
        or service
        or "llm-gateway",
        resource=resource,
        sample_ratio=reader.ratio(
            "GATEWAY_TRACE_SAMPLE_RATIO", 1, "Share of the traces beginning here that is recorded; clients' own stand"
        ),
        without_key=reader.flag(
            "GATEWAY_TRACE_WITHOUT_KEY",
            False,
            "Also trace requests without an accepted gateway key: probes, scrapes, pages, refused requests",
        ),
        export_timeout=reader.seconds("GATEWAY_TRACE_EXPORT_TIMEOUT", 2, "Seconds Phoenix gets to take spans"),
        queue_bytes=reader.integer(
            "GATEWAY_TRACE_QUEUE_BYTES",
            32 * MIB,
            "Spans that wait for Phoenix, per worker; more are dropped",
            least=MIB,
        ),
        content=_content(reader),
    )


def _endpoint(reader: Reader) -> URL | None:
    phoenix = reader.url(
        "PHOENIX_COLLECTOR_ENDPOINT", "Phoenix's address, such as http://phoenix:6006; not set: the next two"
    )
    traces = reader.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "Full URL that spans are posted to, as OTLP over HTTP")
    base = reader.url("OTEL_EXPORTER_OTLP_ENDPOINT", "Base URL of an OTLP collector; none of the three: no tracing")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if reader.text(name, "", "Protocol of the collector; only http/protobuf is supported") not in ("", PROTOCOL):
            reader.warning(name, f"only {PROTOCOL} is supported; spans are sent that way")
    if reader.flag("OTEL_SDK_DISABLED", False, "Switch tracing off, whatever else is configured"):
        return None
    if phoenix is None and traces is not None:
        return traces
    collector = phoenix or base
    if collector is None:
        return None
    path = collector.raw_path.rstrip("/")
    return collector.with_path(path if path.endswith(TRACES_PATH) else path + TRACES_PATH, encoded=True)


def _resource(reader: Reader) -> dict[str, str]:
    name = "OTEL_RESOURCE_ATTRIBUTES"
    listed = reader.text(name, "", "Attributes of the resource that spans belong to: name=value,... URL-encoded")
    attributes = {}
    for pair in filter(str.strip, listed.split(",")):
        key, assigned, value = (unquote(part).strip() for part in pair.partition("="))
        if assigned and key:
            attributes[key] = value
        else:
            reader.problem(name, "must be name=value pairs separated by commas, values URL-encoded")
    return attributes


def _project(reader: Reader) -> str:
    alias = reader.text("PHOENIX_PROJECT_NAME", "", "Phoenix project of provider routes; not set: default")
    return reader.text("PHOENIX_PROJECT", "", "The same, and wins over PHOENIX_PROJECT_NAME") or alias


def _projects(reader: Reader) -> Mapping[str, str]:
    about = "Phoenix project of this project's traces; not set: PHOENIX_PROJECT_NAME"
    family = f"{PROJECT_PREFIX}<NAME>{PROJECT_SUFFIX}"
    reader.text(family, "", about)  # documented, whether one is set or not
    return {
        name: reader.text(f"{PROJECT_PREFIX}{name}{PROJECT_SUFFIX}", "", about, as_name=family)
        for name in sorted(reader.named(PROJECT_PREFIX, (PROJECT_SUFFIX,)))
    }


def _in_variable(project: str) -> str:
    return re.sub("[^A-Z0-9]", "_", project.upper())


def _fields(reader: Reader) -> Mapping[str, Secret]:
    listed = "Header fields for {}: name=value,... URL-encoded"
    phoenix = _listed_fields(reader, "PHOENIX_CLIENT_HEADERS", listed.format("Phoenix"))
    traces = _listed_fields(reader, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", listed.format("the collector"))
    general = _listed_fields(reader, "OTEL_EXPORTER_OTLP_HEADERS", listed.format("the collector"))
    fields = general | traces | phoenix
    key = reader.secret("PHOENIX_API_KEY", "Phoenix's API key")
    if key and not _FIELD_VALUE(key.reveal()):
        reader.problem("PHOENIX_API_KEY", "must be printable ASCII")
    elif key:
        fields["authorization"] = Secret(f"Bearer {key.reveal()}")
    return fields


def _listed_fields(reader: Reader, variable: str, about: str) -> dict[str, Secret]:
    fields: dict[str, Secret] = {}
    listed = reader.secret(variable, about)
    for pair in (listed.reveal() if listed else "").split(","):
        name, assigned, value = (unquote(part).strip() for part in pair.partition("="))
        if assigned and _FIELD_NAME(name) and _FIELD_VALUE(value):
            fields[name.lower()] = Secret(value)
        elif pair.strip():
            reader.problem(variable, "must be name=value pairs separated by commas, values URL-encoded")
    return fields


def _content(reader: Reader) -> ContentSettings:
    return ContentSettings(
        capture=Capture(
            reader.choice(
                "GATEWAY_TRACE_CONTENT",
                Capture.OFF.value,
                list(Capture),
                "Prompts and answers in spans: off, on, hashed",
            )
        ),
        limit=reader.integer(
            "GATEWAY_TRACE_CONTENT_LIMIT",
            32_768,
            "Characters of a prompt or answer in one attribute",
            least=1,
            most=131_072,
        ),
        hidden=_hidden(reader),
    )


def _hidden(reader: Reader) -> Hidden:
    def hidden(name: str, about: str) -> bool:
        return reader.flag(f"OPENINFERENCE_HIDE_{name}", False, f"Hide {about} from spans")

    return Hidden(
        inputs=hidden("INPUTS", "everything that goes to a model"),
        outputs=hidden("OUTPUTS", "everything that a model answers"),
        input_messages=hidden("INPUT_MESSAGES", "all messages to a model"),
        output_messages=hidden("OUTPUT_MESSAGES", "all messages of a model"),
        input_text=hidden("INPUT_TEXT", "the text of messages to a model"),
        output_text=hidden("OUTPUT_TEXT", "the text of messages of a model"),
        input_images=hidden("INPUT_IMAGES", "images in messages to a model"),
        llm_invocation_parameters=hidden("LLM_INVOCATION_PARAMETERS", "temperature, max_tokens and the like"),
        llm_tools=hidden("LLM_TOOLS", "the tools offered to a model"),
        prompts=hidden("PROMPTS", "the prompts of legacy completions"),
        choices=hidden("CHOICES", "the answers of legacy completions"),
        embeddings_text=hidden("EMBEDDINGS_TEXT", "texts that are embedded"),
        embeddings_vectors=hidden("EMBEDDINGS_VECTORS", "the vectors of embeddings"),
    )


_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_FIELD_VALUE = re.compile(r"[ -~]*").fullmatch

"""The table of names: right by the libraries that define them, complete, and the same in the documentation."""

import json
import re

from openinference.semconv import trace as openinference
from openinference.semconv.resource import ResourceAttributes
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    exception_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    service_attributes,
    telemetry_attributes,
    url_attributes,
    user_agent_attributes,
)

from gateway.settings.tracing import Capture, ContentSettings
from gateway.telemetry import names
from gateway.telemetry.content import ContentRules
from gateway.telemetry.names import ATTRIBUTES, FACTS
from gateway.telemetry.span_tree import SpanTree
from tests import read_spans
from tests import traced_exchanges as made
from tests.needing import ROOT
from tests.read_spans import Span

DOCUMENT = (ROOT / "docs" / "tracing.md").read_text()

# Not in the libraries' releases that are pinned; each with where it comes from.
ELSEWHERE = {
    "llm.parameters.max_tokens",  # the gateway's own
    "gateway.estimated_tokens",
    "gen_ai.request.stream",  # GenAI semantic conventions 1.41
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "http.request.resend_count",  # HTTP semantic conventions
    "embedding.invocation_parameters",
    "embedding.embeddings.N.embedding.text",
    "llm.choices.N.completion.text",
    "llm.prompts.N.prompt.text",
}


def constants(*modules: object) -> set[str]:
    return {value for module in modules for value in vars(module).values() if isinstance(value, str)}


def all_spans() -> list[Span]:
    tree = SpanTree(ContentRules(ContentSettings(Capture.ON)), {"gemini": "google"})
    return [span for make in made.EVERY_KIND for span in read_spans.of_scope(tree.encoded(make()))]


def role(span: Span) -> set[str]:
    """What the table calls a span."""
    if span.kind != "CLIENT":
        return {names.SERVER if span.kind == "SERVER" else names.WORKFLOW}
    kind = span.attributes["openinference.span.kind"]
    return {names.CALL} | {{"LLM": names.LLM, "EMBEDDING": names.EMBEDDING}.get(kind, names.CALL)}


def pattern(name: str) -> str:
    """`name` with its indexes as the table writes them."""
    return re.sub(r"\.\d+\.", ".K.", re.sub(r"\.\d+\.", ".N.", name, count=1))


def test_every_attribute_is_named_as_a_convention_names_it() -> None:
    known = constants(
        openinference.SpanAttributes,
        openinference.EmbeddingAttributes,
        gen_ai_attributes,
        client_attributes,
        error_attributes,
        http_attributes,
        network_attributes,
        server_attributes,
        url_attributes,
        user_agent_attributes,
    )
    parts = constants(openinference.MessageAttributes, openinference.ToolCallAttributes, openinference.ToolAttributes)
    for attribute in ATTRIBUTES:
        start, _, end = attribute.name.partition(".N.")
        inner = end.partition(".K.")
        by_parts = bool(end) and start in known and all(part in parts for part in (inner[0], inner[2]) if part)
        assert attribute.name in known or by_parts or attribute.name in ELSEWHERE, attribute.name


def test_events_and_resources_are_named_as_the_conventions_name_them() -> None:
    assert {names.EXCEPTION_TYPE, names.EXCEPTION_MESSAGE} <= constants(exception_attributes)
    assert {names.SERVICE_NAME, names.SERVICE_VERSION, names.SERVICE_INSTANCE} <= constants(service_attributes)
    assert {names.SDK_NAME, names.SDK_LANGUAGE, names.SDK_VERSION} <= constants(telemetry_attributes)
    assert names.PHOENIX_PROJECT == ResourceAttributes.PROJECT_NAME


def test_no_name_stands_twice() -> None:
    listed = [attribute.name for attribute in ATTRIBUTES]
    assert len(listed) == len(set(listed))


def test_spans_hold_what_the_table_says_where_it_says_it_and_the_table_holds_nothing_else() -> None:
    told = {attribute.name: set(attribute.on) for attribute in ATTRIBUTES}
    seen: dict[str, set[str]] = {name: set() for name in told}
    for span in all_spans():
        for name in map(pattern, span.attributes):
            assert name in told, f"{name} is not in the table"
            assert told[name] & role(span), f"{name} on a span of {role(span)}"
            seen[name] |= told[name] & role(span)
    assert seen == told


def test_metadata_holds_what_the_table_says_and_the_table_holds_nothing_else() -> None:
    seen: dict[str, set[str]] = {name: set() for name in FACTS}
    for span in all_spans():
        for name in json.loads(span.attributes["metadata"]):
            assert role(span) & set(FACTS[name][0]), f"{name} on a span of {role(span)}"
            seen[name] |= role(span) & set(FACTS[name][0])
    assert seen == {name: set(on) for name, (on, _) in FACTS.items()}


def rows(heading: str) -> list[list[str]]:
    """The table below a heading of the document."""
    _, _, below = DOCUMENT.partition(f"\n## {heading}\n")
    lines = [line for line in below.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_document_explains_each_attribute_and_nothing_else() -> None:
    assert rows("Attributes") == [
        [f"`{attribute.name}`", ", ".join(attribute.on), attribute.about] for attribute in ATTRIBUTES
    ]


def test_the_document_explains_each_fact_in_metadata_and_nothing_else() -> None:
    assert rows("Metadata") == [[f"`{name}`", ", ".join(on), about] for name, (on, about) in FACTS.items()]

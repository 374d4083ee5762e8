"""The spans of finished exchanges, read back as a collector reads them."""

import json
from collections.abc import Callable

import pytest

from gateway.errors import UpstreamTruncated
from gateway.settings.tracing import Capture, ContentSettings, Hidden
from gateway.telemetry.content import ContentRules
from gateway.telemetry.exchange import Exchange, Facts, Outcome, Usage
from gateway.telemetry.span_tree import SpanTree
from gateway.telemetry.trace_context import Sampler, open_trace
from tests import read_spans
from tests import traced_exchanges as made
from tests.read_spans import Span

MS = 1_000_000
VENDORS = {"gemini": "google"}


def spans(exchange: Exchange, capture: Capture = Capture.OFF, hidden: Hidden | None = None) -> list[Span]:
    rules = ContentRules(ContentSettings(capture, hidden=hidden or Hidden()))
    return read_spans.of_scope(SpanTree(rules, VENDORS).encoded(exchange))


def only_call(exchange: Exchange, capture: Capture = Capture.OFF) -> Span:
    return spans(exchange, capture)[-1]


def without_messages(span: Span) -> dict[str, object]:
    return {name: value for name, value in span.attributes.items() if "_messages." not in name}


def test_a_call_is_the_child_of_its_request_and_lasts_from_its_start_to_its_last_byte() -> None:
    exchange = made.unary()
    server, call = spans(exchange)
    assert (server.name, server.kind) == ("POST /provider/openai/{tail}", "SERVER")
    assert (call.name, call.kind) == ("chat gpt-4o", "CLIENT")
    assert server.trace_id == call.trace_id == exchange.trace.trace_id
    assert (server.span_id, server.parent_id) == (exchange.trace.span_id, None)
    assert (call.span_id, call.parent_id) == (exchange.calls[0].span_id, server.span_id)
    assert (server.start, server.end - server.start) == (exchange.started_at, 120 * MS)
    assert (call.start - server.start, call.end - call.start) == (2 * MS, 100 * MS)


def test_a_project_s_calls_stand_below_the_workflow() -> None:
    exchange = made.project()
    server, workflow, first, second = spans(exchange)
    assert [span.name for span in (server, workflow, first, second)] == [
        "POST /projects/demo/summary",
        "project demo/summary",
        "chat gpt-4o",
        "chat gpt-4o",
    ]
    assert (workflow.span_id, workflow.parent_id) == (exchange.workflow_span_id, server.span_id)
    assert first.parent_id == second.parent_id == workflow.span_id
    assert workflow.attributes["openinference.span.kind"] == "CHAIN"
    assert [json.loads(span.attributes["metadata"])["step"] for span in (first, second)] == ["points", "writer"]
    assert server.start < workflow.start < first.start < second.start < server.end


def test_a_call_may_name_its_parent_itself() -> None:
    exchange = made.project()
    exchange.calls[1].parent_span_id = "1234567890abcdef"
    assert [span.parent_id for span in spans(exchange)][2:] == [exchange.workflow_span_id, "1234567890abcdef"]


def test_a_client_s_span_is_the_parent_and_its_tracestate_is_kept() -> None:
    parent = "00f067aa0ba902b7"
    exchange = made.unary()
    exchange.trace = open_trace(f"00-{'ab' * 16}-{parent}-01", "rojo=1,congo=2", Sampler())
    server, call = spans(exchange)
    assert (server.trace_id, server.parent_id) == ("ab" * 16, parent)
    assert server.tracestate == call.tracestate == "rojo=1,congo=2"
    assert (server.flags, call.flags) == (0x301, 0x101), "only the client's span is a remote parent"


def test_what_never_ended_by_itself_ends_with_the_exchange() -> None:
    exchange = made.unary()
    exchange.calls[0].ended = None
    server, call = spans(exchange)
    assert call.end == server.end
    exchange.ended = None
    assert all(span.end >= span.start for span in spans(exchange))


@pytest.mark.parametrize(
    ("make", "server", "last"),
    [
        (made.unary, "UNSET", "OK"),
        (made.streamed, "UNSET", "OK"),
        (made.refused, "UNSET", None),
        (made.relayed_refusal, "UNSET", "ERROR"),
        (made.timed_out, "ERROR", "ERROR"),
        (made.cut, "ERROR", "ERROR"),
        (made.cancelled, "UNSET", "UNSET"),
        (made.rejected_in_workflow, "ERROR", "ERROR"),
    ],
)
def test_whose_fault_it_was_decides_which_span_is_an_error(
    make: Callable[[], Exchange], server: str, last: str | None
) -> None:
    found = spans(make())
    assert found[0].status == server
    assert (found[-1].status if len(found) > 1 else None) == last


def test_a_5xx_that_was_relayed_is_an_error_on_both_sides() -> None:
    exchange = made.unary()
    exchange.status = exchange.calls[0].status = 503
    exchange.calls[0].outcome = Outcome.UPSTREAM_ERROR
    for span in spans(exchange):
        assert (span.status, span.message, span.attributes["error.type"]) == ("ERROR", "503 Service Unavailable", "503")


def test_an_error_shows_our_code_and_title_and_nothing_the_upstream_said() -> None:
    exchange = made.timed_out()
    for span in spans(exchange, Capture.ON):
        assert span.message == "The provider took too long to answer"
        (event,) = span.events
        assert (event.name, event.time) == ("exception", span.end)
        assert event.attributes == {"exception.type": "upstream_timeout", "exception.message": span.message}
        assert span.attributes["error.type"] == "upstream_timeout"
        assert json.loads(span.attributes["metadata"])["error"] == "upstream_timeout"
    assert b"sk-upstream" not in SpanTree(ContentRules(ContentSettings(Capture.ON)), {}).encoded(exchange)


def test_a_cut_body_is_an_error_although_its_status_was_200() -> None:
    exchange = made.unary()
    exchange.calls[0].failed(UpstreamTruncated())
    exchange.failed(UpstreamTruncated())
    for span in spans(exchange):
        assert (span.status, span.attributes["error.type"]) == ("ERROR", "upstream_truncated")
        assert span.attributes["http.response.status_code"] == 200


def test_the_server_s_span_tells_what_http_tells() -> None:
    exchange = made.streamed()
    (server, _) = spans(exchange)
    metadata = json.loads(server.attributes.pop("metadata"))
    assert server.attributes == {
        "openinference.span.kind": "CHAIN",
        "http.request.method": "POST",
        "http.route": "/provider/openai/{tail}",
        "http.response.status_code": 200,
        "url.path": "/provider/openai/v1/chat/completions",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "gateway.example",
        "server.port": 8080,
        "client.address": "192.0.2.7",
        "user_agent.original": "OpenAI/Python 3.54.0",
        "user.id": "team-a",
        "session.id": "conversation-7",
    }
    assert metadata == {
        "request_id": exchange.id,
        "outcome": "complete",
        "provider": "openai",
        "stream_mode": "sse",
        "sdk_retry": 1,
        "ignored_headers": ["x-gateway-prompt-variables"],
    }


def test_a_request_that_nothing_matched_is_named_by_its_method_alone() -> None:
    (server,) = spans(made.odd_request())
    assert server.name == "HTTP"
    assert server.attributes["http.request.method"] == "_OTHER"
    assert server.attributes["http.request.method_original"] == "BREW"
    assert "http.route" not in server.attributes
    (server,) = spans(made.opened(route="unmatched", status=404, outcome=Outcome.REFUSED))
    assert server.name == "POST"


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("gateway:8080", "gateway", 8080),
        ("gateway", "gateway", None),
        ("[::1]:80", "[::1]", 80),
        ("[::1]", "[::1]", None),
        ("gateway:", "gateway:", None),
        ("", None, None),
        ("h:١", "h:١", None),
    ],
)
def test_host_and_port_come_from_the_host_field(host: str, address: str | None, port: int | None) -> None:
    attributes = spans(made.opened(host=host))[0].attributes
    assert (attributes.get("server.address"), attributes.get("server.port")) == (address, port)


def test_an_llm_span_tells_the_call_in_openinference_and_in_genai() -> None:
    exchange = made.streamed()
    call = only_call(exchange)
    metadata = json.loads(call.attributes.pop("metadata"))
    parameters = json.loads(call.attributes.pop("llm.invocation_parameters"))
    assert call.attributes == {
        "openinference.span.kind": "LLM",
        "user.id": "team-a",
        "session.id": "conversation-7",
        "http.request.method": "POST",
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "server.address": "api.openai.com",
        "server.port": 443,
        "llm.provider": "openai",
        "llm.system": "openai",
        "llm.model_name": "gpt-4o-2024-08-06",
        "llm.request.model_name": "gpt-4o",
        "llm.response.model_name": "gpt-4o-2024-08-06",
        "llm.finish_reason": "stop",
        "llm.parameters.max_tokens": 64,
        "llm.token_count.prompt": 100,
        "llm.token_count.completion": 20,
        "llm.token_count.total": 120,
        "llm.token_count.prompt_details.cache_read": 40,
        "llm.token_count.prompt_details.cache_write": 8,
        "llm.token_count.completion_details.reasoning": 5,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 5,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 1,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.03,
        "gen_ai.conversation.id": "conversation-7",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }
    assert parameters == exchange.calls[0].facts.parameters
    assert metadata == {
        "request_id": exchange.id,
        "outcome": "complete",
        "provider": "openai",
        "upstream_request_id": "req_upstream",
    }


def test_the_first_token_is_an_event_of_a_streamed_call_alone() -> None:
    streamed, unary = only_call(made.streamed()), only_call(made.unary())
    assert [(event.name, event.time - streamed.start) for event in streamed.events] == [
        ("First Token Stream Event", 30 * MS)
    ]
    assert unary.events == [] and "gen_ai.response.time_to_first_chunk" not in unary.attributes


def test_token_counts_stand_on_calls_alone_and_unknown_ones_nowhere() -> None:
    exchange = made.project()
    exchange.calls[0].facts.usage = Usage(input_tokens=0, output_tokens=None)
    server, workflow, first, _ = spans(exchange)
    for span in (server, workflow):
        assert not [name for name in span.attributes if "token" in name]
    counts = {name: value for name, value in first.attributes.items() if "token_count" in name or "usage" in name}
    assert counts == {"llm.token_count.prompt": 0, "gen_ai.usage.input_tokens": 0}


def test_parameters_can_be_hidden_all_of_them() -> None:
    call = spans(made.unary(), hidden=Hidden(llm_invocation_parameters=True))[-1]
    assert not [
        name for name in call.attributes if "temperature" in name or "max_tokens" in name or "invocation" in name
    ]


def test_an_embedding_is_no_llm() -> None:
    call = only_call(made.embeddings(), Capture.ON)
    assert call.name == "embeddings text-embedding-3-small"
    attributes = call.attributes
    assert attributes["openinference.span.kind"] == "EMBEDDING"
    assert attributes["embedding.model_name"] == "text-embedding-3-small"
    assert json.loads(attributes["embedding.invocation_parameters"]) == {"dimensions": 256}
    assert attributes["embedding.embeddings.0.embedding.text"] == "first text"
    assert attributes["embedding.embeddings.1.embedding.text"] == "second text"
    assert attributes["llm.token_count.prompt"] == attributes["llm.token_count.total"] == 8
    assert {name for name in attributes if name.startswith("llm.")} == {
        "llm.token_count.prompt",
        "llm.token_count.total",
    }


def test_a_call_without_a_known_operation_is_a_plain_step() -> None:
    call = only_call(made.files())
    assert (call.name, call.kind, call.attributes["openinference.span.kind"]) == ("GET openai", "CLIENT", "CHAIN")
    assert not [name for name in call.attributes if name.startswith(("llm.", "gen_ai.", "embedding."))]
    assert call.attributes["url.path"] == "/v1/files"


def test_the_prompt_template_is_an_object_and_never_a_scalar() -> None:
    attributes = only_call(made.unary(), Capture.ON).attributes
    assert attributes["llm.prompt_template.template"] == "What is the weather in {city}?"
    assert json.loads(attributes["llm.prompt_template.variables"]) == {"city": "Lisbon"}
    assert attributes["llm.prompt_template.version"] == "3"
    assert attributes["prompt.id"] == "weather"
    assert "llm.prompt_template" not in attributes


def test_what_is_kept_of_one_request_never_shows_in_another() -> None:
    tree = SpanTree(ContentRules(ContentSettings()), {})
    first, second = made.unary(), made.unary()
    second.client, second.session, second.peer, second.status = "team-b", None, "198.51.100.1", 500
    second.calls[0].facts = Facts("chat", "o3", streamed=True)
    fresh = read_spans.of_scope(SpanTree(ContentRules(ContentSettings()), {}).encoded(second))
    for _ in range(3):
        tree.encoded(first)
        assert read_spans.of_scope(tree.encoded(second)) == fresh


def test_hostile_values_are_cut_and_never_raise() -> None:
    exchange = made.unary()
    exchange.path = "/" + "p" * 100_000
    exchange.host, exchange.user_agent, exchange.method = "h" * 100_000, "u" * 100_000, "M" * 100_000
    exchange.peer = "\udcff\0"
    call = exchange.calls[0]
    call.path = "/" + "p" * 100_000
    call.facts = Facts(
        "chat", "m\udc80" * 100_000, "r" * 100_000, parameters={"seed": 2**70, "stop": [1, "x"], "n": "n"}
    )
    call.facts.usage = Usage(10**30, -1)
    data = SpanTree(ContentRules(ContentSettings()), {}).encoded(exchange)
    assert len(data) < 20_000
    server, llm = read_spans.of_scope(data)
    assert server.name == "HTTP /provider/openai/{tail}"
    assert llm.attributes["llm.token_count.prompt"] == str(10**30)
    assert llm.attributes["gen_ai.request.stop_sequences"] == ["x"]


@pytest.mark.parametrize("make", made.EVERY_KIND)
def test_without_capture_nothing_that_was_said_is_in_a_span(make: Callable[[], Exchange]) -> None:
    written = SpanTree(ContentRules(ContentSettings()), {}).encoded(make())
    for said in (
        b"Lisbon is",
        b"What is the weather in Lisbon",
        b"brief",
        b"toolu",
        b"story.",
        b"first text",
        b"Once upon",
    ):
        assert said not in written

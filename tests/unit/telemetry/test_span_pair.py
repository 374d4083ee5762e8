"""The pair of spans of an exchange that went well is the same whether it is written as a pair or span by span."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from gateway.settings.tracing import Capture, ContentSettings, Hidden
from gateway.telemetry import span_pair
from gateway.telemetry.content import ContentRules
from gateway.telemetry.exchange import Exchange, Fault, Outcome, TemplateUse, TraceIds, Usage
from gateway.telemetry.span_frames import Frames
from gateway.telemetry.span_pair import Pairs
from gateway.telemetry.span_tree import SpanTree
from tests import read_spans
from tests import traced_exchanges as made

VENDORS = {"gemini": "google"}
PARENT = "00f067aa0ba902b7"

EXCHANGE: dict[str, list[Any]] = {
    "id": ["req_" + "a" * 24, "req_" + "b" * 24, "req_short"],
    "method": ["POST", "GET", "BREW"],
    "path": ["/provider/openai/v1/chat/completions", "/provider/openai/v1/é\udcff", "/" + "p" * 3000],
    "trace": [
        TraceIds("ab" * 16, "cd" * 8),
        TraceIds("ab" * 16, "cd" * 8, flags=3),
        TraceIds("ab" * 16, "cd" * 8, PARENT),
        TraceIds("ef" * 16, "12" * 8, PARENT, flags=3),
        TraceIds("ab" * 16, "cd" * 8, tracestate="rojo=1"),
    ],
    "route": ["/provider/openai/{tail}", "unmatched"],
    "client": [None, "team-a", "team-b"],
    "project": [None, "demo"],
    "provider": [None, "openai", "gemini"],
    "session": [None, "", "conversation-7", "ü\0"],
    "ignored_headers": [(), ("x-session-id",)],
    "workflow_span_id": [None, "34" * 8],
    "stream_mode": [None, "sse"],
    "http_version": ["1.1", "1.0"],
    "scheme": ["http", "https"],
    "host": ["", "gateway.example:8080", "gateway.example:x", "h" * 2000],
    "peer": ["", "192.0.2.7", "\udcff"],
    "user_agent": ["", "OpenAI/Python 3.54.0", "u" * 3000],
    "retry_count": [0, 2],
    "status": [200, 201, 304, 404, 502],
    "outcome": [Outcome.COMPLETE, Outcome.COMPLETE, Outcome.CLIENT_GONE, Outcome.UPSTREAM_ERROR],
    "error": [None, None, "upstream_error"],
    "fault": [None, None, Fault.UPSTREAM],
    "ended": [None, 7 * 10**9, 8 * 10**9],
}
CALL: dict[str, list[Any]] = {
    "provider": ["openai", "gemini"],
    "method": ["POST", "GET"],
    "path": ["/v1/chat/completions", "/v2/chat/completions", "/v1/" + "p" * 3000],
    "parent_span_id": [None, "56" * 8],
    "step": [None, "points"],
    "attempt": [0, 1],
    "server": ["api.openai.com", ""],
    "port": [443, 0],
    "status": [None, 200, 201, 429, 500],
    "outcome": [Outcome.COMPLETE, Outcome.COMPLETE, Outcome.UPSTREAM_TRUNCATED],
    "error": [None, None, "upstream_truncated"],
    "request_id": [None, "", "req_1", "req_22", 'quoted"', "ü", "r" * 300],
    "first_byte": [None, 25 * 10**8],
    "ended": [None, 6 * 10**9],
    "template": [None, TemplateUse("Say {it}", {"it": "hello"}, "1", "say")],
}
FACTS: dict[str, list[Any]] = {
    "operation": ["chat", "embeddings", "text_completion", ""],
    "request_model": [None, "gpt-4o", "m" * 3000],
    "response_model": [None, "gpt-4o", "gpt-4o-2024-08-06"],
    "response_id": [None, "", "chatcmpl-1", "chatcmpl-22", "ü", "a\0b", 'quoted"'],
    "streamed": [False, True],
    "finish_reasons": [[], ["stop"], ["stop", "length"], ["stop"] * 20],
    "usage": [None, Usage(), Usage(100, 20), Usage(1, 2, 3, 4, 5, 6)],
    "parameters": [{}, {"temperature": 0.5}, {"max_tokens": 7}, {"stop": ["x" * 2000]}],
}


def usual() -> Exchange:
    """One that is written as a pair."""
    exchange = made.unary()
    exchange.trace = TraceIds("ab" * 16, "cd" * 8)
    call = exchange.calls[0]
    call.template, call.facts.content, call.span_id = None, None, "78" * 8
    exchange.started, call.started, call.first_byte, call.ended, exchange.ended = [n * 10**9 for n in (1, 2, 3, 4, 5)]
    return exchange


def written_both_ways(exchange: Exchange, pairs: Pairs, tree: SpanTree) -> bool:
    """Whether `exchange` is written as a pair, which must read as what is written span by span."""
    pair = pairs.encoded(exchange)
    if pair is not None:
        assert read_spans.of_scope(pair) == read_spans.of_scope(tree.encoded_one_by_one(exchange))
        assert tree.encoded(exchange) == pair
    return pair is not None


@pytest.fixture
def tree() -> SpanTree:
    return SpanTree(ContentRules(ContentSettings()), VENDORS)


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(Frames(VENDORS, parameters_hidden=False))


def test_what_differs_in_any_fact_is_never_written_as_what_was_kept(pairs: Pairs, tree: SpanTree) -> None:
    differing = [(EXCHANGE, lambda exchange: exchange), (CALL, lambda exchange: exchange.calls[0])]
    differing.append((FACTS, lambda exchange: exchange.calls[0].facts))
    for values, owner in differing:
        for name in values:
            as_pairs = 0
            for value in values[name]:
                exchange = usual()
                setattr(owner(exchange), name, value)
                as_pairs += written_both_ways(exchange, pairs, tree)
                assert written_both_ways(usual(), pairs, tree)
            assert as_pairs, f"no {name} of these is written as a pair"


def test_a_pair_reads_like_its_spans_whatever_differs_together(pairs: Pairs, tree: SpanTree) -> None:
    chance = random.Random(7)
    as_pairs = 0
    for _ in range(4000):
        exchange = usual()
        for values, record in ((EXCHANGE, exchange), (CALL, exchange.calls[0]), (FACTS, exchange.calls[0].facts)):
            for name in chance.sample(sorted(values), chance.randint(0, 3)):
                setattr(record, name, chance.choice(values[name]))
        as_pairs += written_both_ways(exchange, pairs, tree)
    assert 1000 < as_pairs < 4000


@pytest.mark.parametrize("make", [make for make in made.EVERY_KIND if make is not made.streamed])
def test_no_other_kind_of_exchange_is_a_pair(make: Callable[[], Exchange], pairs: Pairs) -> None:
    exchange = make()
    went_well = make in (made.estimated, made.with_tools, made.embeddings, made.legacy_completion)
    assert (pairs.encoded(exchange) is not None) is went_well


def test_hidden_parameters_are_hidden_in_a_pair_too() -> None:
    tree = SpanTree(ContentRules(ContentSettings(hidden=Hidden(llm_invocation_parameters=True))), VENDORS)
    call = read_spans.of_scope(tree.encoded(usual()))[1]
    assert not [name for name in call.attributes if "parameters" in name or "temperature" in name]


def test_where_content_is_shown_there_are_no_pairs() -> None:
    tree, exchange = SpanTree(ContentRules(ContentSettings(Capture.ON)), VENDORS), made.unary()
    exchange.calls[0].template = None
    assert "input.value" in read_spans.of_scope(tree.encoded(exchange))[1].attributes


@pytest.mark.parametrize("name", ["path", "host"])
def test_nothing_long_is_kept(name: str, pairs: Pairs) -> None:
    exchange = usual()
    setattr(exchange, name, "x" * 2000)
    assert pairs.encoded(exchange) is None
    exchange = usual()
    exchange.calls[0].facts.finish_reasons *= 20
    assert pairs.encoded(exchange) is None
    exchange = usual()
    exchange.calls[0].facts.parameters = {"stop": ["x" * 2000]}
    assert pairs.encoded(exchange) is None
    exchange = usual()
    exchange.calls[0].request_id = "r" * 201
    assert pairs.encoded(exchange) is None


def test_what_is_one_clients_own_is_not_kept(pairs: Pairs) -> None:
    exchange = usual()
    exchange.trace.tracestate = "rojo=1"
    assert pairs.encoded(exchange) is None
    assert not pairs._kept


def test_what_is_kept_is_bounded(pairs: Pairs, tree: SpanTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_pair, "KEPT", 4)
    for number in [*range(10), *range(10)]:
        exchange = usual()
        exchange.route = f"/team-{number}"
        assert written_both_ways(exchange, pairs, tree)
        assert len(pairs._kept) <= 4


def test_who_the_client_is_makes_no_kind(pairs: Pairs, tree: SpanTree) -> None:
    for number in range(20):
        exchange = usual()
        exchange.client, exchange.peer, exchange.session = f"team-{number:02}", f"192.0.2.{number:02}", f"s-{number:02}"
        assert written_both_ways(exchange, pairs, tree)
    assert len(pairs._kept) == 1


def test_a_longer_client_does_not_pass_for_a_longer_conversation(pairs: Pairs, tree: SpanTree) -> None:
    for client, session in (("aaaa", "bb"), ("aa", "bbbb"), ("aaaa", "bb")):
        exchange = usual()
        exchange.client, exchange.session = client, session
        assert written_both_ways(exchange, pairs, tree)

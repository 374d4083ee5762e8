"""A finished exchange is counted under what it was, and under nothing a client could invent."""

import random
from typing import Any

import pytest

from gateway.errors import (
    GatewayError,
    InternalFault,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.telemetry import finished
from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import Exchange, Facts, Outcome, Road, TraceIds, UpstreamCall, Usage
from gateway.telemetry.finished import MOST_LATE
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.series import Sample
from tests.made_exchanges import MS, TRACE_ID, call, chat, exchange


@pytest.fixture
def metrics() -> Metrics:
    return Metrics({"openai": ("gpt-4o", "o3"), "gemini": ()}, ("demo",), gen_ai_names={"gemini": "gcp.gemini"})


def series(metrics: Metrics, name: str) -> dict[tuple[str, ...], Sample]:
    for figures in metrics.figures():
        if figures.metric.name == name:
            return {sample.labels: sample for sample in figures.samples}
    raise KeyError(name)


def counts(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {labels: sample.value for labels, sample in series(metrics, name).items() if sample.value}


def histogram(metrics: Metrics, name: str, *labels: str) -> tuple[int, float]:
    """How often, and how much in all."""
    sample = series(metrics, name)[labels]
    return sum(sample.counts), sample.value


def failed(error: GatewayError, *calls: UpstreamCall, **facts: Any) -> Exchange:
    made = exchange(*calls, status=error.status, **facts)
    made.failed(error)
    return made


def test_requests_are_counted_by_route_provider_project_status_and_outcome(metrics: Metrics) -> None:
    metrics.view(exchange())
    metrics.view(exchange())
    metrics.view(exchange(status=404))
    metrics.view(exchange(route="/projects/demo/summary", project="demo", provider=None))
    assert counts(metrics, "gateway_requests_total") == {
        ("/provider/openai/{tail}", "openai", "_none", "2xx", "complete"): 2,
        ("/provider/openai/{tail}", "openai", "_none", "4xx", "complete"): 1,
        ("/projects/demo/summary", "_none", "demo", "2xx", "complete"): 1,
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_told_by_its_own_word(metrics: Metrics, outcome: Outcome) -> None:
    metrics.view(exchange(outcome=outcome))
    assert [labels[-1] for labels in counts(metrics, "gateway_requests_total")] == [outcome.value]


def test_a_client_that_left_before_there_was_a_status_is_counted_without_one(metrics: Metrics) -> None:
    metrics.view(exchange(status=0, outcome=Outcome.CLIENT_GONE, first_byte=None))
    assert [labels[3] for labels in counts(metrics, "gateway_requests_total")] == ["_none"]
    assert [labels[2] for labels in series(metrics, "http_server_request_duration_seconds")] == [""]


def test_names_that_nobody_configured_count_as_other(metrics: Metrics) -> None:
    for number in range(3):
        made = exchange(call(provider=f"p{number}"), provider=f"p{number}", project=f"x{number}", method=f"M{number}")
        metrics.view(made)
    assert [labels[1:3] for labels in counts(metrics, "gateway_requests_total")] == [("_other", "_other")]
    assert [labels[0] for labels in series(metrics, "http_server_request_duration_seconds")] == ["_OTHER"]
    assert counts(metrics, "gateway_upstream_calls_total") == {("_other", "2xx", "complete"): 3}


def test_durations_are_told_in_seconds(metrics: Metrics) -> None:
    metrics.view(exchange(took=250, first_byte=20))
    assert histogram(metrics, "http_server_request_duration_seconds", "POST", "/provider/openai/{tail}", "200", "") == (
        1,
        pytest.approx(0.25),
    )
    assert histogram(metrics, "gateway_time_to_first_byte_seconds", "/provider/openai/{tail}", "openai") == (
        1,
        pytest.approx(0.02),
    )


def test_an_exchange_without_a_body_has_no_time_to_first_byte(metrics: Metrics) -> None:
    metrics.view(exchange(first_byte=None))
    assert histogram(metrics, "gateway_time_to_first_byte_seconds", "/provider/openai/{tail}", "openai")[0] == 0


def test_overhead_is_the_time_outside_of_calls(metrics: Metrics) -> None:
    metrics.view(exchange(call(took=7), took=10))
    assert histogram(metrics, "gateway_overhead_seconds", "/provider/openai/{tail}", "openai") == (
        1,
        pytest.approx(0.003),
    )


def test_bytes_are_counted_each_way(metrics: Metrics) -> None:
    metrics.view(exchange(bytes_in=100, bytes_out=2_000))
    route = ("/provider/openai/{tail}", "openai")
    assert counts(metrics, "gateway_body_bytes_total") == {(*route, "in"): 100, (*route, "out"): 2_000}


def test_our_own_errors_are_counted_by_code_and_by_whose_fault_they_were(metrics: Metrics) -> None:
    metrics.view(failed(Unauthenticated()))
    metrics.view(failed(InternalFault()))
    metrics.view(exchange(status=400))  # the upstream's own answer
    assert counts(metrics, "gateway_errors_total") == {
        ("invalid_api_key", "caller"): 1,
        ("internal_error", "gateway"): 1,
    }
    kinds = [labels[2:] for labels in series(metrics, "http_server_request_duration_seconds")]
    assert sorted(kinds) == [("400", ""), ("401", "invalid_api_key"), ("500", "internal_error")]


def test_what_a_limit_refused_is_counted_by_its_code(metrics: Metrics) -> None:
    for error in (RateLimited(), RateLimited(), PayloadTooLarge(), Overloaded(), Unauthenticated()):
        metrics.view(failed(error))
    assert counts(metrics, "gateway_limit_refusals_total") == {
        ("openai", "rate_limit_exceeded"): 2,
        ("openai", "request_too_large"): 1,
        ("openai", "overloaded"): 1,
    }


def test_repetitions_are_counted_on_both_sides(metrics: Metrics) -> None:
    metrics.view(exchange(call(), call(at=1_010, attempt=1), took=30, retry_count=2))
    assert counts(metrics, "gateway_client_retries_total") == {("openai",): 1}
    assert counts(metrics, "gateway_upstream_retries_total") == {("openai",): 1}


def test_a_call_is_counted_with_its_waits_and_its_connection(metrics: Metrics) -> None:
    metrics.view(exchange(call(took=8, head=3, waited_for_pool_ns=2 * MS), call(reused_connection=True, head=None)))
    assert counts(metrics, "gateway_upstream_calls_total") == {("openai", "2xx", "complete"): 2}
    assert histogram(metrics, "gateway_upstream_duration_seconds", "openai", "complete") == (2, pytest.approx(0.016))
    assert histogram(metrics, "gateway_upstream_time_to_head_seconds", "openai") == (1, pytest.approx(0.003))
    assert histogram(metrics, "gateway_pool_wait_seconds", "openai") == (2, pytest.approx(0.002))
    assert counts(metrics, "gateway_upstream_connections_total") == {("openai", "new"): 1, ("openai", "reused"): 1}


def test_calls_are_counted_by_the_road_they_took(metrics: Metrics) -> None:
    metrics.view(exchange(call(road=Road.DIRECT), call(road=Road.SESSION), call(road=Road.DIRECT), call()))
    assert counts(metrics, "gateway_upstream_roads_total") == {("openai", "direct"): 2, ("openai", "session"): 1}


def test_calls_are_counted_by_how_they_ended(metrics: Metrics) -> None:
    metrics.view(exchange(call(), call(outcome=Outcome.UPSTREAM_TRUNCATED), call(outcome=Outcome.CLIENT_GONE)))
    assert counts(metrics, "gateway_upstream_calls_total") == {
        ("openai", "2xx", outcome): 1 for outcome in ("complete", "upstream_truncated", "client_gone")
    }


def test_two_chunks_have_one_time_between_them(metrics: Metrics) -> None:
    metrics.view(exchange(call(took=10, first_byte=4, chunks=2, facts=chat(streamed=True)), took=12))
    name = "gen_ai_client_operation_time_per_output_chunk_seconds"
    assert histogram(metrics, name, "chat", "openai", "gpt-4o") == (1, pytest.approx(0.006))


def test_upstream_failures_are_told_by_cause(metrics: Metrics) -> None:
    unreachable = call(status=None, head=None, first_byte=None)
    unreachable.connected = None
    unreachable.failed(UpstreamUnreachable())
    late = call(status=None)
    late.failed(UpstreamTimeout())
    metrics.view(exchange(unreachable, late, *(call(status=status) for status in (200, 400, 401, 429, 500, 503))))
    assert counts(metrics, "gateway_upstream_failures_total") == {
        ("openai", "upstream_unreachable"): 1,
        ("openai", "upstream_timeout"): 1,
        ("openai", "status_401"): 1,
        ("openai", "status_429"): 1,
        ("openai", "status_5xx"): 2,
    }
    assert counts(metrics, "gateway_upstream_connections_total") == {("openai", "new"): 7}


def test_tokens_are_counted_by_configured_model(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=chat("gpt-4o", tokens=(7, 9)))))
    metrics.view(exchange(call(facts=chat("gpt-4o", tokens=(3, None)))))
    metrics.view(exchange(call(facts=chat("my-fine-tune", tokens=(100, 200))), project="demo"))
    assert counts(metrics, "gateway_tokens_total") == {
        ("openai", "gpt-4o", "_none", "input"): 10,
        ("openai", "gpt-4o", "_none", "output"): 9,
        ("openai", "_other", "demo", "input"): 100,
        ("openai", "_other", "demo", "output"): 200,
    }
    assert histogram(metrics, "gen_ai_client_token_usage", "chat", "openai", "gpt-4o", "input") == (2, 10)
    assert histogram(metrics, "gen_ai_client_token_usage", "chat", "openai", "gpt-4o", "output") == (1, 9)


def test_usage_that_was_not_told_leaves_no_series(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=chat(tokens=None)), call(facts=chat(tokens=(None, None)))))
    assert series(metrics, "gateway_tokens_total") == {}
    assert series(metrics, "gen_ai_client_token_usage") == {}


@pytest.mark.parametrize("nonsense", [-1, 10**12, 10**400])
def test_impossible_usage_does_not_spoil_the_sums(metrics: Metrics, nonsense: int) -> None:
    metrics.view(exchange(call(facts=Facts(operation="chat", usage=Usage(nonsense, 5, cache_read_tokens=nonsense)))))
    assert counts(metrics, "gateway_tokens_total") == {("openai", "_none", "_none", "output"): 5}
    assert counts(metrics, "gateway_token_details_total") == {}


def test_a_total_without_its_parts_is_counted_by_itself(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=Facts("chat", usage=Usage(total_tokens=16)))))
    metrics.view(exchange(call(facts=Facts("chat", usage=Usage(7, 9, 16)))))
    assert counts(metrics, "gateway_tokens_total") == {
        ("openai", "_none", "_none", "total"): 16,
        ("openai", "_none", "_none", "input"): 7,
        ("openai", "_none", "_none", "output"): 9,
    }


def test_usage_that_could_not_be_read_is_counted_by_its_reason(metrics: Metrics) -> None:
    for reason in ("implausible", "content_coding", "implausible"):
        metrics.view(exchange(call(facts=Facts("chat", usage_error=reason))))
    assert counts(metrics, "gateway_usage_errors_total") == {
        ("openai", "implausible"): 2,
        ("openai", "content_coding"): 1,
    }


def test_estimated_tokens_are_counted_apart(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=Facts("chat"), estimated_tokens=40)))
    metrics.view(exchange(call(facts=Facts("chat"), estimated_tokens=2)))
    assert counts(metrics, "gateway_estimated_tokens_total") == {("openai",): 42}
    assert counts(metrics, "gateway_tokens_total") == {}


def test_cached_and_reasoning_tokens_are_counted_apart(metrics: Metrics) -> None:
    usage = Usage(10, 20, cache_read_tokens=4, cache_write_tokens=3, reasoning_tokens=8)
    metrics.view(exchange(call(facts=Facts(operation="chat", request_model="o3", usage=usage))))
    assert counts(metrics, "gateway_token_details_total") == {
        ("openai", "o3", "cache_read"): 4,
        ("openai", "o3", "cache_write"): 3,
        ("openai", "o3", "reasoning"): 8,
    }


@pytest.mark.parametrize(
    ("asked", "answered", "label"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o"),
        ("alias", "gpt-4o", "gpt-4o"),
        ("alias", None, "_other"),
        (None, "gpt-4o", "gpt-4o"),
        ('x"} 1\n', "y", "_other"),
        (None, None, "_none"),
    ],
)
def test_a_model_is_known_by_the_name_asked_or_answered(
    metrics: Metrics, asked: str | None, answered: str | None, label: str
) -> None:
    facts = Facts(operation="chat", request_model=asked, response_model=answered)
    metrics.view(exchange(call(facts=facts)))
    assert [labels[2] for labels in series(metrics, "gen_ai_client_operation_duration_seconds")] == [label]


def test_a_stream_tells_its_first_chunk_and_the_time_between_chunks(metrics: Metrics) -> None:
    metrics.view(exchange(call(took=104, first_byte=4, chunks=51, facts=chat(streamed=True)), took=110))
    kind = ("chat", "openai", "gpt-4o")
    assert histogram(metrics, "gen_ai_client_operation_duration_seconds", *kind, "") == (1, pytest.approx(0.104))
    assert histogram(metrics, "gen_ai_client_operation_time_to_first_chunk_seconds", *kind) == (
        1,
        pytest.approx(0.004),
    )
    assert histogram(metrics, "gen_ai_client_operation_time_per_output_chunk_seconds", *kind) == (
        50,
        pytest.approx(0.1),
    )


def test_a_whole_answer_tells_no_times_of_chunks(metrics: Metrics) -> None:
    metrics.view(exchange(call(chunks=9, facts=chat())))
    assert series(metrics, "gen_ai_client_operation_time_to_first_chunk_seconds") == {}
    assert series(metrics, "gen_ai_client_operation_time_per_output_chunk_seconds") == {}


def test_a_call_that_is_no_model_operation_has_no_gen_ai_metrics(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=Facts())))
    assert series(metrics, "gen_ai_client_operation_duration_seconds") == {}
    assert counts(metrics, "gateway_upstream_calls_total") == {("openai", "2xx", "complete"): 1}


def test_a_failed_operation_tells_its_error_type(metrics: Metrics) -> None:
    late = call(status=None, facts=chat(tokens=None))
    late.failed(UpstreamTimeout())
    metrics.view(exchange(late, call(status=429, facts=chat(tokens=None))))
    kinds = [labels[3] for labels in series(metrics, "gen_ai_client_operation_duration_seconds")]
    assert kinds == ["upstream_timeout", "429"]


def test_providers_have_the_conventions_name_in_gen_ai_metrics(metrics: Metrics) -> None:
    metrics.view(exchange(call(provider="gemini", facts=chat())))
    assert [labels[1] for labels in series(metrics, "gen_ai_client_operation_duration_seconds")] == ["gcp.gemini"]
    assert [labels[1] for labels in series(metrics, "gen_ai_client_token_usage")] == ["gcp.gemini", "gcp.gemini"]
    assert [labels[0] for labels in series(metrics, "gateway_tokens_total")] == ["gemini", "gemini"]


def test_a_workflows_calls_are_told_by_step(metrics: Metrics) -> None:
    calls = (call(step="points", took=5), call(at=1_010, step="writer", took=10))
    metrics.view(exchange(*calls, took=30, route="/projects/demo/summary", project="demo", provider=None))
    steps = {
        labels: sample.value for labels, sample in series(metrics, "gateway_project_call_duration_seconds").items()
    }
    assert steps == {
        ("demo", "points", "openai"): pytest.approx(0.005),
        ("demo", "writer", "openai"): pytest.approx(0.010),
    }


def test_nothing_waits_long_to_be_counted_though_nobody_asks(metrics: Metrics) -> None:
    kinds = [exchange(call(step="points", chunks=5, facts=chat(streamed=True)), status=200 + n) for n in range(3)]
    duration = metrics.histogram(table.UPSTREAM_DURATION, "openai", "complete")
    counted = []
    for number in range(3 * MOST_LATE):
        metrics.view(kinds[number % 3])
        counted.append(duration.observations)
    assert counted[MOST_LATE - 2 :: MOST_LATE] == [0, MOST_LATE, 2 * MOST_LATE]
    assert counted[MOST_LATE - 1 :: MOST_LATE] == [MOST_LATE, 2 * MOST_LATE, 3 * MOST_LATE]


def test_whatever_is_read_includes_what_is_late(metrics: Metrics) -> None:
    metrics.view(exchange(call()))
    assert metrics.registry.get("gateway_requests_total").get_all()[0][1] == 1
    metrics.view(exchange(call()))
    assert counts(metrics, "gateway_upstream_calls_total") == {("openai", "2xx", "complete"): 2}


def test_of_many_together_each_kind_is_counted_as_if_it_were_alone() -> None:
    numbers = random.Random(11)
    made = [_any_exchange(numbers) for _ in range(400)]
    at_once, together = (Metrics({"openai": ("gpt-4o",)}, ("demo",)) for _ in range(2))
    for each in made:
        at_once.view(each)
        [*at_once.figures()]
        together.view(each)
    for one, all_ in zip(at_once.figures(), together.figures(), strict=True):
        assert one.metric is all_.metric
        assert [_figures(sample) for sample in all_.samples] == [
            (labels, pytest.approx(value), counts) for labels, value, counts in map(_figures, one.samples)
        ]


def _figures(sample: Sample) -> tuple[tuple[str, ...], float, list[int]]:
    return sample.labels, sample.value, sample.counts


def _any_exchange(numbers: random.Random) -> Exchange:
    """One with none, one or two calls, of which everything that decides about its kind may be either way."""

    def either(*among: Any) -> Any:
        return numbers.choice(among)

    calls = []
    for at in range(either(0, 1, 1, 2)):
        tokens = either((numbers.randrange(9000), numbers.randrange(900)), (5, None), (None, None), None)
        made = call(
            at=1_000 + 10 * at,
            took=numbers.randrange(1, 9),
            facts=either(chat("gpt-4o", tokens=tokens), chat(streamed=True, tokens=tokens), Facts()),
            head=either(None, 1, 2),
            first_byte=either(None, 1, 3),
            chunks=either(0, 1, 2, 7),
            outcome=either(Outcome.COMPLETE, Outcome.UPSTREAM_TRUNCATED),
            status=either(200, 429, 500),
            step=either(None, "points"),
            road=either(None, Road.DIRECT),
            attempt=either(0, 1),
            reused_connection=either(True, False),
        )
        if either(True, False):
            made.connected = None
        calls.append(made)
    took = numbers.randrange(20, 400)
    facts = {"project": either(None, "demo"), "retry_count": either(0, 2), "bytes_in": numbers.randrange(99)}
    if either(True, False):
        return failed(either(RateLimited(), InternalFault()), *calls, took=took, **facts)
    return exchange(*calls, took=took, first_byte=either(None, 4), status=either(200, 404), **facts)


def test_kinds_are_forgotten_when_there_are_too_many_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished, "KINDS", 4)
    metrics = Metrics({"openai": ("gpt-4o",)}, ("demo",))
    for number in range(30):
        metrics.view(exchange(call(facts=chat(f"made-up-{number}")), status=200 + number % 7))
        kept = metrics.view.__self__  # type: ignore[attr-defined]
        assert 0 < len(kept._exchanges) <= 4 and 0 < len(kept._calls) <= 4
    assert sum(counts(metrics, "gateway_requests_total").values()) == 30
    assert counts(metrics, "gateway_upstream_calls_total") == {("openai", "2xx", "complete"): 30}


def test_only_sampled_exchanges_are_examples(metrics: Metrics) -> None:
    metrics.view(exchange(call(facts=chat())))
    assert all(not sample.exemplars for figures in metrics.figures() for sample in figures.samples)
    traced = exchange(call(facts=chat()), trace=TraceIds(TRACE_ID, "b7ad6b7169203331"))
    traced.started_at = 1_700_000_000 * 10**9
    metrics.view(traced)
    ((value, (trace_id, when)),) = [
        example
        for example in series(metrics, "http_server_request_duration_seconds").popitem()[1].exemplars
        if example is not None
    ]
    assert (value, trace_id, when) == (pytest.approx(0.01), TRACE_ID, pytest.approx(1_700_000_000.01))


def test_exactly_the_metrics_that_promise_examples_have_them(metrics: Metrics) -> None:
    facts = chat(streamed=True)
    calls = [call(step="points", chunks=5, facts=facts, waited_for_pool_ns=MS)]
    metrics.view(exchange(*calls, trace=TraceIds(TRACE_ID, "b7ad6b7169203331")))
    shown = {f.metric.name for f in metrics.figures() if any(sample.exemplars for sample in f.samples)}
    assert shown == {figures.metric.name for figures in metrics.figures() if figures.metric.exemplars}


def test_a_metric_that_is_full_counts_on_as_other_and_says_so() -> None:
    metrics = Metrics({"openai": ()}, max_series=5)
    for number in range(20):
        metrics.view(exchange(route=f"/r/{number}"))
        metrics.view(exchange(route=f"/r/{number}"))
    requests = counts(metrics, "gateway_requests_total")
    assert len(requests) == 6
    assert sum(requests.values()) == 40
    assert requests[("_other",) * 5] == 30
    assert counts(metrics, "gateway_metric_overflows_total")[("gateway_requests_total",)] == 15


def test_of_several_exchanges_each_example_is_told_with_its_own_trace_and_time(metrics: Metrics) -> None:
    for number, took in enumerate((20, 3_000, 400)):
        made = exchange(call(), took=took, trace=TraceIds(f"{number}" * 32, "b7ad6b7169203331"))
        made.started_at = (1_700_000_000 + number) * 10**9
        metrics.view(made)
    (requests,) = series(metrics, "gateway_requests_total").values()
    assert requests.exemplars == [(1, ("2" * 32, pytest.approx(1_700_000_002.4, rel=0, abs=0.001)))]
    (durations,) = series(metrics, "http_server_request_duration_seconds").values()
    assert [example for example in durations.exemplars if example is not None] == [
        (pytest.approx(0.02), ("0" * 32, pytest.approx(1_700_000_000.02, rel=0, abs=0.001))),
        (pytest.approx(0.4), ("2" * 32, pytest.approx(1_700_000_002.4, rel=0, abs=0.001))),
        (pytest.approx(3.0), ("1" * 32, pytest.approx(1_700_000_004.0, rel=0, abs=0.001))),
    ]

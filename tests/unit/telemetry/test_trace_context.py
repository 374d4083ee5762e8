"""Trace context as W3C describes it, against OpenTelemetry's own propagator and sampler where they have an opinion."""

import re

import pytest
from multidict import CIMultiDict
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.telemetry.trace_context import Sampler, TraceIds, new_span_id, open_trace, outgoing, trace_for, trace_lines

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"
ALWAYS = Sampler(1.0)
NEVER = Sampler(0.0)


def opened(traceparent: str | None, tracestate: str | None = None, sampler: Sampler = ALWAYS) -> TraceIds:
    return open_trace(traceparent, tracestate, sampler)


def test_a_client_s_trace_is_continued_in_a_span_of_ours():
    trace = opened(VALID)
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, PARENT, True)
    assert re.fullmatch("[0-9a-f]{16}", trace.span_id)
    assert trace.span_id not in (PARENT, "0" * 16)


def test_without_a_client_s_trace_one_is_opened_with_random_ids():
    traces = [opened(None) for _ in range(100)]
    assert len({trace.trace_id for trace in traces}) == len({trace.span_id for trace in traces}) == 100
    for trace in traces:
        assert re.fullmatch("[0-9a-f]{32}", trace.trace_id) and re.fullmatch("[0-9a-f]{16}", trace.span_id)
        assert trace.parent_id is None and trace.flags == 0b11


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-0",
        f"00-{TRACE}-{PARENT}-011",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01 ",
        f"00-{TRACE}-{PARENT}-01\n",
        f" {VALID}",
        f"0-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"FF-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT}0-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00_{TRACE}_{PARENT}_01",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE[:-1]}١-{PARENT}-01",
        VALID * 1000,
    ],
)
def test_an_invalid_traceparent_is_ignored_together_with_its_tracestate(traceparent):
    trace = opened(traceparent, "vendor=state")
    assert TRACE not in trace.trace_id and trace.parent_id is None and trace.tracestate is None


@pytest.mark.parametrize("suffix", ["", "-", "-what-the-future-will-be-like"])
def test_a_later_version_is_read_as_far_as_this_one_goes(suffix):
    trace = opened(f"cc-{TRACE}-{PARENT}-01{suffix}")
    assert (trace.trace_id, trace.parent_id) == (TRACE, PARENT)
    assert outgoing(trace, "1" * 16) == [(b"traceparent", f"00-{TRACE}-{'1' * 16}-01".encode())]


@pytest.mark.parametrize(("flags", "sampled", "sent"), [("00", False, "00"), ("02", False, "02"), ("03", True, "03")])
def test_the_sampled_and_the_random_flag_are_kept(flags, sampled, sent):
    trace = opened(f"00-{TRACE}-{PARENT}-{flags}")
    assert trace.sampled is sampled
    assert outgoing(trace, "1" * 16)[0][1].decode().endswith(f"-{sent}")


def test_flags_that_nobody_knows_are_not_passed_on():
    assert outgoing(opened(f"00-{TRACE}-{PARENT}-ff"), "1" * 16)[0][1].endswith(b"-03")


def test_a_client_s_sampling_wins_over_the_ratio():
    assert opened(VALID, sampler=NEVER).sampled
    assert not opened(f"00-{TRACE}-{PARENT}-00", sampler=ALWAYS).sampled


def test_an_unsampled_trace_says_so_to_the_provider():
    trace = opened(None, sampler=NEVER)
    assert not trace.sampled and trace.flags == 0b10
    assert outgoing(trace, "1" * 16)[0][1].endswith(b"-02")


@pytest.mark.parametrize("ratio", [0.0, 1e-9, 0.1, 0.5, 0.999, 1.0])
def test_the_ratio_chooses_as_opentelemetry_does(ratio):
    theirs = ParentBased(TraceIdRatioBased(ratio))
    identifiers = [opened(None).trace_id for _ in range(500)] + ["1" + "0" * 31, "f" * 32, "0" * 31 + "1"]
    for trace_id in identifiers:
        decision = theirs.should_sample(None, int(trace_id, 16), "span").decision
        assert Sampler(ratio).takes(trace_id) is (decision is Decision.RECORD_AND_SAMPLE)


def test_the_ratio_holds_roughly():
    taken = sum(opened(None, sampler=Sampler(0.25)).sampled for _ in range(4000))
    assert 800 < taken < 1200


def test_what_goes_out_is_read_the_same_way_by_opentelemetry():
    trace = opened(VALID, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    span_id = new_span_id(trace)
    carrier = {name.decode(): value.decode() for name, value in outgoing(trace, span_id)}
    context = otel.get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
    assert format(context.trace_id, "032x") == TRACE
    assert format(context.span_id, "016x") == span_id not in (PARENT, trace.span_id)
    assert context.trace_flags.sampled
    assert list(context.trace_state.items()) == [("rojo", "00f067aa0ba902b7"), ("congo", "t61rcWkgMzE")]


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [
        ("a=1", "a=1"),
        ("b=2,a=1", "b=2,a=1"),
        ("b=2 \t, \ta=1", "b=2,a=1"),
        ("b=2,,a=1,", "b=2,a=1"),
        ("tenant@system=a b!c", "tenant@system=a b!c"),
        ("0tenant@system=1", "0tenant@system=1"),
        (f"{'k' * 256}={'v' * 256}", f"{'k' * 256}={'v' * 256}"),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        ("", None),
        (" , ", None),
        ("a", None),
        ("a=", None),
        ("=1", None),
        ("A=1", None),
        ("0=1", None),
        ("a=1=2", None),
        ("a=1,a=2", None),
        ("a=é", None),
        ("a=1\x00", None),
        ("a=1\n", None),
        (f"{'k' * 257}=v", None),
        (f"k={'v' * 257}", None),
        (",".join(f"k{n}=v" for n in range(33)), None),
        (",".join(f"k{n}={'v' * 200}" for n in range(32)), None),
    ],
)
def test_a_tracestate_is_kept_in_order_or_dropped_whole(tracestate, kept):
    trace = opened(VALID, tracestate)
    assert trace.tracestate == kept
    assert trace.trace_id == TRACE, "a bad tracestate spoils no traceparent"
    assert outgoing(trace, "1" * 16)[1:] == ([(b"tracestate", kept.encode())] if kept else [])


def test_several_traceparent_fields_are_ignored():
    fields = CIMultiDict([("Traceparent", VALID), ("traceparent", VALID)])
    assert trace_for(fields, ALWAYS).trace_id != TRACE


def test_several_tracestate_fields_are_one_list():
    fields = CIMultiDict([("traceparent", VALID), ("tracestate", "a=1"), ("TraceState", "b=2")])
    assert trace_for(fields, ALWAYS).tracestate == "a=1,b=2"
    assert trace_for(CIMultiDict(), ALWAYS).parent_id is None


@pytest.mark.parametrize("tracestate", [None, "a=1,b=2"])
def test_the_lines_of_a_head_are_its_fields(tracestate: str | None) -> None:
    trace = TraceIds("a" * 32, "b" * 16, flags=3, tracestate=tracestate)
    fields = outgoing(trace, "c" * 16)
    assert trace_lines(trace, "c" * 16) == b"".join(b"%b: %b\r\n" % field for field in fields)

"""What Prometheus gets to read."""

import asyncio
import math
import re
from time import perf_counter

import pytest

from gateway.telemetry import metric_table as table
from gateway.telemetry.exposition import Format, expose, preferred, render
from gateway.telemetry.metric_table import Kind, Metric
from gateway.telemetry.series import Families, Figures, Sample

WAIT = Metric("a_wait_seconds", Kind.HISTOGRAM, "How long.", ("who",), "seconds", (0.5, 1, 30))
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def text(*figures: Figures, form: Format = Format.TEXT) -> str:
    return b"".join([piece async for piece in render(figures, form)]).decode()


def counter(value: float = 1, *labels: str, names: tuple[str, ...] = (), exemplars: object = ()) -> Figures:
    metric = Metric("things_bytes_total", Kind.COUNTER, "Things.", names, "bytes")
    return Figures(metric, [Sample(labels, value, [], list(exemplars))])  # type: ignore[call-overload]


async def test_a_counter_as_text() -> None:
    assert await text(counter(3, "a", "b", names=("x", "y"))) == (
        '# HELP things_bytes_total Things.\n# TYPE things_bytes_total counter\nthings_bytes_total{x="a",y="b"} 3\n'
    )


async def test_a_counter_as_openmetrics() -> None:
    assert await text(counter(3), form=Format.OPENMETRICS) == (
        "# HELP things_bytes Things.\n# TYPE things_bytes counter\n# UNIT things_bytes bytes\n"
        "things_bytes_total 3\n# EOF\n"
    )


@pytest.mark.parametrize("form", Format)
async def test_a_histogram_is_cumulative_in_both(form: Format) -> None:
    shown = await text(Figures(WAIT, [Sample(("me",), 12.5, [2, 0, 1, 4])]), form=form)
    assert [line for line in shown.splitlines() if not line.startswith("#")] == [
        'a_wait_seconds_bucket{who="me",le="0.5"} 2',
        'a_wait_seconds_bucket{who="me",le="1.0"} 2',
        'a_wait_seconds_bucket{who="me",le="30.0"} 3',
        'a_wait_seconds_bucket{who="me",le="+Inf"} 7',
        'a_wait_seconds_sum{who="me"} 12.5',
        'a_wait_seconds_count{who="me"} 7',
    ]


async def test_build_facts_are_a_gauge_in_text_and_an_info_in_openmetrics() -> None:
    build = Figures(table.BUILD_INFO, [Sample(("1", "abc", "3.11"), 1)])
    series = 'gateway_build_info{version="1",commit="abc",python="3.11"} 1\n'
    assert "# TYPE gateway_build_info gauge\n" + series in await text(build)
    assert "# TYPE gateway_build info\n" + series in await text(build, form=Format.OPENMETRICS)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (2.5, "2.5"), (1e-07, "1e-07"), (10**20, "1" + "0" * 20), (math.inf, "+Inf"), (-math.inf, "-Inf")],
)
async def test_numbers_are_told_exactly(value: float, shown: str) -> None:
    assert (await text(counter(value))).endswith(f"things_bytes_total {shown}\n")


async def test_not_a_number_is_told_as_such() -> None:
    assert (await text(counter(math.nan))).endswith("things_bytes_total NaN\n")


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ('x"} 1\nforged_total{a="b', r"x\"} 1\nforged_total{a=\"b"),
        ("back\\", r"back\\"),
        ("\\n", r"\\n"),
        ("ünï", "ünï"),
        ("half \ud800 character", "half ? character"),
    ],
)
async def test_whatever_a_label_holds_it_is_one_value_of_one_series(hostile: str, shown: str, form: Format) -> None:
    lines = (await text(counter(1, hostile, names=("x",)), form=form)).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [f'things_bytes_total{{x="{shown}"}} 1']


async def test_help_is_one_line() -> None:
    metric = Metric("a_gauge", Kind.GAUGE, 'Tells "a\\b"\nand more.')
    assert r'# HELP a_gauge Tells "a\\b"\nand more.' in await text(Figures(metric, []))
    assert r"# HELP a_gauge Tells \"a\\b\"\nand more." in await text(Figures(metric, []), form=Format.OPENMETRICS)


async def test_examples_are_told_in_openmetrics_alone() -> None:
    seen = (0.75, (TRACE, 1_700_000_000.5))
    wait = Figures(WAIT, [Sample(("me",), 0.75, [0, 1, 0, 0], [None, seen, None, None])])
    requests = counter(1, exemplars=[(1, (TRACE, 1_700_000_000.5))])
    plain = await text(wait, requests)
    assert TRACE not in plain
    shown = (await text(wait, requests, form=Format.OPENMETRICS)).splitlines()
    assert f'a_wait_seconds_bucket{{who="me",le="1.0"}} 1 # {{trace_id="{TRACE}"}} 0.75 1700000000.500' in shown
    assert f'things_bytes_total 1 # {{trace_id="{TRACE}"}} 1 1700000000.500' in shown
    assert sum("trace_id" in line for line in shown) == 2


async def test_an_example_longer_than_openmetrics_allows_is_left_out() -> None:
    seen = [(1, ("f" * 121, 1.0))]
    assert "trace_id" not in await text(counter(1, exemplars=seen), form=Format.OPENMETRICS)
    seen = [(1, ("f" * 120, 1.0))]
    assert "trace_id" in await text(counter(1, exemplars=seen), form=Format.OPENMETRICS)


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        (PROMETHEUS, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", Format.OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', Format.OPENMETRICS),
        ("application/openmetrics-text, */*", Format.OPENMETRICS),
        ("application/openmetrics-text, text/plain", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", Format.TEXT),
        ("application/openmetrics-text;q=0.5, text/*;q=0.4", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0, */*;q=0.1", Format.TEXT),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        ("application/openmetrics-text;q=nan", Format.TEXT),
        ("application/openmetrics-text;q=2", Format.TEXT),
        ("application/openmetrics-text;q=much", Format.TEXT),
        ("image/png", Format.TEXT),
        (";;,,=;q", Format.TEXT),
        ("application/*, text/plain;q=0.2", Format.OPENMETRICS),
    ],
)
def test_the_format_is_the_one_that_the_scraper_prefers(accept: str, form: Format) -> None:
    assert preferred(accept) is form


async def test_the_content_type_tells_the_version() -> None:
    assert expose([], "").content_type == "text/plain; version=0.0.4; charset=utf-8"
    answer = expose([counter()], PROMETHEUS)
    assert answer.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert b"".join([piece async for piece in answer.body]).endswith(b"# EOF\n")


async def test_an_accept_field_of_any_length_is_read_quickly() -> None:
    began = perf_counter()
    assert preferred("a/b;q=0.1," * 200_000) is Format.TEXT
    assert perf_counter() - began < 0.1


def many_series(each: int) -> Families:
    families = Families(table.TABLE, most=each)
    for metric in table.TABLE:
        for number in range(each if metric.kind is Kind.HISTOGRAM and metric.labels else 0):
            families.distribution(metric, *(f"{label}-{number}" for label in metric.labels)).observe(0.2, (TRACE, 1.0))
    return families


@pytest.mark.parametrize("form", Format)
async def test_thousands_of_series_are_told_while_the_loop_serves_on(form: Format) -> None:
    families = many_series(200)
    turns = 0
    told = asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not told.is_set():
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        pieces = [piece async for piece in render(families.figures(), form)]
        told.set()
    document = b"".join(pieces)
    assert document.count(b"_count{") > 2_000
    assert turns >= len(pieces) - 1 > 5
    assert max(map(len, pieces)) < len(document) / 3


async def test_a_metric_is_told_as_it_was_at_one_moment() -> None:
    """Counting goes on while a long exposition is made; buckets, sum and count of a series agree all the same."""
    families = many_series(150)
    kept = [families.distribution(table.POOL_WAIT, f"provider-{number}") for number in range(150)]
    shown = b""
    async for piece in render(families.figures(), Format.TEXT):
        shown += piece
        for child in kept:
            child.observe(100)
    counts = [
        (int(infinite), int(count), float(total))
        for infinite, total, count in re.findall(
            rb'gateway_pool_wait_seconds_bucket{[^}]*le="\+Inf"} (\d+)\n'
            rb"gateway_pool_wait_seconds_sum{[^}]*} (\S+)\n"
            rb"gateway_pool_wait_seconds_count{[^}]*} (\d+)\n",
            shown,
        )
    ]
    assert len(counts) == 150
    assert len(set(counts)) == 1
    ((infinite, count, total),) = set(counts)
    assert infinite == count
    assert total == pytest.approx(0.2 + (count - 1) * 100)

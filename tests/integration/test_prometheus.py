"""A real Prometheus scrapes what we tell, in both formats, and answers what an operator asks."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import InternalFault, RateLimited, UpstreamTimeout
from gateway.telemetry import dumps
from gateway.telemetry import metric_table as table
from gateway.telemetry.exchange import Exchange, Facts, Outcome, Road, TraceIds, Usage
from gateway.telemetry.exposition import Format, expose, render
from gateway.telemetry.metrics import Metrics, PoolUse
from tests.made_exchanges import MS, TRACE_ID, call, chat, exchange
from tests.monitoring_files import RULES, dashboard_expressions, plain
from tests.needing import program
from tests.process import free_port

pytestmark = pytest.mark.integration

ROUNDS = 3
MODEL = 'gpt-4o"} 1\nforged_total{a="b'  # configured by an operator with an odd taste
HOSTILE = (
    'quote"',
    'brace"} 1\nforged_total{a="b',
    "back\\slash",
    "\\n",
    "carriage\rreturn",
    "\ttab",
    "nul\x00inside",
    "ünïcödé 模型",
    "{},=#",
    " ",
)


def metrics() -> Metrics:
    made = Metrics({"openai": (MODEL, "o3"), "gemini": ()}, ("demo",), version="1.2.3", commit="abc", max_series=25)
    made.watch_pools(lambda: [PoolUse("openai", in_use=3, idle=4, waiting=1)])
    for name in HOSTILE:
        made.counter(table.SPANS, name).add(7)
    return made


def day(*, sampled: bool = True) -> Iterator[Exchange]:
    """Exchanges of every kind."""
    trace = TraceIds(TRACE_ID, "b7ad6b7169203331", sampled=sampled)
    stream = chat(MODEL, streamed=True, tokens=(10, 200))
    stream.usage = Usage(10, 200, cache_read_tokens=4, reasoning_tokens=100)
    yield exchange(call(facts=stream, chunks=40, took=400), took=410, trace=trace, bytes_in=500, bytes_out=9_000)
    yield exchange(call(facts=chat("unheard of", tokens=(1, 2)), reused_connection=True, road=Road.DIRECT), trace=trace)
    yield exchange(call(facts=chat("o3", tokens=None), status=503, attempt=1), status=503, trace=trace, retry_count=1)
    uncounted = call(facts=Facts(usage_error="implausible"), estimated_tokens=12)
    yield exchange(uncounted, status=0, outcome=Outcome.CLIENT_GONE, first_byte=None, trace=trace)
    steps = (call(step="points", facts=chat()), call(at=1_010, step="writer", facts=chat(), waited_for_pool_ns=2 * MS))
    yield exchange(*steps, took=25, route="/projects/demo/summary", project="demo", provider=None, trace=trace)
    for error in (UpstreamTimeout(), RateLimited(), InternalFault()):
        late = call(status=None, head=None, first_byte=None)
        late.failed(error)
        failing = exchange(*([late] if error.fault == "upstream" else []), status=error.status, trace=trace)
        failing.failed(error)
        yield failing


class Served:
    """Metrics on a port: as asked for at /metrics, as plain text at /text, of two workers at /workers."""

    def __init__(self) -> None:
        self.metrics = metrics()
        self.open: list[str] = []
        self.metrics.watch_open(lambda: self.open)
        self.address = ""

    def happen(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            for each in day():
                self.open.append(each.method)
                self.metrics.view(each)

    async def scrape(self, request: web.Request) -> web.Response:
        await self.metrics.refresh()
        figures = self.metrics.figures()
        if request.path == "/workers":
            worker = await dumps.read(await dumps.dump(figures))
            figures = dumps.merge([worker, worker])
        accept = "" if request.path == "/text" else ",".join(request.headers.getall("Accept", []))
        answer = expose(figures, accept)
        return web.Response(body=answer.body, headers={"Content-Type": answer.content_type})


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    app = web.Application()
    app.router.add_get("/{any}", served.scrape)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    served.address = f"{host}:{port}"
    yield served
    await runner.cleanup()


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def value(self, expression: str) -> float | None:
        """The one value of an expression."""
        result = (await self.ask("query", query=expression))["result"]
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else None

    async def becomes(self, expression: str, value: float) -> None:
        """Wait until the expression has this value."""
        seen: float | None = None
        async with asyncio.timeout(20):
            while seen != pytest.approx(value):
                await asyncio.sleep(0.05)
                seen = await self.value(expression)

    async def series(self, match: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = await self.ask("series", **{"match[]": match})
        return found


@pytest.fixture
async def prometheus(served: Served, tmp_path: Path) -> AsyncIterator[Prometheus]:
    path = program("prometheus")
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": list(map(str, RULES)),
        "scrape_configs": [
            {"job_name": name, "metrics_path": path, "static_configs": [{"targets": [served.address]}]}
            for name, path in (("gateway", "/metrics"), ("text", "/text"), ("workers", "/workers"))
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
    port = free_port()
    arguments = [
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(path, *arguments, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await ready(session, process, tmp_path / "log")
            yield Prometheus(session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def ready(session: aiohttp.ClientSession, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, log.read_text()
            try:
                async with session.get("/-/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def test_prometheus_knows_what_happened(served: Served, prometheus: Prometheus) -> None:
    served.happen(ROUNDS)
    await prometheus.becomes('sum(gateway_requests_total{job="gateway"})', 8 * ROUNDS)

    for expression, value in (
        ('sum(gateway_requests_total{job="gateway",outcome="complete"})', 4 * ROUNDS),
        ('sum(gateway_requests_total{job="gateway",status_class="_none",outcome="client_gone"})', ROUNDS),
        ('sum(gateway_errors_total{job="gateway",code="internal_error",fault="gateway"})', ROUNDS),
        ('gateway_limit_refusals_total{job="gateway",code="rate_limit_exceeded"}', ROUNDS),
        ('gateway_upstream_failures_total{job="gateway",cause="status_5xx"}', ROUNDS),
        ('sum(gateway_tokens_total{job="gateway",type="output"})', (200 + 2 + 9 + 9) * ROUNDS),
        ('sum(http_server_request_duration_seconds_count{job="gateway"})', 8 * ROUNDS),
        ('sum(http_server_active_requests{job="gateway"})', 8 * ROUNDS),
        ('gateway_pool_connections{job="gateway",state="idle"}', 4),
        ('sum(gateway_build_info{job="gateway",version="1.2.3",commit="abc"})', 1),
    ):
        assert await prometheus.value(expression) == value, expression
    slowest = "max(histogram_quantile(1, http_server_request_duration_seconds_bucket{job='gateway'}))"
    assert await prometheus.value(slowest) == 0.5

    await the_formats_agree(prometheus)
    await workers_are_summed(prometheus)
    await hostile_names_stay_names(prometheus)
    await exemplars_lead_to_traces(prometheus)
    await every_panel_has_an_answer(served, prometheus)


async def the_formats_agree(prometheus: Prometheus) -> None:
    def known_as(series: dict[str, str]) -> frozenset[tuple[str, str]]:
        return frozenset((name, value) for name, value in series.items() if name not in ("job", "instance"))

    await prometheus.becomes('sum(gateway_requests_total{job="text"})', 8 * ROUNDS)
    ours = '{{__name__=~"(gateway|http|gen_ai|process|python)_.*",job="{}"}}'
    openmetrics, text = [set(map(known_as, await prometheus.series(ours.format(j)))) for j in ("gateway", "text")]
    assert len(openmetrics) > 300
    assert openmetrics == text
    # Metadata tells which format it was: only OpenMetrics has units, and its counters are named without _total.
    units = {
        row["metric"]: row["unit"] for row in await prometheus.ask("targets/metadata", match_target='{job="gateway"}')
    }
    assert units["gateway_overhead_seconds"] == "seconds"
    plain_units = await prometheus.ask("targets/metadata", match_target='{job="text"}')
    assert not any(row["unit"] for row in plain_units)


async def workers_are_summed(prometheus: Prometheus) -> None:
    await prometheus.becomes('sum(gateway_requests_total{job="workers"})', 2 * 8 * ROUNDS)
    assert await prometheus.value('gateway_workers{job="workers"}') == 2
    counted = 'sum(gen_ai_client_operation_duration_seconds_count{{job="{}"}})'
    one = await prometheus.value(counted.format("gateway"))
    assert one is not None and await prometheus.value(counted.format("workers")) == 2 * one


async def hostile_names_stay_names(prometheus: Prometheus) -> None:
    found = {series["result"] for series in await prometheus.series('gateway_spans_total{job="gateway"}')}
    assert found == set(HOSTILE)
    assert await prometheus.value('sum(gateway_spans_total{job="gateway"})') == 7 * len(HOSTILE)
    models = {series["model"] for series in await prometheus.series('gateway_tokens_total{job="gateway"}')}
    assert models == {MODEL, "_other"}
    assert await prometheus.series("forged_total") == []


async def exemplars_lead_to_traces(prometheus: Prometheus) -> None:
    now = (await prometheus.ask("query", query="time()"))["result"][0]
    for metric in ("http_server_request_duration_seconds_bucket", "gateway_requests_total"):
        found = await prometheus.ask(
            "query_exemplars", query=f'{metric}{{job="gateway"}}', start=str(now - 600), end=str(now + 600)
        )
        assert found, metric
        assert {example["labels"]["trace_id"] for series in found for example in series["exemplars"]} == {TRACE_ID}


async def every_panel_has_an_answer(served: Served, prometheus: Prometheus) -> None:
    for number in range(40):
        served.metrics.counter(table.UPSTREAM_RETRIES, f"provider {number}").add()
    served.metrics.counter(table.CIRCUITS, "openai", "open").add()
    served.metrics.counter(table.CIRCUIT_OPENINGS, "openai").add()
    served.metrics.counter(table.LIMIT_POLICY_REFUSALS, "key-requests-minute").add()
    served.happen()
    await prometheus.becomes('sum(gateway_requests_total{job="gateway"})', 8 * (ROUNDS + 1))
    only_in_trouble = ("Alerts", "Starts")
    query = ""
    try:
        async with asyncio.timeout(15):
            for where, text in dashboard_expressions():
                query = plain(text)
                while where not in only_in_trouble and not (await prometheus.ask("query", query=query))["result"]:
                    await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"no answer to {query}") from None


async def test_promtool_finds_no_fault_with_it() -> None:
    hostile = metrics()
    for each in day():
        hostile.view(each)
    await hostile.refresh()
    text = b"".join([piece async for piece in render(hostile.figures(), Format.TEXT)])
    promtool = program("promtool", "prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=20, env=os.environ)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()

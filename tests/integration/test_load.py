"""The load test tells the truth: of a healthy gateway, of one that cuts streams, headless and in its page."""

import asyncio
import csv
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from gateway.mock_upstream import Behaviour, mock_app, serving
from gateway.telemetry.exchange import Outcome
from tests.edge import stop
from tests.needing import ROOT, tool
from tests.process import free_port
from tests.running import KEY, Running, environ, run_gateway

pytestmark = pytest.mark.integration

ROLES = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
PACE = 0.02
SECONDS = 4


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock_app(Behaviour(pace=PACE, words=20)), "127.0.0.1", 0))
        roles = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/mock-model" for role in ROLES}
        yield await run_gateway(stack, environ(str(url.origin()), GATEWAY_PROJECTS="demo", **roles))


def command(gateway: Running, *more: str) -> list[str]:
    return [
        tool(".venv-locust", "locust"),
        *("--locustfile", str(ROOT / "tests/load/locustfile.py"), "--host", gateway.url),
        *("--provider", "openai", *more),
    ]


async def figures(gateway: Running, folder: Path, *more: str) -> tuple[int, Mapping[str, dict[str, str]]]:
    """A short run without the page: its exit code, and its rows by name."""
    headless = ("--headless", "--users", "10", "--spawn-rate", "10", "--run-time", f"{SECONDS}s", "--only-summary")
    process = await asyncio.create_subprocess_exec(
        *command(gateway, *headless, "--csv", str(folder / "load"), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "GATEWAY_KEY": KEY},
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in said, said.decode()
    with (folder / "load_stats.csv").open() as rows:
        return process.returncode, {row["Name"]: row for row in csv.DictReader(rows)}


async def test_a_healthy_gateway_fails_nothing_and_streams_in_the_upstreams_rhythm(
    gateway: Running, tmp_path: Path
) -> None:
    code, rows = await figures(gateway, tmp_path)
    assert {"ask", "stream", "leave", "first event", "between events", "whole", "project, text"} <= set(rows)
    assert (code, rows["Aggregated"]["Failure Count"]) == (0, "0")
    # Some events follow at once (the last ones), most after a pause.
    assert float(rows["between events"]["Median Response Time"]) == pytest.approx(PACE * 1000, rel=0.75)
    assert float(rows["first event"]["Median Response Time"]) < float(rows["whole"]["Median Response Time"]) / 2
    outcomes = {exchange.outcome for exchange in gateway.exchanges}
    assert outcomes == {Outcome.COMPLETE, Outcome.CLIENT_GONE}


async def test_streams_that_are_cut_are_failures(gateway: Running, tmp_path: Path) -> None:
    code, rows = await figures(gateway, tmp_path, "--model", "mock-model+cut-after=5", "StreamingUser")
    assert code == 1
    assert int(rows["stream"]["Failure Count"]) == int(rows["stream"]["Request Count"]) > 0


async def test_a_refused_key_is_a_failure_of_every_request(gateway: Running, tmp_path: Path) -> None:
    code, rows = await figures(gateway, tmp_path, "--key", "gw_nobody-0", "AskingUser")
    assert code == 1
    assert int(rows["ask"]["Failure Count"]) == int(rows["ask"]["Request Count"]) > 0


async def test_its_page_starts_a_run_with_what_the_form_says(gateway: Running, tmp_path: Path) -> None:
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command(gateway, "--web-host", "127.0.0.1", "--web-port", str(port)),
            stdout=log,
            stderr=log,
            env={**os.environ, "GATEWAY_KEY": KEY},
        )
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            form = await _page(session, page)
            assert "max_tokens" in form
            assert KEY not in form
            asked = {"user_count": "4", "spawn_rate": "4", "host": gateway.url, "model": "mock-model"}
            async with session.post(f"{page}/swarm", data=asked) as response:
                assert (await response.json())["success"] is True
            while True:
                async with session.get(f"{page}/stats/requests") as response:
                    stats = await response.json()
                if {"ask", "stream"} <= {row["name"] for row in stats["stats"]}:
                    break
                await asyncio.sleep(0.1)
            assert stats["fail_ratio"] == 0
    finally:
        await stop(process)


async def _page(session: aiohttp.ClientSession, url: str) -> str:
    while True:
        try:
            async with session.get(url) as response:
                return await response.text()
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)

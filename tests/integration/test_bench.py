"""The benchmark runs, measures both of its subjects and says what it found."""

import asyncio
import re
import sys

import pytest

from tests.needing import ROOT, program

pytestmark = pytest.mark.integration

ROWS = ("CPU per request", "requests per second", "CPU per event", "added median latency", "memory per open stream")


async def test_one_short_round_gives_a_table_of_ratios() -> None:
    program("nginx")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "scripts/benchmark"), "--rounds", "1", "--requests", "200", "--markdown"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, progress = await process.communicate()
    assert process.returncode == 0, progress.decode()
    assert b"round 1 of 1: gateway" in progress
    for row in ROWS:
        found = re.search(rf"\| {row}[^|]*\| (\S+) \| (\S+) \| (\S+) \|", out.decode())
        assert found, row
        # Figures that can be negative by noise are only read.
        assert [float(figure) > 0 for figure in found.groups()].count(False) == 0 or row.startswith(("added", "memory"))
    for row in ("event loop's lag", "the same while scraped"):
        assert re.search(rf"\| {row}[^|]*\|  \| [\d.]+ \|  \|", out.decode()), row

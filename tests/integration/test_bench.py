"""The benchmarks run, measure all of their subjects and say what they found."""

import asyncio
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

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
    for row in ("of which all features", "event loop's lag", "the same while scraped"):
        assert re.search(rf"\| {row}[^|]*\|  \| -?[\d.]+ \|  \|", out.decode()), row


async def test_a_short_look_at_scale_gives_a_page_of_tables_and_plots(tmp_path: Path) -> None:
    program("nginx")
    short = ("--rounds", "1", "--seconds", "0.05", "--points", "2", "--streams", "20", "40")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "scripts/benchmark/scale.py"), *short, "--to", str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, progress = await process.communicate()
    page = (tmp_path / "scale.md").read_text()
    assert out.decode().strip() == page.strip(), progress.decode()
    sections = page.split("\n## ")[1:]
    measured = [section for section in sections if "![" in section]
    assert (process.returncode == 0) == (len(measured) == len(sections)), progress.decode()
    assert len(sections) == 6
    for section in sections:
        assert section in measured or "Not measured: " in section
    for section in measured:
        _, *rows = (line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| "))
        assert all(float(cell) >= 0 for _, *cells in rows for cell in cells if cell.strip())
        [plot] = re.findall(r"\((\S+\.svg)\)", section)
        lines = ElementTree.parse(tmp_path / plot).iter("{http://www.w3.org/2000/svg}polyline")
        assert len(list(lines)) == len(rows) > 0

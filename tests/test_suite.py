"""The suite's own machinery: what is missing is told, and nothing is left out unnoticed where that matters."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aioresponses import aioresponses
from coverage import CoverageData

from tests import needing

SKIPPING = {
    "in a test": "import pytest\ndef test_one():\n    pytest.skip('for want of a horse')\n",
    "by a mark": "import pytest\n@pytest.mark.skip('for want of a horse')\ndef test_one():\n    pass\n",
    "as a whole": "import pytest\npytest.skip('for want of a horse', allow_module_level=True)\n",
}

SERVED_BY_TWO = """
import signal
from pathlib import Path
from tests.process import Process

async def test_it(tmp_path: Path) -> None:
    async with Process(tmp_path, {"GATEWAY_WORKERS": "2"}) as gateway:
        gateway.signal(signal.SIGTERM)
        assert await gateway.ended() == 0
"""


def run(folder: Path, text: str, required: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-rs",
            "-c",
            os.devnull,
            str(folder),
        ],
        cwd=needing.ROOT,
        env={**os.environ, "GATEWAY_TEST_REQUIRE": required},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("how", SKIPPING)
def test_a_skip_is_a_failure_where_everything_is_required(how: str, tmp_path: Path) -> None:
    code, out = run(tmp_path, SKIPPING[how], "")
    assert code in (0, 5)  # 5: no test was collected
    assert "1 skipped" in out
    assert "for want of a horse" in out
    code, out = run(tmp_path, SKIPPING[how], "all")
    assert code in (1, 2)
    assert "GATEWAY_TEST_REQUIRE=all: " in out
    assert "for want of a horse" in out


def test_the_end_of_the_output_lists_what_was_skipped_and_why(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPING["in a test"])
    command = [sys.executable, "-m", "pytest", "-c", str(needing.ROOT / "setup.cfg"), "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert re.search(r"(?m)^SKIPPED \[1\] \S*test_it\.py:3: for want of a horse$", done.stdout), done.stdout


def test_a_gateway_that_a_test_starts_is_measured_with_its_workers(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SERVED_BY_TWO)
    command = [sys.executable, "-m", "coverage", "run", "--rcfile", str(needing.ROOT / "setup.cfg"), "-m", "pytest"]
    done = subprocess.run(
        [*command, "-c", str(needing.ROOT / "setup.cfg"), "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(needing.ROOT), "COVERAGE_FILE": str(tmp_path / ".coverage")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    measured = CoverageData(str(tmp_path / ".coverage-of-all"))
    for each in tmp_path.glob(".coverage.*"):
        one = CoverageData(str(each))
        one.read()
        measured.update(one)
    for name, function in (("supervise", "def _supervise("), ("work", "def _work("), ("serve", "def drain(")):
        path = needing.ROOT / f"gateway/{name}.py"
        lines = path.read_text().splitlines()
        begins = next(number for number, line in enumerate(lines, 1) if function in line)
        assert set(range(begins + 1, begins + 12)) & set(measured.lines(str(path)) or ()), name


def test_what_is_expected_to_fail_is_no_skip(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_one():\n    assert False\n"
    code, out = run(tmp_path, text, "all")
    assert (code, "1 xfailed" in out) == (0, True)


def test_a_program_that_is_missing_is_told_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_TEST_REQUIRE", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"^no-such-server is not installed: apt-get install no-such-package$"
    ):
        needing.program("no-such-server", "no-such-package")
    with pytest.raises(pytest.skip.Exception, match=r"scripts/test sets it up"):
        needing.tool(".venv-no-such", "tool")
    monkeypatch.setenv("GATEWAY_TEST_REQUIRE", "all")
    with pytest.raises(pytest.fail.Exception):
        needing.program("no-such-server")


def test_a_program_that_is_there_is_found() -> None:
    assert Path(needing.program("sh")).exists()


async def test_a_mocked_session_answers() -> None:
    with aioresponses() as mocked:
        mocked.get("http://upstream.test/", payload={"ok": True})
        async with ClientSession() as session, session.get("http://upstream.test/") as response:
            assert await response.json() == {"ok": True}

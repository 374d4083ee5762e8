"""The suite's own machinery: what is missing is told, and nothing is left out unnoticed where that matters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aioresponses import aioresponses

from tests import needing

SKIPPING = {
    "in a test": "import pytest\ndef test_one():\n    pytest.skip('for want of a horse')\n",
    "by a mark": "import pytest\n@pytest.mark.skip('for want of a horse')\ndef test_one():\n    pass\n",
    "as a whole": "import pytest\npytest.skip('for want of a horse', allow_module_level=True)\n",
}


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

"""Programs that some tests need beside the suite: found, or the test is skipped with one line that says how.

With GATEWAY_TEST_REQUIRE=all, as CI sets it, what is missing is a failure.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent


def program(name: str, package: str | None = None) -> str:
    """The path of a program from Debian's `package` (by itself: of the same name)."""
    # Debian puts servers where only root looks.
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return found or missing(f"{name} is not installed: apt-get install {package or name}")


def tool(environment: str, name: str) -> str:
    """The path of a program in a virtual environment of its own, such as `.venv-tools`."""
    path = ROOT / environment / "bin" / name
    return str(path) if path.exists() else missing(f"{environment}/bin/{name} is not there: scripts/test sets it up")


def missing(reason: str) -> NoReturn:
    """Skip, or fail if everything is required."""
    if os.environ.get("GATEWAY_TEST_REQUIRE") == "all":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)

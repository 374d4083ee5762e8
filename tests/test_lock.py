"""The image installs what the suite runs on: the lock pins the same versions, each file by its hash."""

import re

from tests.needing import ROOT

PIN = re.compile(r"(?m)^([A-Za-z0-9][\w.-]*)==(\S+)")
ENTRY = re.compile(r"(?m)^(\S+==\S+)(?: ; [^\n]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def pins(name: str) -> dict[str, str]:
    """Versions by normalised name."""
    found = PIN.findall((ROOT / name).read_text())
    return {re.sub(r"[-_.]+", "-", each).lower(): version for each, version in found}


def test_the_lock_pins_what_the_requirements_do() -> None:
    assert pins("requirements.lock") == pins("requirements.txt")
    assert len(pins("requirements.lock")) > 30


def test_every_locked_version_has_hashes() -> None:
    for name in ("requirements.lock", "requirements-build.lock"):
        entries = ENTRY.findall((ROOT / name).read_text())
        assert len(entries) == len(pins(name)) > 0


def test_what_redis_needs_before_python_3_11_3_is_locked_on_every_python() -> None:
    for name in ("requirements.txt", "requirements.lock"):
        marked = re.findall(r"(?m)^async-timeout==\S+ ; (.+?)(?: \\)?$", (ROOT / name).read_text())
        assert [each.replace("'", '"') for each in marked] == ['python_full_version < "3.11.3"']

"""The image installs what the suite runs on: the lock pins the same versions, each file by its hash."""

import re

from tests.needing import ROOT

PIN = re.compile(r"(?m)^([A-Za-z0-9][\w.-]*)==(\S+)")
ENTRY = re.compile(r"(?m)^(\S+==\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


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

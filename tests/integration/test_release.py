"""`scripts/release` in a repository of its own: what it writes, and what it refuses."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needing import ROOT, program

pytestmark = pytest.mark.integration

DEPLOYED = ("deploy/helm/llm-gateway/Chart.yaml", "deploy/kubernetes/kustomization.yaml")
CHANGELOG = """# Changelog

## [Unreleased]

### Added

- Served haiku.

## [0.1.0] - 2026-01-01

- Began.
"""


class Repository:
    """A small project that can be released."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gateway").mkdir()
        (folder / "gateway/__init__.py").write_text('"""It."""\n\n__version__ = "0.1.0"\n')
        for path in DEPLOYED:
            (folder / path).parent.mkdir(parents=True)
            shutil.copy(ROOT / path, folder / path)
        (folder / "CHANGELOG.md").write_text(CHANGELOG)
        (folder / "scripts").mkdir()
        for name in ("release", "release.py", "environment.sh"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts" / name)
        for name in ("check", "test"):
            self.script(name, 'test "$GATEWAY_TEST_REQUIRE" = all')
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()
        self.git("tag", "v0.1.0")

    def script(self, name: str, line: str) -> None:
        path = self.folder / "scripts" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")

    def git(self, *arguments: str) -> str:
        return self.run(program("git"), *arguments)[1]

    def run(self, *command: str) -> tuple[int, str]:
        who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **who},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def release(self, *arguments: str) -> tuple[int, str]:
        return self.run("scripts/release", *arguments)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_release_writes_version_and_changelog_and_tags_them_with_the_notes(repository: Repository) -> None:
    code, said = repository.release("0.2.0")
    assert code == 0, said
    assert '__version__ = "0.2.0"' in (repository.folder / "gateway/__init__.py").read_text()
    chart, kustomization = [(repository.folder / path).read_text() for path in DEPLOYED]
    assert re.findall(r"(?m)^(\w*[vV]ersion): (.+)$", chart)[1:3] == [("version", '"0.2.0"'), ("appVersion", '"0.2.0"')]
    assert '    newTag: "0.2.0"\n' in kustomization
    changelog = (repository.folder / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [0.2.0] - 20" in changelog
    assert repository.git("status", "--porcelain") == ""
    assert repository.git("log", "-1", "--format=%s").strip() == "Release 0.2.0"
    assert "### Added\n\n- Served haiku." in repository.git("tag", "--list", "v0.2.0", "--format=%(contents)")
    assert repository.release("--notes", "0.2.0") == (0, "### Added\n\n- Served haiku.\n")


def test_a_dry_run_changes_nothing_and_tells_the_notes(repository: Repository) -> None:
    assert repository.release("0.2.0", "--dry-run") == (0, "### Added\n\n- Served haiku.\n")
    assert repository.git("tag").split() == ["v0.1.0"]
    assert repository.git("status", "--porcelain") == ""


@pytest.mark.parametrize("failing", ["check", "test"])
def test_what_fails_is_not_released(repository: Repository, failing: str) -> None:
    repository.script(failing, "exit 1")
    repository.commit()
    code, said = repository.release("0.2.0")
    assert (code, f"scripts/{failing} fails" in said) == (1, True)
    assert repository.git("tag").split() == ["v0.1.0"]
    assert repository.git("status", "--porcelain") == ""


def test_all_that_stands_in_the_way_is_told_at_once(repository: Repository) -> None:
    changelog = repository.folder / "CHANGELOG.md"
    changelog.write_text(CHANGELOG.replace("- Served haiku.", ""))
    code, said = repository.release("0.1.0")
    assert code == 1
    assert "not committed" in said
    assert "not newer than 0.1.0" in said
    assert "tells nothing under" in said
    assert "tells of 0.1.0 already" in said
    assert repository.release("v2") == (1, "release: v2 is no version such as 0.2.0 or 0.2.0-rc.1\n")


def test_candidates_are_tagged_with_what_is_unreleased_and_the_release_follows_them(repository: Repository) -> None:
    for version in ("0.2.0-rc.2", "0.2.0-rc.10"):
        code, said = repository.release(version)
        assert code == 0, said
        assert f'__version__ = "{version}"' in (repository.folder / "gateway/__init__.py").read_text()
        assert (repository.folder / "CHANGELOG.md").read_text() == CHANGELOG
        assert "- Served haiku." in repository.git("tag", "--list", f"v{version}", "--format=%(contents)")
        assert repository.release("--notes", version) == (0, "### Added\n\n- Served haiku.\n")
    assert repository.release("0.2.0-rc.3")[1] == (
        "release: 0.2.0-rc.3 is not newer than 0.2.0-rc.10, which is tagged\n"
    )
    assert repository.release("0.2.0")[0] == 0
    assert "## [0.2.0] - 20" in (repository.folder / "CHANGELOG.md").read_text()
    assert repository.release("0.2.0-rc.11", "--dry-run")[0] == 1


@pytest.mark.parametrize("version", ["0.2", "0.2.0-rc", "0.2.0-rc.0", "0.2.0-rc1", "0.2.0-beta.1", "00.2.0", "0.2.0\n"])
def test_other_spellings_of_a_version_are_refused(repository: Repository, version: str) -> None:
    code, said = repository.release(version, "--dry-run")
    assert (code, "is no version such as 0.2.0" in said) == (1, True)


def test_this_repository_can_be_released_once_there_is_something_to_tell() -> None:
    done = subprocess.run(
        [str(ROOT / "scripts/release"), "999.0.0", "--dry-run"], capture_output=True, text=True, timeout=60
    )
    passing = ("not committed", "tells nothing under")
    assert [line for line in done.stderr.splitlines() if not any(each in line for each in passing)] == []

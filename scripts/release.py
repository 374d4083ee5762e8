"""Release a version: check, write version and changelog, commit, tag with the notes. It pushes nothing.

Nothing is written before everything holds; what stands in the way is told all at once.

A release candidate, such as 0.2.0-rc.1, leaves the changelog as it is: its notes are what is unreleased.
"""

import argparse
import datetime
import math
import os
import re
import subprocess
import sys
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
VERSIONED = (
    Path("gateway/__init__.py"),
    Path("deploy/helm/llm-gateway/Chart.yaml"),
    Path("deploy/kubernetes/kustomization.yaml"),
)
UNRELEASED = "## [Unreleased]"
SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-rc\.([1-9]\d*))?")
ASSIGNMENT = re.compile(r'(?m)^(__version__(?:: \w+)? = |(?:version|appVersion): |\s+newTag: )"[^"]+"$')
CHECKS = ("scripts/check", "scripts/test")


def main() -> int:
    """What the command line asks for; an exit code."""
    asked = _arguments()
    if asked.notes:
        notes = notes_of(CHANGELOG.read_text(encoding="utf-8"), section(asked.version))
        if not notes:
            print(f"release: {CHANGELOG} tells nothing of {asked.version}", file=sys.stderr)
            return 1
        print(notes)
        return 0
    in_the_way = problems(asked.version)
    for problem in in_the_way:
        print(f"release: {problem}", file=sys.stderr)
    if in_the_way:
        return 1
    notes = notes_of(CHANGELOG.read_text(encoding="utf-8"), None)
    if asked.dry_run:
        print(notes)
        return 0
    for check in CHECKS:
        if subprocess.run([check], env={**os.environ, "GATEWAY_TEST_REQUIRE": "all"}).returncode:
            print(f"release: {check} fails", file=sys.stderr)
            return 1
    write(asked.version, datetime.datetime.now(datetime.UTC).date().isoformat())
    git("commit", "--quiet", "--message", f"Release {asked.version}", "--", *map(str, (CHANGELOG, *VERSIONED)))
    git("tag", "--annotate", f"v{asked.version}", "--cleanup=verbatim", "--message", f"v{asked.version}\n\n{notes}")
    print(f"Released. To publish: git push origin HEAD v{asked.version}")
    return 0


def problems(version: str) -> list[str]:
    """What stands in the way of releasing this version."""
    found = []
    if not SEMANTIC.fullmatch(version):
        return [f"{version} is no version such as 0.2.0 or 0.2.0-rc.1"]
    if git("status", "--porcelain"):
        found.append("there are changes that are not committed")
    tags = [tag.removeprefix("v") for tag in git("tag", "--list", "v*").split()]
    newest = max((tag for tag in tags if SEMANTIC.fullmatch(tag)), key=precedence, default=None)
    if newest and precedence(version) <= precedence(newest):
        found.append(f"{version} is not newer than {newest}, which is tagged")
    found += [f"{path} has no version" for path in VERSIONED if not ASSIGNMENT.search(path.read_text(encoding="utf-8"))]
    changelog = CHANGELOG.read_text(encoding="utf-8")
    if not re.search(r"(?m)^- ", notes_of(changelog, None)):
        found.append(f"{CHANGELOG} tells nothing under {UNRELEASED}")
    if notes_of(changelog, version):
        found.append(f"{CHANGELOG} tells of {version} already")
    return found


def notes_of(changelog: str, version: str | None) -> str:
    """The section of a version, without its heading; of None, what is not released."""
    heading = re.escape(UNRELEASED) if version is None else rf"## \[{re.escape(version)}\][^\n]*"
    section = re.search(rf"(?ms)^{heading}\n(.*?)(?=^## |\Z)", changelog)
    return section[1].strip() if section else ""


def write(version: str, day: str) -> None:
    """Give what is unreleased its version and day."""
    if not is_candidate(version):
        changelog = CHANGELOG.read_text(encoding="utf-8")
        released = changelog.replace(UNRELEASED, f"{UNRELEASED}\n\n## [{version}] - {day}", 1)
        CHANGELOG.write_text(released, encoding="utf-8")
    for path in VERSIONED:
        text = path.read_text(encoding="utf-8")
        path.write_text(ASSIGNMENT.sub(rf'\g<1>"{version}"', text), encoding="utf-8")


def is_candidate(version: str) -> bool:
    return "-" in version


def section(version: str) -> str | None:
    """Whose section of the changelog has the notes of a version; None for what is unreleased."""
    return None if is_candidate(version) else version


def precedence(version: str) -> tuple[float, ...]:
    """A key that sorts versions as Semantic Versioning 2.0.0 does (section 11): candidates before their release."""
    matched = SEMANTIC.fullmatch(version)
    assert matched is not None
    *numbers, candidate = matched.groups()
    return (*map(int, numbers), int(candidate) if candidate else math.inf)


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("version", help="such as 0.2.0 or 0.2.0-rc.1")
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; say what stands in the way, and the notes"
    )
    parser.add_argument("--notes", action="store_true", help="print the notes of a version that is released")
    return parser.parse_args()


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[1])
    sys.exit(main())

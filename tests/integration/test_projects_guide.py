"""docs/projects.md, followed word by word: its files written, its commands run, its calls made.

One word is not kept: `pip install ./haiku` would fetch a build backend. A wheel of the same package is made here
instead, and pip installs that.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

from tests.needing import ROOT, program
from tests.running import KEY

GUIDE = (ROOT / "docs" / "projects.md").read_text()
STEP = re.compile(r"^(?:`(?P<file>[\w./-]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"


@dataclass
class Reader:
    """Somebody who follows the guide, in a folder of their own."""

    folder: Path

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        return self.folder / "site"

    def environ(self, **more: str) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": f"{self.site}:{ROOT}", "GATEWAY_PORT": "0", **more}

    def run(self, command: str, **more: str) -> str:
        """Run a command to its end; what it printed."""
        ran = subprocess.run(
            ["bash", "-euc", command],
            cwd=self.folder,
            env=self.environ(**more),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def install(self, package: str) -> None:
        wheel = made_wheel(self.folder / package, self.folder)
        self.run(f"python -m pip install --quiet --no-deps --no-index --target {self.site} {wheel}")


@dataclass
class Served:
    """A gateway that somebody started, as it introduced itself."""

    address: str
    key: str


def steps(kind: str) -> list[str]:
    return [step["text"].strip() for step in STEP.finditer(GUIDE) if step["kind"] == kind]


def files() -> Iterator[tuple[str, str]]:
    yield from ((step["file"], step["text"]) for step in STEP.finditer(GUIDE) if step["file"])


NEW, TEST, INSTALL, START, CALL, STREAM, MOUNT = steps("sh")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Has followed the guide up to where the gateway is started."""
    reader = Reader(tmp_path_factory.mktemp("guide"))
    reader.run(NEW)
    for path, content in files():
        (reader.folder / path).write_text(content)
    assert "passed" in reader.run(TEST)
    assert INSTALL == "python -m pip install ./haiku"
    reader.install("haiku")
    return reader


@pytest.fixture(scope="module")
def served(reader: Reader) -> Iterator[Served]:
    command = ["bash", "-euc", START.replace("python", "exec python")]
    with subprocess.Popen(
        command, cwd=reader.folder, env=reader.environ(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        patience = Timer(60, process.kill)
        patience.start()
        try:
            said = ""
            while "/docs" not in said and (line := process.stdout.readline()):
                said += line
            key, address = re.search(r"Demo key\s+(\S+)", said), re.search(r"(http://127\.0\.0\.1:\d+)/docs", said)
            assert key and address, said
            patience.cancel()
            yield Served(address[1], key[1])
        finally:
            patience.cancel()
            process.terminate()
            process.communicate(timeout=30)


def call(reader: Reader, served: Served, command: str) -> str:
    program("curl")
    assert ADDRESS in command
    return reader.run(command.replace(ADDRESS, served.address), KEY=served.key)


def test_the_skeleton_has_the_files_that_the_guide_shows(reader: Reader) -> None:
    shown = next(text for text in steps("text") if text.startswith("haiku/"))
    for line in shown.splitlines()[1:]:
        assert (reader.folder / "haiku" / line.split()[0]).is_file(), line


def test_whatever_the_guide_runs_comes_with_python_or_the_gateway_or_was_installed_before() -> None:
    there = {"pip", "gateway"}
    for command in steps("sh"):
        for install, run in re.findall(r"python -m (?:pip install (\w+)$|(\w+))", command, re.MULTILINE):
            assert install or run in there, command
            there.add(install or run)
    assert "pytest" in there


def test_a_mounted_directory_is_made_by_pip_and_read_where_the_image_looks(reader: Reader) -> None:
    assert "pip install --target projects ./haiku\n" in MOUNT
    assert "projects:/projects:ro" in MOUNT
    assert "echo /projects >" in (ROOT / "Dockerfile").read_text()


def test_the_project_answers_as_the_guide_says(reader: Reader, served: Served) -> None:
    reply = json.loads(call(reader, served, CALL))
    assert reply["text"].startswith("mock-model was told: “Write this haiku again")
    assert len(reply["remarks"]) == 2


def test_it_streams_the_events_that_the_guide_lists(reader: Reader, served: Served) -> None:
    told = re.findall(r"^event: (\w+)$", call(reader, served, STREAM), re.MULTILINE)
    assert set(told) == {"step", "delta", "reply", "usage", "done"} and told[-1] == "done"


def test_every_mode_of_the_guides_table_is_served(reader: Reader, served: Served) -> None:
    heading, *modes = re.findall(r"^\| `(\w+)`.*? \|", GUIDE, re.MULTILINE)
    assert (heading, modes) == ("stream_mode", ["json", "sse", "ndjson", "text"])
    for mode in modes:
        assert call(reader, served, STREAM.replace("stream_mode=sse", f"stream_mode={mode}"))


def test_the_example_of_settings_binds_every_role(reader: Reader) -> None:
    (example,) = steps("ini")
    more = dict(line.split("=", 1) for line in example.splitlines())
    more |= {"ANTHROPIC_API_KEY": "sk-a", "OPENAI_API_KEY": "sk-o", "GATEWAY_API_KEYS": f"me={KEY}"}
    reader.run("python -m gateway check", **more)
    for missing in [name for name in more if "ROLE" in name]:
        with pytest.raises(AssertionError, match=missing):
            reader.run("python -m gateway check", **{name: value for name, value in more.items() if name != missing})


def made_wheel(project: Path, folder: Path) -> Path:
    """A wheel as a build backend would make it from this project's pyproject.toml."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())
    name, version = declared["project"]["name"].replace("-", "_"), declared["project"]["version"]
    ((group, points),) = declared["project"]["entry-points"].items()
    info = f"{name}-{version}.dist-info"
    content = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {declared['project']['name']}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()),
    }
    for package in declared["tool"]["setuptools"]["packages"]:
        for file in sorted((project / package).glob("*.py")):
            content[f"{package}/{file.name}"] = file.read_text()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD")))
    return wheel

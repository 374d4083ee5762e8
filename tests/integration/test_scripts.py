"""What a newcomer types, in a folder with blanks in its name, with a home that cannot be written, from anywhere."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.needing import ROOT
from tests.process import free_port

SHIPPED = ("gateway", "scripts", ".ci", "requirements.txt", "tests/requirements.txt", "tests/environments")
TOOLS = ("sh", "dirname", "basename", "cmp", "cat", "cp", "rm", "tr", "echo", "env", "id", "uname")
"""The programs that any machine has: no Python among them."""

SETTING_UP = 600.0
STARTING = 30.0


def copied(folder: Path) -> Path:
    """What a clone would hold of the gateway and its scripts."""
    for name in SHIPPED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


@dataclass
class Shell:
    """Runs a clone's scripts from the root directory, in an environment that says nothing but what it is told."""

    clone: Path
    path: str = os.environ.get("PATH", "/usr/bin:/bin")
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, script: str, *arguments: str, out: Path, **environ: str) -> "subprocess.Popen[bytes]":
        with out.open("wb") as file:
            return subprocess.Popen(
                [self.clone / script, *arguments],
                cwd="/",
                env=self._environ(environ),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, script: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.clone / script, *arguments],
            cwd="/",
            env=self._environ(environ),
            capture_output=True,
            text=True,
            timeout=SETTING_UP,
        )

    def paste(self, text: str) -> str:
        done = subprocess.run(
            ["sh", "-c", text], cwd="/", env=self._environ({}), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _environ(self, environ: dict[str, str]) -> dict[str, str]:
        registry = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        return {**registry, "PATH": self.path, "HOME": "/nonexistent", **self.environ, **environ}


def until(promise: Callable[[], bool], seconds: float, process: "subprocess.Popen[bytes]") -> float:
    """How long it took until `promise` held."""
    begun = time.monotonic()
    while not promise():
        assert process.poll() is None, "it ended"
        assert time.monotonic() - begun < seconds, "it took too long"
        time.sleep(0.02)
    return time.monotonic() - begun


def stop(process: "subprocess.Popen[bytes]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=STARTING)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A fresh clone; the first test that runs something sets it up."""
    return Shell(copied(tmp_path_factory.mktemp("clones") / "a fresh clone"))


@pytest.fixture(scope="module")
def set_up(newcomer: Shell) -> Shell:
    """The same with its environment made."""
    done = newcomer.run("scripts/run", "--version")
    assert done.returncode == 0, done.stderr
    return newcomer


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """A clone on a machine that has no Python."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    return Shell(copied(tmp_path / "a clone"), path=str(tools))


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.integration
def test_the_first_command_sets_up_and_serves_what_can_be_pasted(newcomer: Shell, tmp_path: Path) -> None:
    out, port = tmp_path / "out", free_port()
    process = newcomer.start("scripts/run", out=out, GATEWAY_PORT=str(port))
    try:
        until(lambda: "API docs" in out.read_text(), SETTING_UP, process)
        told = out.read_text()
        assert "Making " in told
        assert "Installing requirements.txt" in told
        assert "Successfully installed" in told
        blocks = re.split(r"\n\n  (?=\S)", told.partition("Demo key")[2])
        document, stream, sdk = (block.partition("\n")[2] for block in blocks[1:4])
        assert '"object":"chat.completion"' in newcomer.paste(document)
        assert newcomer.paste(stream).rstrip().endswith("data: [DONE]")
        assert "Hello" in newcomer.paste(sdk)
        assert "<html" in newcomer.paste(f"curl -sf http://127.0.0.1:{port}/demo").lower()
        assert stop(process) == 0
    finally:
        stop(process)


@pytest.mark.integration
def test_a_second_start_takes_under_two_seconds(set_up: Shell, tmp_path: Path) -> None:
    took = []
    for attempt in range(3):
        out = tmp_path / f"out{attempt}"
        process = set_up.start("scripts/run", out=out, GATEWAY_PORT=str(free_port()))
        try:
            took.append(until(lambda out=out: "API docs" in out.read_text(), STARTING, process))  # type: ignore[misc]
        finally:
            stop(process)
        assert "Installing" not in out.read_text()
    assert min(took) < 2


@pytest.mark.integration
def test_a_port_that_is_taken_is_one_clear_line(set_up: Shell) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = set_up.run("scripts/run", GATEWAY_PORT=str(port))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"gateway: cannot listen on 127.0.0.1:{port}: ")
    assert "in use" in line


@pytest.mark.integration
def test_a_setting_that_is_wrong_is_one_clear_line(set_up: Shell) -> None:
    done = set_up.run("scripts/run", GATEWAY_PORT="eighty")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("gateway: GATEWAY_PORT: must be a whole number")


@pytest.mark.integration
def test_the_env_file_of_the_repository_is_read_from_anywhere(set_up: Shell) -> None:
    env_file = set_up.clone / ".env"
    env_file.write_text("GATEWAY_PORT=4711\n")
    try:
        done = set_up.run("scripts/run", "check")
    finally:
        env_file.unlink()
    assert done.returncode == 0
    assert re.search(r"GATEWAY_PORT +4711", done.stdout)


@pytest.mark.integration
def test_packages_are_installed_again_only_when_they_changed(set_up: Shell) -> None:
    requirements = set_up.clone / "requirements.txt"
    requirements.write_text(requirements.read_text() + "\n# and one more line\n")
    assert "Installing requirements.txt" in set_up.run("scripts/run", "--version").stderr
    assert set_up.run("scripts/run", "--version").stderr == ""


@pytest.mark.integration
def test_an_environment_that_broke_is_made_anew(bare: Shell) -> None:
    program(Path(bare.path) / "python3", 'case "$*" in *venv\\ --clear*) mkdir -p "$4"; echo made "$4" ;; esac')
    (bare.clone / ".venv/bin").mkdir(parents=True)
    (bare.clone / ".venv/bin/python").symlink_to("/nonexistent/python3")
    done = bare.run("scripts/run", "--version")
    assert f"made {bare.clone}/.venv" in done.stdout


@pytest.mark.parametrize("script", ["scripts/run", "scripts/test", "scripts/check", "scripts/settings"])
def test_a_missing_python_is_one_clear_line(bare: Shell, script: str) -> None:
    done = bare.run(script)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("gateway: Python 3.11 or newer is needed and was not found")


def test_a_python_that_is_too_old_is_none(bare: Shell) -> None:
    program(Path(bare.path) / "python3", 'case "$*" in *version_info*) exit 1 ;; esac')
    done = bare.run("scripts/run")
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_a_python_without_venv_is_one_clear_line(bare: Shell) -> None:
    program(Path(bare.path) / "python3.12", 'case "$*" in *ensurepip*) exit 1 ;; esac')
    done = bare.run("scripts/run")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("gateway: python3.12 cannot make virtual environments; install its venv module")


def test_a_python_may_be_named(bare: Shell, tmp_path: Path) -> None:
    named = tmp_path / "my python"
    program(named, 'case "$*" in *ensurepip*) exit 1 ;; esac')
    assert f"gateway: {named} cannot make virtual environments" in bare.run("scripts/run", PYTHON=str(named)).stderr


def test_packages_that_cannot_be_installed_are_told(bare: Shell) -> None:
    program(bare.clone / ".venv/bin/python", 'case "$*" in *pip\\ install*) echo "no network" >&2; exit 1 ;; esac')
    for _ in range(2):
        done = bare.run("scripts/run")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "gateway: the packages of requirements.txt could not be installed; see above"
        )


@pytest.fixture
def recorded(bare: Shell) -> Iterator[tuple[Shell, Path]]:
    """A clone whose interpreters and scripts' tools only write down what they are asked to do."""
    calls = bare.clone / "calls"
    names = [".venv", *(f".venv-{file.stem}" for file in (ROOT / "tests/environments").glob("*.txt"))]
    for name in names:
        program(
            bare.clone / name / "bin/python", f'[ "$1" = -c ] || echo "{name} $*" >>"{calls}"; exit "${{FAILS:-0}}"'
        )
    yield bare, calls


def asked(calls: Path) -> list[str]:
    return [line for line in calls.read_text().splitlines() if "pip install" not in line]


def test_the_second_command_runs_the_whole_suite_with_what_it_needs(recorded: tuple[Shell, Path]) -> None:
    shell, calls = recorded
    assert shell.run("scripts/test").returncode == 0
    [run] = asked(calls)
    assert run.startswith(".venv -m pytest --numprocesses 3 ")
    assert run.endswith(" --cov --cov-report=term")
    installed = [line for line in calls.read_text().splitlines() if "pip install" in line]
    assert sorted(re.sub(r"-m .*a clone/", "", line) for line in installed) == sorted(
        [
            ".venv requirements.txt",
            ".venv tests/requirements.txt",
            *(
                f".venv-{file.stem} tests/environments/{file.name}"
                for file in (ROOT / "tests/environments").glob("*.txt")
            ),
        ]
    )


def test_the_second_command_runs_what_it_is_told(recorded: tuple[Shell, Path]) -> None:
    shell, calls = recorded
    assert shell.run("scripts/test", "-k", "two words").returncode == 0
    assert asked(calls) == [".venv -m pytest -k two words"]


def test_the_check_runs_every_tool_even_if_one_fails(recorded: tuple[Shell, Path]) -> None:
    shell, calls = recorded
    expected = [".venv -m ruff format --check .", ".venv -m ruff check .", ".venv -m mypy"]
    assert shell.run("scripts/check").returncode == 0
    assert asked(calls) == expected
    program(
        shell.clone / ".venv/bin/python",
        f'[ "$1" = -c ] || echo ".venv $*" >>"{calls}"; case "$*" in *format*) exit 1 ;; esac',
    )
    calls.write_text("")
    assert shell.run("scripts/check").returncode == 1
    assert asked(calls) == expected


@pytest.mark.parametrize(("user", "first"), [("0", "apt-get"), ("1000", "sudo")])
def test_continuous_integration_installs_what_is_missing_and_requires_everything(
    bare: Shell, tmp_path: Path, user: str, first: str
) -> None:
    calls, tools = tmp_path / "calls", Path(bare.path)
    (tools / "id").unlink()
    program(tools / "id", f"echo {user}")
    program(tools / "sudo", f'echo "sudo $1" >>"{calls}"; exec "$@"')
    program(tools / "apt-get", f'echo "apt-get $* $DEBIAN_FRONTEND" >>"{calls}"')
    for name in ("nginx", "curl", "jq", "git", "openssl", "prometheus", "promtool"):
        program(tools / name, "exit 0")
    for name in ("check", "test"):
        program(bare.clone / f"scripts/{name}", f'echo "{name} $GATEWAY_TEST_REQUIRE" >>"{calls}"')
    assert bare.run(".ci/run").returncode == 0
    lines = calls.read_text().splitlines()
    assert lines[0].split()[0] == first
    assert [line for line in lines if not line.startswith("sudo")] == [
        "apt-get update ",
        "apt-get install --yes --no-install-recommends redis-server chromium socat "
        "buildah crun mmdebstrap nodejs npm kubernetes-client systemd python3 python3-venv noninteractive",
        "check all",
        "test all",
    ]

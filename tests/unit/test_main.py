"""`python -m gateway`: environment in, exit code out."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gateway
from gateway import __main__ as command
from gateway.access.keys import new_key, parse
from gateway.configuration import Configuration
from tests.needing import ROOT

SECRET, OTHER, THIRD = new_key(), new_key(), new_key()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment and a directory that say nothing."""
    monkeypatch.setattr("os.environ", {})
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `serve` was called with; it announces an address and ends well."""
    calls = []

    def serve(configuration: Configuration, reload: Any, announce: Any) -> int:
        calls.append((configuration, reload))
        announce("http://127.0.0.1:4711")
        return 0

    module = ModuleType("gateway.serve")
    module.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.serve", module)
    return calls


def test_check_shows_what_is_configured_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {
        "GATEWAY_API_KEYS": f"team-a={SECRET};providers=openai;expires=2020-01-01,b={OTHER},c={THIRD};projects=demo",
        "OPENAI_API_KEY": "sk-very-secret",
        "GATEWAY_PORT": "9000",
        "GATEWAY_PROT": "1",
    }
    monkeypatch.setattr("os.environ", environ)
    assert command.main(["check"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "GATEWAY_PORT 9000",
        "GATEWAY_HOST 127.0.0.1 default",
        "GATEWAY_API_KEYS ***",
        "OPENAI_API_KEY ***",
        "openai on by OPENAI_API_KEY https://api.openai.com openai",
        "azure-openai off set AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT",
        "team-a providers=openai projects=none expires=2020-01-02T00:00:00+00:00 expired",
        "b providers=* projects=*",
        "c providers=none projects=demo",
        "GATEWAY_API_KEYS: c may use demo, which is not a project that is served",
        "GATEWAY_PROT is not a setting of this gateway",
    ):
        assert line in lines
    assert SECRET not in "".join(lines)
    assert "sk-very-secret" not in "".join(lines)


def test_check_shows_the_embedded_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check"]) == 0
    out = capsys.readouterr().out
    assert "mock  on  the embedded default" in out
    assert "gw_" not in out


@pytest.mark.parametrize("name", ["check", "serve"])
def test_every_problem_is_one_line_and_the_command_fails(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[Any]
) -> None:
    monkeypatch.setattr("os.environ", {"GATEWAY_PORT": "eighty", "GATEWAY_IDLE_TIMEOUT": "never"})
    assert command.main([name]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "gateway: GATEWAY_PORT: must be a whole number, at least 0, at most 65535",
        "gateway: GATEWAY_IDLE_TIMEOUT: must be a number of seconds, above 0 and at most a year",
    ]
    assert captured.out == ""
    assert served == []


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_without_a_command_it_serves(arguments: list[str], served: list[Any]) -> None:
    assert command.main(arguments) == 0
    assert len(served) == 1


def test_the_embedded_default_tells_the_first_steps(capsys: pytest.CaptureFixture[str], served: list[Any]) -> None:
    command.main(["serve"])
    out = capsys.readouterr().out
    key = served[0][0].demo_key.reveal()
    assert f"curl -s 'http://127.0.0.1:4711/provider/mock/v1/chat/completions' -H 'X-API-Key: {key}'" in out
    assert "curl -N -s 'http://127.0.0.1:4711/provider/mock/v1/chat/completions'" in out
    assert f"OPENAI_BASE_URL='http://127.0.0.1:4711/provider/mock/v1' OPENAI_API_KEY={key}" in out
    assert "http://127.0.0.1:4711/demo" in out
    assert "http://127.0.0.1:4711/docs" in out
    commands = [line for line in out.replace("\\\n", " ").splitlines() if line.startswith("    curl")]
    assert [shlex.split(line)[0] for line in commands] == ["curl", "curl"]


def test_several_workers_are_left_to_a_supervisor(monkeypatch: pytest.MonkeyPatch, served: list[Any]) -> None:
    supervised = []

    def supervise(configuration: Configuration, worker: list[str], announce: Any) -> int:
        supervised.append(worker)
        return 0

    module = ModuleType("gateway.supervise")
    module.supervise = supervise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gateway.supervise", module)
    monkeypatch.setattr("os.environ", {"GATEWAY_WORKERS": "2"})
    Path("other.env").touch()
    assert command.main(["--env-file", "other.env"]) == 0
    assert supervised == [[sys.executable, "-m", "gateway", "worker", "--env-file", "other.env"]]
    assert served == []


def test_a_worker_is_nothing_without_its_supervisor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with (tmp_path / "no-socket").open("w") as file:
        assert command.main(["worker", str(file.fileno())]) == 2
    assert capsys.readouterr().err == "gateway: workers are started by `python -m gateway serve`\n"


def test_what_is_configured_is_served_without_a_word_but_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[Any]
) -> None:
    monkeypatch.setattr("os.environ", {"GATEWAY_API_KEYS": f"a={SECRET}", "OPENAI_API_KEY": "k", "GATEWAY_X": "1"})
    assert command.main([]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "gateway: warning: GATEWAY_X is not a setting of this gateway\n"


def test_a_reload_reads_the_env_file_anew(tmp_path: Path, served: list[Any]) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"OPENAI_API_KEY=k\nGATEWAY_API_KEYS=a={SECRET}\n")
    command.main(["serve"])
    configuration, reload = served[0]
    assert [client.id for client in configuration.clients] == ["a"]
    env_file.write_text(f"OPENAI_API_KEY=k\nGATEWAY_API_KEYS=b={SECRET}\n")
    assert [client.id for client in reload().clients] == ["b"]


@pytest.mark.parametrize("arguments", [["--env-file"], ["serve", "--env-file"]])
def test_another_env_file_may_be_named(arguments: list[str], tmp_path: Path, served: list[Any]) -> None:
    (tmp_path / ".env").write_text("GATEWAY_PORT=1111\n")
    other = tmp_path / "other env"
    other.write_text("GATEWAY_PORT=2222\n")
    assert command.main([*arguments, str(other)]) == 0
    assert served[0][0].settings.server.port == 2222


def test_an_env_file_that_was_named_must_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", "--env-file", "missing"]) == 2
    assert capsys.readouterr().err == "gateway: missing: there is no such file\n"


def test_a_new_key_is_shown_once_with_the_entry_that_lets_it_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["keys", "new", "team-a"]) == 0
    captured = capsys.readouterr()
    secret, entry = captured.out.splitlines()
    [key], problems = parse(entry)
    assert problems == []
    assert key.client.id == "team-a"
    assert parse(f"team-a={secret}")[0][0].digest == key.digest
    assert secret not in captured.err


@pytest.mark.parametrize("id", ["", "a b", "a=b", "a,b", "x" * 65])
def test_an_id_that_no_entry_could_hold_is_refused(id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["keys", "new", id]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gateway: an ID is 1 to 64 of")


@pytest.mark.parametrize(
    ("form", "line"), [("env", "# GATEWAY_PORT=8080"), ("markdown", "| `GATEWAY_PORT` | `8080` |")]
)
def test_every_setting_is_listed(form: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["settings", "--format", form]) == 0
    out = capsys.readouterr().out
    assert line in out
    for name in ("GATEWAY_API_KEYS_FILE", "OPENAI_API_KEY", "GATEWAY_PROVIDER_<NAME>_BASE_URL"):
        assert name in out


def test_the_list_of_settings_does_not_depend_on_what_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["settings"])
    bare = capsys.readouterr().out
    monkeypatch.setattr(
        "os.environ", {"GATEWAY_IDLE_TIMEOUT": "7", "GATEWAY_PROVIDER_OPENAI_MODELS": "a", "GATEWAY_PORT": "x"}
    )
    command.main(["settings"])
    assert capsys.readouterr().out == bare


def test_the_document_of_what_would_be_served_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["openapi"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["openapi"].startswith("3.1")
    assert any(path.startswith("/provider/mock/") for path in document["paths"])


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"gateway {gateway.__version__}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["keys"], ["keys", "old"], ["serve", "--port", "1"]])
def test_a_command_that_is_none_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command.main(arguments)
    assert left.value.code == 2
    assert "usage: python -m gateway" in capsys.readouterr().err


def without(package: str, folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """How a command ends, and what it writes, where `package` cannot be imported."""
    (folder / f"{package}.py").write_text("raise ModuleNotFoundError(\"No module named 'async_timeout'\")\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", "GATEWAY_PORT": "0", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("name", ["check", "serve"])
def test_a_package_that_only_redis_needs_is_missed_by_check_too(name: str, workers: str, tmp_path: Path) -> None:
    variables = {"GATEWAY_API_KEYS": f"a={SECRET}", "OPENAI_API_KEY": "sk-a", "GATEWAY_WORKERS": workers}
    if name == "check":
        code, out, err = without("redis", tmp_path, name, **variables)
        assert (code, "GATEWAY_WORKERS" in out, err) == (0, True, "")
    code, out, err = without("redis", tmp_path, name, **variables, GATEWAY_REDIS_URL="redis://127.0.0.1:1")
    assert "cannot be imported: No module named 'async_timeout'" in out + err
    assert "Traceback" not in out + err
    assert code == (2 if (name, workers) != ("serve", "2") else 1)


def test_check_misses_what_every_configuration_needs(tmp_path: Path) -> None:
    code, out, err = without("uvloop", tmp_path, "check")
    assert (code, "embedded default" in out) == (2, True)
    assert err == (
        "gateway: a package that this configuration needs cannot be imported: No module named 'async_timeout'; "
        "requirements.lock lists all of them\n"
    )


def test_outside_its_environment_the_gateway_says_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "gateway", "keys", "new", "alice"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gateway: its packages are not installed here; scripts/run makes .venv/bin/python\n"

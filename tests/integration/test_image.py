"""The Dockerfile gives what it says: really built and run, without a container engine.

Some two minutes, so only as root where everything is required, or with GATEWAY_TEST_IMAGE=1.
"""

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import gateway
from gateway.projects.skeleton import write_skeleton
from tests import needing
from tests.integration.image import BASE, IMAGE, Image, built, descendants
from tests.process import free_port

pytestmark = pytest.mark.integration

KEY = "gw_alice-3f9c1e7a5b2d4860-9e8d7c6b5a4f3e2d"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASKED_FOR = "all" in os.environ.get("GATEWAY_TEST_REQUIRE", "") or "GATEWAY_TEST_IMAGE" in os.environ
OUR_MEGABYTES = 115
README = (needing.ROOT / "README.md").read_text()
SERVES_AND_TAKES_FILES = {"/tmp", "/var/tmp", "/run/lock", "/dev/shm"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not ASKED_FOR:
        needing.missing("building the image takes two minutes: GATEWAY_TEST_IMAGE=1 asks for it")
    if os.geteuid():
        needing.missing("building the image without a container engine needs root")
    image = built(tmp_path_factory.mktemp("image"), {"VERSION": gateway.__version__, "COMMIT": COMMIT})
    yield image
    image.storage.run("umount", "--all")
    image.storage.run("rm", "--all")
    image.storage.run("rmi", "--all", "--force")


def test_it_tells_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == gateway.__version__
    assert labels["org.opencontainers.image.revision"] == COMMIT
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image.says("python", "-m", "gateway", "--version").strip() == f"gateway {gateway.__version__}"


def test_it_runs_as_nobody_in_particular_who_can_change_nothing(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.says("id", "-u").strip() == "10001"
    writable = image.says("sh", "-c", "find / -xdev -not -path '/proc/*' -not -type l -writable 2>/dev/null; true")
    assert set(writable.split()) <= SERVES_AND_TAKES_FILES


def test_nothing_in_it_builds_or_installs(image: Image) -> None:
    for command in ("pip", "pip3", "gcc", "cc", "make", "curl", "git"):
        assert image.exit_code("sh", "-c", f"command -v {command}") != 0, command
    assert image.exit_code("python", "-m", "pip", "--version") != 0
    assert image.exit_code("python", "-c", "import setuptools") != 0


def test_no_secret_that_lay_beside_the_code_is_in_it(image: Image) -> None:
    found = subprocess.run(["grep", "-rlI", "CANARY-IN-", str(image.files)], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")
    assert (image.files / "opt/gateway/bin/python").is_symlink()


def test_it_holds_the_locked_versions(image: Image) -> None:
    command = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    names = re.compile(r"[-_.]+")
    installed = {names.sub("-", each).lower() for each in image.says("python", "-c", command).split()}
    lock = Path(needing.ROOT / "requirements.lock").read_text()
    locked = {names.sub("-", f"{name}=={version}").lower() for name, version in re.findall(r"(?m)^(\S+)==(\S+)", lock)}
    assert installed - locked == {f"llm-gateway=={gateway.__version__}".replace(".", "-")}
    assert locked <= installed


def test_with_redis_nothing_is_missing_whichever_python_3_11_it_is(image: Image) -> None:
    variables = {"GATEWAY_API_KEYS": f"alice={KEY}", "OPENAI_API_KEY": "sk-unused-8c6f1f2e3d4b5a69"}
    redis = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:6379/0"}
    assert image.exit_code("python", "-m", "gateway", "check", **variables, **redis) == 0


def test_it_adds_little_to_its_base_and_the_readme_says_how_much(image: Image) -> None:
    sizes = image.size
    added = (sizes[IMAGE] - sizes[BASE]) / 1e6
    said = re.search(r"It adds (\d+) MB", (needing.ROOT / "README.md").read_text())
    assert said is not None
    assert added == pytest.approx(int(said[1]), rel=0.1)
    assert added < OUR_MEGABYTES


async def test_it_serves_tells_its_health_and_stops_when_told(image: Image) -> None:
    port = str(free_port())
    check = image.config["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert image.exit_code(*check[1:], GATEWAY_PORT=port) == 1
    keys = {"GATEWAY_API_KEYS": f"alice={KEY}", "OPENAI_API_KEY": "sk-unused-8c6f1f2e3d4b5a69"}
    async with image.running(GATEWAY_PORT=port, **keys) as process:
        health = await _asked(f"http://127.0.0.1:{port}/health")
        assert (health["version"], health["build"]) == (gateway.__version__, COMMIT)
        assert image.exit_code(*check[1:], GATEWAY_PORT=port) == 0
        serving = [pid for pid in descendants(process.pid) if b"gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(serving[-1], signal.SIGTERM)
        async with asyncio.timeout(10):
            written, _ = await process.communicate()
        assert process.returncode == 0, written
        assert b"stopped" in written


async def test_without_a_configuration_it_says_what_it_needs(image: Image) -> None:
    async with image.running(GATEWAY_PORT=str(free_port())) as process:
        async with asyncio.timeout(20):
            written, _ = await process.communicate()
    assert process.returncode != 0
    assert b"GATEWAY_API_KEYS" in written
    assert b"Traceback" not in written


async def test_the_demo_is_one_line(image: Image) -> None:
    assert "\n    docker run --rm --network host --env GATEWAY_HOST=127.0.0.1 llm-gateway\n" in README
    port = str(free_port())
    async with image.running(GATEWAY_HOST="127.0.0.1", GATEWAY_PORT=port):
        assert (await _asked(f"http://127.0.0.1:{port}/health"))["version"] == gateway.__version__


def test_a_project_gets_in_by_the_guides_dockerfile_or_by_a_mounted_directory(image: Image, tmp_path: Path) -> None:
    write_skeleton("haiku", tmp_path)
    (recipe,) = re.findall(r"(?ms)^```dockerfile\n(.*?)^```$", (needing.ROOT / "docs/projects.md").read_text())
    assert "\nFROM llm-gateway\n" in recipe
    (tmp_path / "Dockerfile").write_text(recipe.replace("FROM llm-gateway\n", f"FROM {IMAGE}\n"))
    own = image.with_layers_of(tmp_path, "localhost/llm-gateway:haiku")
    bound = {"GATEWAY_PROJECT_HAIKU_ROLE_WRITER": "openai/gpt-4o-mini"}
    keys = {"GATEWAY_API_KEYS": f"alice={KEY}", "OPENAI_API_KEY": "sk-unused-8c6f1f2e3d4b5a69"}
    assert own.exit_code("python", "-m", "gateway", "check", **bound, **keys) == 0
    named = {"GATEWAY_PROJECTS": "haiku", **bound, **keys}
    assert image.exit_code("python", "-m", "gateway", "check", **named) == 2
    mounted = own.files / "projects"
    assert image.exit_code("python", "-m", "gateway", "check", mount=(mounted, "/projects"), **named) == 0


def test_what_lies_in_projects_replaces_nothing_of_the_image(image: Image, tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit(9)")
    tmp_path.chmod(0o755)
    assert image.exit_code("python", "-c", "import aiohttp", mount=(tmp_path, "/projects")) == 0


async def _asked(url: str) -> dict[str, str]:
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            try:
                async with session.get(url) as response:
                    answer: dict[str, str] = await response.json()
                    return answer
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)

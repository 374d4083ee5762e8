"""docker-compose.yml says what it should, profile by profile; the same topology really runs in `test_topology.py`."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.configuration import load
from tests.integration.topology import KEYS
from tests.needing import ROOT, tool

pytestmark = pytest.mark.integration

COMPOSE = ROOT / "docker-compose.yml"
SERVICES = {
    "demo": {"gateway-demo", "nginx-demo", "mock", "redis", "phoenix", "prometheus", "grafana"},
    "test": {"gateway-demo", "nginx-demo", "mock", "redis", "phoenix", "prometheus", "suite"},
    "production": {"gateway", "nginx", "redis", "phoenix", "prometheus", "grafana"},
}
ASKED_BY_NOBODY = {"suite"}  # it ends by itself
HEALTH_IN_THE_IMAGE = {"gateway", "gateway-demo"}
WRITES = {"phoenix", "suite"}
A_PODMAN = '#!/bin/sh\necho "podman version 5.0.0"\n'


def complaints(path: Path) -> str:
    """What the schema has against it."""
    command = [tool(".venv-tools", "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(params=list(SERVICES))
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def services(profile: str, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The services of a profile, as a compose implementation resolves them."""
    program = tool(".venv-tools", "podman-compose")
    (tmp_path / "podman").write_text(A_PODMAN)
    (tmp_path / "podman").chmod(0o755)
    done = subprocess.run(
        [program, "--file", str(COMPOSE), "--profile", profile, "config"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    resolved: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return resolved


def test_it_is_what_the_schema_says_and_the_schema_would_tell(tmp_path: Path) -> None:
    assert complaints(COMPOSE) == ""
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    assert "healthchek" in complaints(broken)


def test_each_profile_has_its_services(profile: str, services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == SERVICES[profile]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)


def test_no_port_is_open_beyond_loopback_but_nginxs_in_production(
    profile: str, services: dict[str, dict[str, Any]]
) -> None:
    ports = {name: port for name, service in services.items() for port in service.get("ports", [])}
    beyond = {name for name, port in ports.items() if not port.startswith("127.0.0.1:")}
    assert beyond == ({"nginx"} if profile == "production" else set())


def test_every_service_is_asked_for_its_health(services: dict[str, dict[str, Any]]) -> None:
    asked = {name for name, service in services.items() if "healthcheck" in service}
    assert set(services) - asked <= HEALTH_IN_THE_IMAGE | ASKED_BY_NOBODY
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_services_can_do_no_more_than_they_must(services: dict[str, dict[str, Any]]) -> None:
    for name in set(services) - ASKED_BY_NOBODY:
        assert services[name]["cap_drop"] == ["ALL"], name
        assert services[name]["security_opt"] == ["no-new-privileges:true"], name
    assert {name for name, service in services.items() if not service.get("read_only")} <= WRITES


def test_the_gateway_can_be_scaled(services: dict[str, dict[str, Any]]) -> None:
    for name in HEALTH_IN_THE_IMAGE & set(services):
        gateway = services[name]
        assert not gateway.keys() & {"ports", "container_name", "hostname"}
        assert gateway["environment"]["GATEWAY_REDIS_URL"] == "redis://redis:6379/0"
    upstream = (ROOT / "nginx/upstream.conf").read_text()
    assert "server gateway:8080" in upstream


def test_the_gateway_believes_nginx_and_nothing_beyond_about_its_clients(services: dict[str, dict[str, Any]]) -> None:
    for name in HEALTH_IN_THE_IMAGE & set(services):
        trusted = load(_demo(services[name])).settings.proxies.trusted
        assert trusted
        assert all(network.is_private for network in trusted)


def test_a_stop_waits_longer_than_the_gateway_drains(services: dict[str, dict[str, Any]]) -> None:
    for name in HEALTH_IN_THE_IMAGE & set(services):
        server = load({**_demo(services[name])}).settings.server
        assert int(services[name]["stop_grace_period"].rstrip("s")) > server.drain_delay + server.drain_timeout + 5


def test_what_is_mounted_is_there_and_cannot_be_changed(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for mount in service.get("volumes", []):
            source, _, target = mount.partition(":")
            if source.startswith(".") and source not in ("./tls", "./keys"):
                assert (ROOT / source).exists(), source
                assert target.endswith(":ro"), mount


def test_images_are_of_a_version(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        if "build" not in service:
            assert re.search(r":[\w-]*\d+\.\d+[\w.-]*$", service["image"]), service["image"]


def test_no_secret_stands_in_it_but_the_demos() -> None:
    production = yaml.safe_load(COMPOSE.read_text())["services"]["gateway"]
    secrets = [name for name in production["environment"] if re.search("KEY|SECRET|TOKEN|PASSWORD", name)]
    assert secrets == ["GATEWAY_API_KEYS_FILE"]


def test_client_keys_are_read_from_a_mounted_directory_so_that_they_can_be_revoked() -> None:
    production = yaml.safe_load(COMPOSE.read_text())["services"]["gateway"]
    (mount,) = production["volumes"]
    folder = mount.removeprefix("${KEYS_DIRECTORY:-./keys}:").removesuffix(":ro")
    assert Path(production["environment"]["GATEWAY_API_KEYS_FILE"]).parent == Path(folder)


def test_the_gateway_can_be_started_with_what_the_demo_tells_it() -> None:
    environment = yaml.safe_load(COMPOSE.read_text())["services"]["gateway-demo"]["environment"]
    configuration = load({name: str(value) for name, value in environment.items()})
    assert {provider.name for provider in configuration.providers} == {"mock", "openai", "anthropic", "gemini"}
    assert configuration.demo_key is None


def test_the_suite_is_given_what_runs_beside_it_and_the_keys_it_knows() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    given = services["suite"]["environment"]
    hosts = {name: value.split("//")[1].split(":")[0] for name, value in given.items() if value.startswith("http")}
    assert hosts == {
        "GATEWAY_TEST_URL": "nginx-demo",
        "GATEWAY_TEST_METRICS": "gateway",
        "GATEWAY_TEST_PROMETHEUS": "prometheus",
        "GATEWAY_TEST_PHOENIX": "phoenix",
    }
    assert set(services["suite"]["depends_on"]) == {"nginx-demo", "mock", "prometheus", "phoenix"}
    taken = re.split(r",\s*", services["gateway-demo"]["environment"]["GATEWAY_API_KEYS"])
    assert taken == [f"demo={given['GATEWAY_TEST_KEY']}", *KEYS[1:]]
    assert "tests/integration/test_topology.py" in (ROOT / "tests/Dockerfile").read_text()


def _demo(service: dict[str, Any]) -> dict[str, str]:
    """An environment that can be loaded, whatever is yet to come from an `.env`."""
    lacking = {"GATEWAY_API_KEYS": "a=gw_a-5f1d0c9e8b7a6f3e2d1c0b9a8f7e6d5c", "OPENAI_API_KEY": "sk-8c6f1f2e3d4b5a69"}
    given = {name: str(value) for name, value in service["environment"].items() if not name.endswith("_FILE")}
    return {**lacking, **given}

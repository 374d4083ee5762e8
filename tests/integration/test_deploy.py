"""The manifests, the chart and the unit in `deploy/`: rendered by the real tools, and checked against the schemas."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway
from gateway.configuration import load
from gateway.serve import LAST_WORDS_SECONDS
from gateway.telemetry import metric_table
from tests.needing import ROOT, program, tool
from tests.running import KEY

pytestmark = pytest.mark.integration

MANIFESTS, CHART, UNIT = (
    ROOT / "deploy" / each for each in ("kubernetes", "helm/llm-gateway", "systemd/llm-gateway.service")
)
OLDEST, NEWEST = "1.25", "1.37"
OPERATOR = "@kubernetes-models/prometheus-operator@6.0.0"
EVERYTHING = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "autoscaling": {"enabled": True},
    "podAnnotations": {"example.org/a": "b"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "imagePullSecrets": [{"name": "registry"}],
}
RENDER = """
import json, sys, helm_python as helm
path, values = sys.argv[1], json.loads(sys.argv[2])
rendered = helm.Chart.load(path).render(values, name="prod", namespace="models")
print(json.dumps({"rendered": rendered, "lint": helm.lint(path, values, strict=True)}))
"""
VALIDATE = """
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
new ServiceMonitor(JSON.parse(process.argv[2])).validate();
"""
FORBID_WRITABLE_CODE = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
sys.exit(77) if ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) else None
os.execv(sys.executable, [sys.executable, "-m", "gateway", *sys.argv[1:]])
"""
KINDS = {"Deployment", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"}
WITH_MONITORING = {"ServiceMonitor", "HorizontalPodAutoscaler"}

Objects = dict[str, dict[str, Any]]


def by_kind(text: str) -> Objects:
    return {each["kind"]: each for each in yaml.safe_load_all(text) if each}


def kustomized(folder: Path) -> Objects:
    command = [program("kubectl", "kubernetes-client"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return by_kind(done.stdout)


def helm(values: Mapping[str, Any], chart: Path = CHART) -> tuple[Objects, list[dict[str, Any]]]:
    """What the chart renders with these values, and what lint says."""
    command = [tool(".venv-kubernetes", "python"), "-c", RENDER, str(chart), json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return by_kind("\n---\n".join(answer["rendered"].values())), answer["lint"]["messages"]


@pytest.fixture(scope="module", params=["kustomize", "helm", "helm with everything"])
def objects(request: pytest.FixtureRequest) -> Objects:
    if request.param == "kustomize":
        return kustomized(MANIFESTS) | kustomized(MANIFESTS / "monitoring")
    return helm(EVERYTHING if "everything" in request.param else {})[0]


def complaints(objects: Objects, version: str, folder: Path) -> str:
    """What the schemas of this Kubernetes have against them; a ServiceMonitor is none of its own."""
    (folder / "objects.yaml").write_text(
        yaml.safe_dump_all(each for kind, each in objects.items() if kind != "ServiceMonitor")
    )
    command = [tool(".venv-kubernetes", "kubernetes-validate"), "--kubernetes-version", version, "--strict", "--quiet"]
    done = subprocess.run([*command, str(folder / "objects.yaml")], capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_objects_are_what_kubernetes_schemas_say(objects: Objects, version: str, tmp_path: Path) -> None:
    assert KINDS <= set(objects)
    assert complaints(objects, version, tmp_path) == ""
    broken = json.loads(json.dumps(objects))
    broken["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    assert "terminationGracePeriod" in complaints(broken, version, tmp_path)


def test_the_service_monitors_are_what_the_operators_schema_says(tmp_path: Path) -> None:
    install = [program("npm"), "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), OPERATOR]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    (tmp_path / "validate.mjs").write_text(VALIDATE)

    def exit_code(monitor: dict[str, Any]) -> int:
        command = [program("node", "nodejs"), str(tmp_path / "validate.mjs"), json.dumps(monitor)]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    for objects in (kustomized(MANIFESTS / "monitoring"), helm(EVERYTHING)[0]):
        monitor = objects["ServiceMonitor"]
        assert exit_code(monitor) == 0
        assert monitor["spec"]["endpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]
        monitor["spec"]["endpoints"][0]["interval"] = "often"
        assert exit_code(monitor) != 0


def test_helm_has_nothing_against_the_chart_and_would_have(tmp_path: Path) -> None:
    for values in ({}, EVERYTHING):
        assert [each["error"] for each in helm(values)[1]] == ["icon is recommended"]
    assert WITH_MONITORING & set(helm({})[0]) == set()
    assert WITH_MONITORING <= set(helm(EVERYTHING)[0])
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: broken\nversion: 1.0.0\ndependencies: [{name: absent}]\n"
    )
    assert [each["error"] for each in helm({}, tmp_path)[1]] != ["icon is recommended"]


def test_pods_are_probed_and_have_time_to_drain(objects: Objects) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probed = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert probed == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    server = load(environment(objects)).settings.server
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (command, server.drain_delay > 0) == ("sleep", True)
    drained = int(seconds) + server.drain_delay + server.drain_timeout + LAST_WORDS_SECONDS
    assert pod["terminationGracePeriodSeconds"] > drained + 5


def test_longer_drains_are_given_more_time_by_the_chart() -> None:
    objects, _ = helm({"drain": {"timeout": 600}})
    assert objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 620
    assert objects["ConfigMap"]["data"]["GATEWAY_DRAIN_TIMEOUT"] == "600"


def test_pods_can_do_no_more_than_they_must(objects: Objects) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is objects["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()


def test_secrets_are_files_and_the_gateway_starts_with_them(objects: Objects, tmp_path: Path) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (mount,), (volume,) = pod["containers"][0]["volumeMounts"], pod["volumes"]
    assert (mount["name"], volume["secret"]["secretName"]) == (volume["name"], "llm-gateway")
    assert (mount["readOnly"], mount.get("subPath"), volume["secret"]["defaultMode"]) == (True, None, 0o440)
    data = objects["ConfigMap"]["data"]
    files = {name: value for name, value in data.items() if name.endswith("_FILE")}
    assert set(files) == {"GATEWAY_API_KEYS_FILE", "OPENAI_API_KEY_FILE"}
    assert all(value.startswith(mount["mountPath"] + "/") for value in files.values())
    (tmp_path / "client-keys").write_text(f"alice={KEY}\n")
    (tmp_path / "openai-api-key").write_text("sk-unused-8c6f1f2e3d4b5a69\n")
    there = {name: value.replace(mount["mountPath"], str(tmp_path)) for name, value in data.items()}
    configuration = load(there)
    assert configuration.warnings == ()
    assert [provider.name for provider in configuration.providers] == ["openai"]


def test_metrics_are_on_a_port_that_only_monitoring_reaches(objects: Objects) -> None:
    settings = load(environment(objects)).settings.metrics
    ports = {
        each["name"]: each["containerPort"]
        for each in objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert settings.on_own_listener
    assert ports == {"http": 8080, "metrics": settings.port}
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in objects["NetworkPolicy"]["spec"]["ingress"]}
    assert rules["http"] is None
    assert rules["metrics"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert {each["name"]: each["targetPort"] for each in objects["Service"]["spec"]["ports"]} == {
        "http": "http",
        "metrics": "metrics",
    }


def test_what_goes_out_is_listed_and_the_clouds_metadata_is_not(objects: Objects) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6379, 6006}
    (anywhere,) = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", []) if "ipBlock" in to]
    assert anywhere["except"] == ["169.254.0.0/16"]


def test_every_selector_finds_the_pods(objects: Objects) -> None:
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        objects["Deployment"]["spec"]["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    if "ServiceMonitor" in objects:
        chosen = objects["ServiceMonitor"]["spec"]["selector"]["matchLabels"]
        assert chosen.items() <= objects["Service"]["metadata"]["labels"].items()


def test_it_scales_on_a_metric_that_the_gateway_has() -> None:
    for objects in (kustomized(MANIFESTS) | kustomized(MANIFESTS / "monitoring"), helm(EVERYTHING)[0]):
        scaler = objects["HorizontalPodAutoscaler"]["spec"]
        assert scaler["scaleTargetRef"]["name"] == objects["Deployment"]["metadata"]["name"]
        (metric,) = scaler["metrics"]
        assert metric["pods"]["metric"]["name"] == metric_table.UPSTREAM_IN_FLIGHT.name
        assert metric["pods"]["target"]["type"] == "AverageValue"
    assert "replicas" not in helm(EVERYTHING)[0]["Deployment"]["spec"]
    assert metric_table.UPSTREAM_IN_FLIGHT.name in (MANIFESTS / "README.md").read_text()


def test_changed_settings_roll_the_pods() -> None:
    def annotations(**settings: str) -> Any:
        return helm({"settings": settings})[0]["Deployment"]["spec"]["template"]["metadata"]["annotations"]

    assert annotations() == annotations() != annotations(GATEWAY_LOG_FORMAT="text")
    named = kustomized(MANIFESTS)
    (source,) = named["Deployment"]["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    assert source["configMapRef"]["name"] == named["ConfigMap"]["metadata"]["name"] != "llm-gateway"


def test_they_deploy_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (image,) = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["images"]
    assert chart["version"] == chart["appVersion"] == image["newTag"] == gateway.__version__


def test_systemd_has_nothing_against_the_unit_and_finds_it_well_confined(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", "systemd")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/llm-gateway/.venv/bin/python", sys.executable))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    rated = [analyze, "security", "--offline=true", "--threshold=15", "--no-pager", str(unit)]
    assert subprocess.run(rated, capture_output=True, timeout=60).returncode == 0
    unit.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystem=stricter"))
    broken = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert "stricter" in broken.stderr


def test_the_unit_waits_longer_than_the_gateway_drains_and_reloads_by_sighup() -> None:
    unit = UNIT.read_text()
    server = load({"GATEWAY_HOST": "127.0.0.1"}).settings.server
    (seconds,) = re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit)
    assert int(seconds) > server.drain_delay + server.drain_timeout + LAST_WORDS_SECONDS + 5
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit
    assert "\nKillMode=mixed\n" in unit


def test_all_that_serves_can_be_imported_where_no_memory_can_be_written_and_run(tmp_path: Path) -> None:
    variables = {
        "GATEWAY_API_KEYS": f"alice={KEY}",
        "OPENAI_API_KEY": "sk-unused-8c6f1f2e3d4b5a69",
        "GATEWAY_REDIS_URL": "redis://127.0.0.1:6379/0",
        "PHOENIX_COLLECTOR_ENDPOINT": "http://127.0.0.1:6006",
    }
    done = subprocess.run(
        [sys.executable, "-c", FORBID_WRITABLE_CODE, "check"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode == 77:
        pytest.skip("this kernel is older than 6.3 and cannot forbid memory that is written and run")
    assert done.returncode == 0, done.stderr


def environment(objects: Objects) -> dict[str, str]:
    """The settings in the ConfigMap, with keys in the place of the files that have them."""
    settings = {name: value for name, value in objects["ConfigMap"]["data"].items() if not name.endswith("_FILE")}
    return {**settings, "GATEWAY_API_KEYS": f"alice={KEY}", "OPENAI_API_KEY": "sk-unused-8c6f1f2e3d4b5a69"}

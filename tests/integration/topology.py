"""The topology of docker-compose.yml, from processes: two gateways behind nginx, Redis, Prometheus, Phoenix, mock.

Where GATEWAY_TEST_URL names a running deployment, as in compose's test profile, it is that one.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests import needing
from tests.edge import Edge, accepting, nginx, stop
from tests.integration.phoenix import Phoenix
from tests.process import Process, free_port

KEY = "gw_alice-3f9c1e7a5b2d4860-9e8d7c6b5a4f3e2d"
LIMITED_KEY = "gw_bob-71d0c2b3a4958677-0f1e2d3c4b5a6978"
LIMIT = 5
PROJECT_KEY = "gw_carol-2f6e5d4c3b2a1908-7a6b5c4d3e2f1a0b"
KEYS = (
    f"alice={KEY}",
    f"bob={LIMITED_KEY};requests={LIMIT}/minute",
    f"carol={PROJECT_KEY};projects=demo;providers=mock",
)
PHOENIX_PROJECT = os.environ.get("GATEWAY_TEST_PHOENIX_PROJECT", "topology")


@dataclass
class Topology:
    """A deployment. What only processes of our own can show is None elsewhere."""

    url: str
    key: str = KEY
    gateways: list[Process] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    edge: Edge | None = None
    metrics: list[str] = field(default_factory=list)
    prometheus: str | None = None
    phoenix: Phoenix | None = None

    @property
    def own(self) -> bool:
        return bool(self.gateways)

    def lines(self) -> list[dict[str, Any]]:
        """Every exchange that any gateway has logged."""
        texts = [line for log in self.logs for line in log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in map(orjson.loads, texts) if line["event"] == "exchange"]

    async def verified(self, *arguments: str, url: str | None = None) -> tuple[int, str]:
        """What scripts/verify says of it, and its exit code."""
        sees = [word for log in self.logs for word in ("--log", str(log))]
        sees += ["--metrics", ",".join(self.metrics)]
        if self.phoenix:
            sees += ["--phoenix", self.phoenix.url, "--phoenix-project", PHOENIX_PROJECT]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(needing.ROOT / "scripts/verify.py"), url or self.url, "--key", self.key),
            *(*sees, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()


@asynccontextmanager
async def running(folder: Path, phoenix: Phoenix | None) -> AsyncIterator[Topology]:
    """The topology, all its parts ready."""
    if "GATEWAY_TEST_URL" in os.environ:
        yield _deployed(phoenix)
        return
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_redis(folder))
        mock = await stack.enter_async_context(_mock(folder))
        gateways, logs = [], []
        for name in ("one", "two"):
            (folder / name).mkdir()
            logs.append(folder / name / "log")
            variables = _variables(mock, redis, phoenix, logs[-1])
            gateways.append(await stack.enter_async_context(_gateway(folder / name, variables)))
        ports = [gateway.port for gateway in gateways]
        edge = await stack.enter_async_context(nginx(folder / "nginx", ports))
        prometheus = await stack.enter_async_context(_prometheus(folder, ports))
        metrics = [f"{gateway.url}/metrics" for gateway in gateways]
        yield Topology(edge.url, KEY, gateways, logs, edge, metrics, prometheus, phoenix)


def _deployed(phoenix: Phoenix | None) -> Topology:
    """What was started beforehand, with the other two keys as here."""
    return Topology(
        os.environ["GATEWAY_TEST_URL"],
        os.environ["GATEWAY_TEST_KEY"],
        metrics=os.environ["GATEWAY_TEST_METRICS"].split(","),
        prometheus=os.environ["GATEWAY_TEST_PROMETHEUS"],
        phoenix=phoenix,
    )


def _variables(mock: str, redis: str, phoenix: Phoenix | None, log: Path) -> dict[str, str]:
    names = {
        "GATEWAY_API_KEYS": ",".join(KEYS),
        "GATEWAY_REDIS_URL": redis,
        "GATEWAY_LOG_FILE": str(log),
        "GATEWAY_PROJECTS": "demo",
        "GATEWAY_PROJECT_DEMO_ROLE_POINTS": "openai/mock-model",
        "GATEWAY_PROJECT_DEMO_ROLE_WRITER": "anthropic/claude-mock",
        "GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_1": "openai/mock-model",
        "GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_2": "gemini/gemini-mock",
        "GATEWAY_PROJECT_DEMO_ROLE_JUDGE": "anthropic/claude-mock",
        "PHOENIX_PROJECT_NAME": PHOENIX_PROJECT,
    }
    for provider in ("mock", "openai", "anthropic", "gemini"):
        names[f"GATEWAY_PROVIDER_{provider.upper()}_BASE_URL"] = mock
        names[f"GATEWAY_PROVIDER_{provider.upper()}_API_KEY"] = "sk-provider-8c6f1f2e3d4b5a69"
    return {**names, "PHOENIX_COLLECTOR_ENDPOINT": phoenix.url} if phoenix else names


@asynccontextmanager
async def _gateway(folder: Path, variables: dict[str, str]) -> AsyncIterator[Process]:
    gateway = Process(folder, variables)
    await gateway.start()
    try:
        await _listening(gateway.port, folder / "log")
        yield gateway
    finally:
        await gateway.__aexit__()


@asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[str]:
    port = free_port()
    command = [needing.program("redis-server"), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    async with _program(folder / "redis.log", port, *command, "--dir", str(folder)):
        yield f"redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def _mock(folder: Path) -> AsyncIterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "gateway.mock_upstream", "--port", str(port)]
    async with _program(folder / "mock.log", port, *command):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _prometheus(folder: Path, ports: list[int]) -> AsyncIterator[str]:
    """Prometheus with the shipped rules; in a test it cannot find gateways by name, so it is told, and asks often."""
    port = free_port()
    shipped = needing.ROOT / "monitoring"
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(path) for path in sorted((shipped / "rules").glob("*.yml"))],
        "scrape_configs": [
            {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{each}" for each in ports]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    command = [needing.program("prometheus"), f"--config.file={folder}/prometheus.yml", "--log.level=warn"]
    where = [f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:{port}"]
    async with _program(folder / "prometheus.log", port, *command, *where):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _program(log: Path, port: int, *command: str) -> AsyncIterator[None]:
    """A program that listens on a port, until it is no longer needed."""
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=written,
            stderr=written,
            cwd=log.parent,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(needing.ROOT)},
        )
        try:
            await accepting(port, process, log)
            yield
        finally:
            await stop(process)


async def _listening(port: int, log: Path) -> None:
    async with asyncio.timeout(20):
        while not log.exists() or b"serving on" not in log.read_bytes():
            await asyncio.sleep(0.02)

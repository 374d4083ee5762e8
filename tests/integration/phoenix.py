"""A real Phoenix on loopback, in an environment of its own, and what it makes of spans."""

import asyncio
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.needing import tool
from tests.process import free_port

STARTS_WITHIN = 120.0
SHOWS_WITHIN = 30.0
TAKES_WITHIN = 240.0  # for thousands of spans: it writes about a hundred a second

# Phoenix's gRPC listener takes every interface whatever PHOENIX_HOST says; here it is told otherwise.
PROGRAM = """
import sys
from grpc.aio import _server
listen = _server.Server.add_insecure_port
_server.Server.add_insecure_port = lambda self, address: listen(self, address.replace("[::]", "127.0.0.1"))
from phoenix.server.main import main
sys.argv = ["phoenix", "serve"]
main()
"""


class Phoenix:
    """A Phoenix that runs at `url`, and what it made of spans."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def projects(self) -> list[str]:
        return [project["name"] for project in (await self._get("/v1/projects"))["data"]]

    async def spans(self, project: str, count: int) -> list[dict[str, Any]]:
        """The spans of a project, as soon as there are `count`: flat attributes, `status_code`, `events`."""
        async with asyncio.timeout(SHOWS_WITHIN):
            while True:
                found = await self._get(f"/v1/projects/{project}/spans?limit=1000")
                if len(found.get("data", ())) >= count:
                    return list(found["data"])
                await asyncio.sleep(0.1)

    async def all_spans(self, project: str, traces: int) -> list[dict[str, Any]]:
        """Every span of a project, as soon as it has so many traces, however many pages they take."""
        async with asyncio.timeout(TAKES_WITHIN):
            while await self._traces(project) < traces:
                await asyncio.sleep(0.5)
        found: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await self._get(f"/v1/projects/{project}/spans?limit=1000{cursor}")
            found += page["data"]
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        return found

    async def _traces(self, project: str) -> int:
        answer = await self.graphql("{ projects { edges { node { name traceCount } } } }")
        return sum(e["node"]["traceCount"] for e in answer["projects"]["edges"] if e["node"]["name"] == project)

    async def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            asked = {"query": query, "variables": variables}
            async with session.post(f"{self.url}/graphql", json=asked) as response:
                answer = await response.json()
        assert "errors" not in answer, answer
        return dict(answer["data"])

    async def _get(self, path: str) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return dict(await response.json()) if response.status != 404 else {}


class OwnPhoenix(Phoenix):
    """A Phoenix with an empty database in `folder`. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = tool(".venv-phoenix", "python")
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")

    def __enter__(self) -> Self:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "PHOENIX_WORKING_DIR": str(self._folder),
            "PHOENIX_SQL_DATABASE_URL": f"sqlite:///{self._folder}/phoenix.db",
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        }
        self._log = (self._folder / "phoenix.log").open("wb")
        self._process = subprocess.Popen(
            [self._python, "-c", PROGRAM], env=environ, cwd=self._folder, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"Phoenix ended:\n{(self._folder / 'phoenix.log').read_text()[-4000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as response:
                    if response.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("Phoenix did not become healthy")

"""schemathesis reads /openapi.json and tries to catch the gateway at something it does not say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.mock_upstream import mock_app, serving
from tests.needing import ROOT, tool
from tests.running import KEY, Running, environ, run_gateway

ROLES = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        url = str(await stack.enter_async_context(serving(mock_app()))).rstrip("/")
        bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/mock-model" for role in ROLES}
        yield await run_gateway(stack, environ(url, GATEWAY_PROJECTS="demo", **bound))


async def test_the_gateway_keeps_to_its_document(gateway: Running, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        tool(".venv-tools", "schemathesis"),
        f"--config-file={ROOT / 'tests/integration/schemathesis.toml'}",
        "run",
        f"{gateway.url}/openapi.json",
        f"--header=X-API-Key: {KEY}",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=10",
        "--seed=1",
        "--no-color",
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), 300)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, told.decode()
    tried = {(exchange.method, exchange.route) for exchange in gateway.exchanges}
    assert {("POST", "/projects/demo/summary"), ("POST", "/projects/demo/compare"), ("POST", "/tickets")} <= tried
    assert not [exchange for exchange in gateway.exchanges if exchange.status == 500]

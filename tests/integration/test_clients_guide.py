"""docs/clients.md, followed: its calls made, its SDK code run, its base URLs tried, against the bundled mock.

Clients that are no dependency of the tests are only read: the page says with which versions they were tried by hand.
"""

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.mock_upstream import mock_app, serving
from tests.needing import ROOT, program
from tests.running import DIALECTS, KEY, Running, environ, run_gateway

PAGE = (ROOT / "docs" / "clients.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {
    section.partition("\n")[0].lstrip("# "): section for section in re.split(r"^(?=##? )", PAGE, flags=re.M)[1:]
}
MODELS = {"openai": "/models", "anthropic": "/v1/models", "gemini": "/v1beta/models"}
"""What lists the models, below the base URL of each dialect's SDK."""


def blocks(section: str, kind: str) -> list[str]:
    return [found["text"] for found in BLOCK.finditer(SECTIONS[section]) if found["kind"] == kind]


CURLS = [*blocks("Use it with ...", "sh"), *blocks("curl", "sh")]
SDKS = blocks("The providers' SDKs", "python")


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(mock_app()))
        yield await run_gateway(stack, environ(str(url).rstrip("/")))


async def run(gateway: Running, command: str) -> str:
    """Run a command of the page, with the gateway's real address in it; what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command.replace(ADDRESS, gateway.url)),
        env={"PATH": path, "GATEWAY_KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await ran.communicate()
    assert ran.returncode == 0, f"{command}\n{out.decode()}{err.decode()}"
    return out.decode()


@pytest.mark.parametrize(("command", "answer"), [*zip(CURLS, ["base_url", *3 * ["was told"]], strict=True)])
async def test_its_curl_commands_are_answered(gateway: Running, command: str, answer: str) -> None:
    program("curl")
    assert answer in await run(gateway, command.replace("curl ", "curl --silent --show-error --fail ", 1))


@pytest.mark.parametrize("code", SDKS, ids=DIALECTS)
async def test_its_variables_are_all_that_an_sdk_needs(gateway: Running, code: str) -> None:
    (exports,) = blocks("The providers' SDKs", "sh")
    assert "was told: “Hello”" in await run(gateway, f"{exports}python - <<'END'\n{code}END")
    assert (await gateway.exchange()).client == "alice"


async def test_its_base_urls_are_those_that_the_gateway_lists(gateway: Running) -> None:
    async with gateway.session.get("/provider") as response:
        listed = {each["base_url"] for each in (await response.json())["providers"]}
    shown = set(re.findall(rf"{ADDRESS}(/provider/\w+(?:/v1)?)[ \n]", SECTIONS["The providers' SDKs"]))
    assert {gateway.url + path for path in shown} == listed


async def test_every_base_url_on_it_leads_to_an_api(gateway: Running) -> None:
    found = set(re.findall(r"(?:\.\.\.|:8080|gateway}|\.com)(/provider)?(/(openai|anthropic|gemini)[\w/]*)", PAGE))
    assert {(name, path) for _, path, name in found} >= {
        ("openai", "/openai/v1"),
        ("anthropic", "/anthropic"),
        ("anthropic", "/anthropic/v1"),  # the AI SDK's, which adds no version
        ("gemini", "/gemini"),
        ("gemini", "/gemini/v1beta"),
    }
    for _, path, name in found:
        if "/models" in path or "messages" in path or "completions" in path:
            continue
        base = f"/provider{path.rstrip('/')}"
        versioned = base.endswith(("/v1", "/v1beta"))
        async with gateway.session.get(base + ("/models" if versioned else MODELS[name])) as response:
            assert response.status == 200, base


@pytest.mark.parametrize("section", ["LangChain", "LiteLLM"])
def test_its_other_python_is_python(section: str) -> None:
    (code,) = blocks(section, "python")
    compile(code, section, "exec")


def test_its_codex_configuration_names_its_own_provider() -> None:
    configuration = tomllib.loads(blocks("Codex", "toml")[0])
    assert configuration["model_provider"] in configuration["model_providers"]

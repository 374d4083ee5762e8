"""The whole deployment, end to end: through nginx to two gateways that share a Redis, traced and counted."""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest
import yaml

from tests import needing
from tests.edge import nginx
from tests.integration.phoenix import Phoenix
from tests.integration.topology import LIMIT, LIMITED_KEY, PHOENIX_PROJECT, PROJECT_KEY, Topology, running

pytestmark = pytest.mark.integration

RUN_AGAINST_ANY = 7  # tests that a deployment of anybody can be put to
SCRAPED_WITHIN = 40.0  # Prometheus scrapes every 15 s where compose starts it
BODY = {"model": "mock-model", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}
SUMMARY = {"text": "The sky is blue because air scatters short waves more than long ones."}
BUFFERING = (
    "proxy_pass http://gateway; proxy_set_header Host $http_host; "
    "proxy_request_buffering off; proxy_ignore_headers X-Accel-Buffering;"
)


@pytest.fixture
def traced(request: pytest.FixtureRequest) -> Phoenix | None:
    """Phoenix, where its environment is set up, everything is required, or a deployment has one."""
    if "GATEWAY_TEST_PHOENIX" not in os.environ and not (needing.ROOT / ".venv-phoenix").exists():
        needing.missing(".venv-phoenix is not there: scripts/test sets it up")
    phoenix: Phoenix = request.getfixturevalue("phoenix")
    return phoenix


@pytest.fixture
async def topology(tmp_path: Path) -> AsyncIterator[Topology]:
    async with running(tmp_path, None) as topology:
        yield topology


@pytest.fixture
async def session(topology: Topology) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(topology.url, headers={"X-API-Key": topology.key}, timeout=timeout) as session:
        yield session


def own(topology: Topology) -> Topology:
    """A topology whose processes are ours to look at and to end."""
    if not topology.own:
        pytest.skip("looks at processes, which another deployment keeps to itself")
    return topology


# Flows


async def test_sdks_work_through_all_of_it(topology: Topology) -> None:
    async with openai.AsyncOpenAI(api_key=topology.key, base_url=f"{topology.url}/provider/openai/v1") as sdk:
        answer = await sdk.chat.completions.create(model="mock-model", messages=[{"role": "user", "content": "Hello"}])
        assert answer.choices[0].message.content
        stream = await sdk.chat.completions.create(
            model="mock-model", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert said == answer.choices[0].message.content
    async with anthropic.AsyncAnthropic(api_key=topology.key, base_url=f"{topology.url}/provider/anthropic") as claude:
        message = await claude.messages.create(
            model="claude-mock", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
        )
        assert message.usage.output_tokens > 0
        with pytest.raises(anthropic.InternalServerError):
            await claude.with_options(max_retries=0).messages.create(
                model="claude-mock+fail=529", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
            )


async def test_a_project_chains_two_providers_and_streams(topology: Topology, session: aiohttp.ClientSession) -> None:
    async with session.post("/projects/demo/summary?stream_mode=text", json=SUMMARY) as response:
        assert (response.status, response.content_type) == (200, "text/plain")
        pieces = [piece async for piece in response.content.iter_any()]
    assert len(pieces) > 3
    async with session.post("/projects/demo/summary", json=SUMMARY) as response:
        document = await response.json()
    assert b"".join(pieces).decode() == document["summary"]
    if topology.own:
        line = next(line for line in topology.lines() if line.get("project") == "demo")
        assert [call["provider"] for call in line["calls"]] == ["openai", "anthropic"]


async def test_a_key_opens_its_own_project_and_no_other_provider(topology: Topology) -> None:
    async with aiohttp.ClientSession(topology.url, headers={"Authorization": f"Bearer {PROJECT_KEY}"}) as session:
        async with session.post("/provider/openai/v1/chat/completions", json=BODY) as response:
            assert response.status == 403
        async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
            assert response.status == 200


# Two gateways


async def test_both_gateways_take_their_share(topology: Topology, session: aiohttp.ClientSession) -> None:
    own(topology)
    for _ in range(20):
        async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
            assert response.status == 200
    async with asyncio.timeout(10):  # the log is written in batches
        while not all(b"/provider/mock/" in log.read_bytes() for log in topology.logs):
            await asyncio.sleep(0.05)


async def test_a_limit_is_exact_across_both(topology: Topology) -> None:
    async with aiohttp.ClientSession(topology.url, headers={"X-API-Key": LIMITED_KEY}) as session:

        async def status() -> int:
            async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
                return response.status

        statuses = await asyncio.gather(*(status() for _ in range(4 * LIMIT)))
    assert Counter(statuses) == {200: LIMIT, 429: 3 * LIMIT}


async def test_a_gateway_that_is_killed_costs_nobody_a_request_afterwards(
    topology: Topology, session: aiohttp.ClientSession
) -> None:
    own(topology)
    topology.gateways[0].signal(signal.SIGKILL)
    await topology.gateways[0].ended()
    for _ in range(20):
        async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
            assert response.status == 200, await response.text()


async def test_a_gateway_that_is_stopped_finishes_its_streams_while_the_other_serves(
    topology: Topology, session: aiohttp.ClientSession
) -> None:
    own(topology)
    streamed = {**BODY, "model": "mock-model+pace=0.05+words=20", "stream": True}

    async def whole() -> bytes:
        async with session.post("/provider/mock/v1/chat/completions", json=streamed) as response:
            return await response.read()

    streams = [asyncio.create_task(whole()) for _ in range(4)]
    async with session.get("/health"):
        pass
    await asyncio.sleep(0.3)  # into the streams, which take a second
    topology.gateways[0].signal(signal.SIGTERM)
    assert await topology.gateways[0].ended() == 0
    for body in await asyncio.gather(*streams):
        assert body.endswith(b"data: [DONE]\n\n")
    async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
        assert response.status == 200


async def test_prometheus_adds_up_what_all_count(topology: Topology, session: aiohttp.ClientSession) -> None:
    assert topology.prometheus is not None
    counted = 'sum(gateway_requests_total{provider="mock"})'
    async with aiohttp.ClientSession(topology.prometheus) as prometheus:
        gateways = len(topology.metrics)
        assert await becomes(prometheus, 'sum(up{job="gateway"})', gateways) == gateways
        before = await settled(prometheus, counted)
        for _ in range(10):
            async with session.post("/provider/mock/v1/chat/completions", json=BODY) as response:
                await response.read()
        assert await becomes(prometheus, counted, before + 10) == before + 10
        counting = "count(count by (instance) (gateway_build_info))"
        assert await becomes(prometheus, counting, gateways) == gateways


async def settled(prometheus: aiohttp.ClientSession, expression: str) -> float:
    """What Prometheus says to this, once it has scraped every gateway anew."""
    mark = time.time()
    deadline = time.monotonic() + SCRAPED_WITHIN
    while time.monotonic() < deadline:
        seen = await asked(prometheus, "min(timestamp(gateway_build_info))")
        if seen is not None and seen > mark:
            return await asked(prometheus, expression) or 0.0
        await asyncio.sleep(0.1)
    raise AssertionError("Prometheus scrapes nothing")


async def becomes(prometheus: aiohttp.ClientSession, expression: str, value: float) -> float | None:
    """What Prometheus says to this: `value`, or after a while whatever else."""
    deadline, seen = time.monotonic() + SCRAPED_WITHIN, None
    while seen != value and time.monotonic() < deadline:
        seen = await asked(prometheus, expression)
        await asyncio.sleep(0.1)
    return seen


async def asked(prometheus: aiohttp.ClientSession, expression: str) -> float | None:
    async with prometheus.get("/api/v1/query", params={"query": expression}) as response:
        if response.status == 503:  # it is still starting
            return None
        found = (await response.json())["data"]["result"]
    return float(found[0]["value"][1]) if found else None


async def test_a_deployment_that_was_started_before_is_tested_as_in_composes_test_profile(
    tmp_path: Path, traced: Phoenix
) -> None:
    """With the very variables that docker-compose.yml gives its suite."""
    if "GATEWAY_TEST_URL" in os.environ:
        pytest.skip("this is what tests a deployment that was started before")
    suite = yaml.safe_load((needing.ROOT / "docker-compose.yml").read_text())["services"]["suite"]["environment"]
    async with running(tmp_path, traced) as topology:
        deployed = {
            "GATEWAY_TEST_URL": topology.url,
            "GATEWAY_TEST_KEY": topology.key,
            "GATEWAY_TEST_METRICS": ",".join(topology.metrics),
            "GATEWAY_TEST_PROMETHEUS": topology.prometheus or "",
            "GATEWAY_TEST_PHOENIX": traced.url,
            "GATEWAY_TEST_PHOENIX_PROJECT": PHOENIX_PROJECT,
        }
        assert deployed.keys() == suite.keys()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/integration/test_topology.py"),
            cwd=needing.ROOT,
            env={**os.environ, **deployed, "GATEWAY_TEST_REQUIRE": ""},
            stdout=asyncio.subprocess.PIPE,
        )
        said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    results = said.split(maxsplit=1)[0]
    assert (results.count("."), set(results)) == (RUN_AGAINST_ANY, {".", "s"}), said


# The checklist that checks itself


async def test_the_verification_holds(topology: Topology) -> None:
    code, said = await topology.verified()
    assert code == 0, said
    assert "FAILED" not in said
    assert said.count("ok ") >= (10 if topology.own else 9), said


async def test_every_check_is_made_where_everything_can_be_seen(tmp_path: Path, traced: Phoenix) -> None:
    async with running(tmp_path, traced) as topology:
        strict = ["--strict"] if topology.own else []  # another deployment's log is not to be had
        code, said = await topology.verified(*strict)
        assert (code, said.count("ok ")) == (0, 11 if topology.own else 10), said
        async with aiohttp.ClientSession(topology.url, headers={"X-API-Key": topology.key}) as session:
            trace = {"traceparent": f"00-{secrets.token_hex(16)}-b7ad6b7169203331-01"}
            async with session.post("/projects/demo/summary", json=SUMMARY, headers=trace) as response:
                assert response.status == 200
        async with asyncio.timeout(30):
            while True:
                known = await traced.spans(PHOENIX_PROJECT, 1)
                spans = [each for each in known if each["context"]["trace_id"] in trace["traceparent"]]
                if len({span["context"]["span_id"] for span in spans}) >= 4:
                    break
                await asyncio.sleep(0.2)
    kinds = Counter(span["span_kind"] for span in spans)
    assert (kinds["CHAIN"] >= 1, kinds["LLM"]) == (True, 2)


@pytest.mark.parametrize(
    ("file", "shipped", "broken", "failing"),
    [
        ("streaming", None, BUFFERING, ["streamed call, unbuffered", "cancel"]),
        ("gateway", "client_max_body_size 0;", "client_max_body_size 1m;", ["limits"]),
        ("gateway", "location /metrics { return 404; }", "", ["metrics closed outside"]),
    ],
    ids=["buffered", "limited in front", "metrics open"],
)
async def test_the_verification_finds_what_is_broken(
    topology: Topology, tmp_path: Path, file: str, shipped: str | None, broken: str, failing: list[str]
) -> None:
    own(topology)
    text = (needing.ROOT / f"nginx/{file}.conf").read_text()
    assert shipped is None or shipped in text
    replaced = {file: broken if shipped is None else text.replace(shipped, broken)}
    ports = [gateway.port for gateway in topology.gateways]
    async with nginx(tmp_path / "broken", ports, None, **replaced) as edge:
        code, said = await topology.verified(url=edge.url)
    assert code == 1
    assert [line[9:35].strip() for line in said.splitlines() if line.startswith("FAILED")] == failing, said


async def test_the_verification_fails_where_nothing_serves(topology: Topology, tmp_path: Path) -> None:
    own(topology)
    async with nginx(tmp_path / "broken", [1]) as edge:
        code, said = await topology.verified(url=edge.url)
    assert code == 1
    assert "FAILED   start-up                   /health is 503" in said

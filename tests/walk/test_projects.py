"""Project endpoints as clients meet them: every mode, every way to fail, and what is left behind (nothing)."""

import asyncio
import io
import json
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

import gateway.projects.demo as samples
from gateway.mock_upstream import JOURNAL, Journal, mock_app, serving
from gateway.projects.running import Run
from gateway.telemetry.exchange import Outcome
from gateway.upstream.chat import Chat
from tests.running import KEY, OTHER_KEY, PROVIDER_KEY, Running, environ, run_gateway

SUMMARY = "/projects/demo/summary"
COMPARE = "/projects/demo/compare"
TEXT = {"text": "The moon is far. The sea is deep."}
QUESTION = {"question": "Tea or coffee?"}


@dataclass
class Stage:
    """A gateway with the demo project, before a mock upstream that speaks every dialect."""

    stack: AsyncExitStack
    url: str
    journal: Journal
    road: str

    async def play(self, *, settings: Mapping[str, str] | None = None, **roles: str) -> Running:
        """Start with some roles played by other models: `writer="anthropic/mock-model+fail=500"`."""
        cast = {
            "points": "openai/points-model",
            "writer": "anthropic/writer-model",
            "candidate_1": "openai/first-model",
            "candidate_2": "gemini/second-model",
            "judge": "anthropic/judge-model",
            **roles,
        }
        bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role.upper()}": model for role, model in cast.items()}
        return await run_gateway(
            self.stack,
            environ(self.url, GATEWAY_PROJECTS="demo", GATEWAY_UPSTREAM_ROAD=self.road, **bound, **(settings or {})),
        )

    async def quiet(self, seconds: float = 5.0) -> None:
        """Wait until the upstream has no call open."""
        async with asyncio.timeout(seconds):
            while self.journal.open:
                await asyncio.sleep(0.002)


@pytest.fixture
async def stage(road: str) -> AsyncIterator[Stage]:
    app = mock_app(required_key=PROVIDER_KEY)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(app))
        yield Stage(stack, str(url).rstrip("/"), app[JOURNAL], road)


@pytest.fixture
async def demo(stage: Stage) -> Running:
    return await stage.play()


async def asked(gateway: Running, path: str, body: object, **said: Any) -> tuple[int, Any]:
    """Status and document of a POST."""
    async with gateway.session.post(path, json=body, **said) as response:
        assert response.content_type in ("application/json", "application/problem+json")
        return response.status, await response.json()


def raw_post(target: str, body: object) -> bytes:
    content = json.dumps(body)
    head = f"POST {target} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode()


def events(stream: bytes) -> list[tuple[str, Any]]:
    """The named events of a whole event stream, comments left out."""
    blocks = [block.splitlines() for block in stream.decode().split("\n\n") if block and not block.startswith(":")]
    found = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block)
        found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
async def test_anthropics_models_are_called_in_the_version_that_is_set(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    def asking(self: Chat, role: str, prompt: Any, **parameters: Any) -> Any:
        return stream(self, role, prompt, temperature=0.5, top_p=0.9, top_k=5, **parameters)

    stream = Chat.stream
    monkeypatch.setattr(Chat, "stream", asking)
    gateway = await stage.play(settings={"GATEWAY_ANTHROPIC_VERSION": version})
    status, _ = await asked(gateway, SUMMARY, TEXT)  # the mock refuses what that version of the API refuses
    assert status == 200
    called = [dict(arrival.headers) for arrival in stage.journal.arrivals if arrival.target == "/v1/messages"]
    assert [fields["anthropic-version"] for fields in called] == [version]


async def test_a_summary_chains_two_models_of_two_apis(demo: Running) -> None:
    status, summary = await asked(demo, SUMMARY, TEXT)
    assert status == 200
    assert summary["summary"].startswith("writer-model was told: “Write a summary")
    assert "points-model was told" in summary["summary"]  # the writer was given the points
    exchange = await demo.exchange()
    assert (exchange.project, exchange.route, exchange.client) == ("demo", SUMMARY, "alice")
    assert [(call.step, call.provider) for call in exchange.calls] == [("points", "openai"), ("writer", "anthropic")]
    assert {call.parent_span_id for call in exchange.calls} == {exchange.workflow_span_id}
    assert exchange.workflow_span_id is not None
    assert [call.template.name for call in exchange.calls if call.template] == ["demo.find_points", "demo.write_up"]
    assert [call.template.version for call in exchange.calls if call.template] == ["1", "1"]
    assert (exchange.outcome, exchange.status, exchange.stream_mode) == (Outcome.COMPLETE, 200, "json")
    assert all(call.facts.usage and call.ended for call in exchange.calls)


async def test_an_event_stream_tells_steps_deltas_reply_usage_and_the_end(demo: Running) -> None:
    _, document = await asked(demo, SUMMARY, TEXT)
    async with demo.session.post(f"{SUMMARY}?stream_mode=sse", json=TEXT) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        told = events(await response.read())
    names = [name for name, _ in told]
    assert all(data["type"] == name for name, data in told)
    assert names[:3] == ["step", "step", "step"] and set(names[3:-4]) == {"delta"}
    assert names[-4:] == ["step", "reply", "usage", "done"]
    steps = [(data["step"], data["state"], data["model"]) for name, data in told if name == "step"]
    assert steps == [
        ("points", "started", "openai/points-model"),
        ("points", "finished", "openai/points-model"),
        ("writer", "started", "anthropic/writer-model"),
        ("writer", "finished", "anthropic/writer-model"),
    ]
    written = "".join(data["text"] for name, data in told if name == "delta")
    reply, usage = told[-3][1], told[-2][1]
    assert reply["reply"] == document == {"summary": written}
    assert [call["step"] for call in usage["calls"]] == ["points", "writer"]
    assert usage["output_tokens"] == sum(call["output_tokens"] for call in usage["calls"]) > 0


async def test_ndjson_has_the_same_frames_a_line_each(demo: Running) -> None:
    async with demo.session.post(SUMMARY, json=TEXT, headers={"X-Stream-Mode": "ndjson"}) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        body = await response.read()
    assert body.endswith(b"\n")
    frames = [json.loads(line) for line in body.splitlines()]
    assert frames[-1] == {"type": "done"}
    written = "".join(frame["text"] for frame in frames if frame["type"] == "delta")
    assert [frame["reply"] for frame in frames if frame["type"] == "reply"] == [{"summary": written}]


async def test_text_is_the_bare_text(demo: Running) -> None:
    _, document = await asked(demo, SUMMARY, TEXT)
    async with demo.session.post(f"{SUMMARY}?stream_mode=text", json=TEXT) as response:
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await response.text() == document["summary"]


async def test_text_arrives_as_it_is_written(stage: Stage) -> None:
    gateway = await stage.play(writer="gemini/writer-model+stall-after=3")
    async with gateway.session.post(f"{SUMMARY}?stream_mode=text", json=TEXT) as response:
        heard = b""
        async with asyncio.timeout(5):
            while len(heard.split()) < 3:
                heard += await response.content.readany()
    assert heard.startswith(b"writer-model was told")


async def test_a_comparison_interleaves_its_candidates_and_ends_with_the_judge(stage: Stage) -> None:
    gateway = await stage.play(candidate_1="openai/first-model+pace=0.01", candidate_2="gemini/second-model+pace=0.01")
    async with gateway.session.post(f"{COMPARE}?stream_mode=ndjson", json=QUESTION) as response:
        frames = [json.loads(line) for line in (await response.read()).splitlines()]
    sources = [frame.get("source", "") for frame in frames if frame["type"] == "delta"]
    candidates = [source for source in sources if source]
    assert set(candidates) == {"candidate_1", "candidate_2"}
    assert sources == candidates + [""] * (len(sources) - len(candidates))
    turns = sum(1 for one, other in pairwise(candidates) if one != other)
    assert turns > 5
    (reply,) = [frame["reply"] for frame in frames if frame["type"] == "reply"]
    assert [answer["model"] for answer in reply["answers"]] == [
        "openai/first-model+pace=0.01",
        "gemini/second-model+pace=0.01",
    ]
    assert reply["answers"][0]["answer"].startswith("first-model was told: “Tea or coffee?”")
    assert reply["verdict"].startswith("judge-model was told")


async def test_in_text_a_comparison_is_its_verdict(demo: Running) -> None:
    async with demo.session.post(f"{COMPARE}?stream_mode=text", json=QUESTION) as response:
        assert (await response.text()).startswith("judge-model was told")


@pytest.mark.parametrize(
    ("body", "says", "param"),
    [
        (b"", "A JSON body is needed.", None),
        (b"{", "The body is not valid JSON.", None),
        (b'{"text":"\xff"}', "The body is not valid JSON.", None),
        (b"[]", "Expected `object`, got `array`.", None),
        (b"{}", "Object missing required field `text`.", "text"),
        (b'{"text":7}', "`text`: expected `str`, got `int`.", "text"),
        (b'{"text":""}', "`text`: expected `str` of length >= 1.", "text"),
        (b'{"text":"x","max_tokens":0}', "`max_tokens`: expected `int` >= 1.", "max_tokens"),
        (b'{"text":"x","max_token":9}', "Object contains unknown field `max_token`.", "max_token"),
    ],
)
async def test_a_bad_body_names_field_and_reason(
    demo: Running, stage: Stage, body: bytes, says: str, param: str | None
) -> None:
    async with demo.session.post(SUMMARY, data=body, headers={"Content-Type": "application/json"}) as response:
        assert (response.status, response.content_type) == (400, "application/problem+json")
        problem = await response.json()
    assert (problem["detail"], problem.get("param")) == (says, param)
    assert (problem["code"], problem["status"]) == ("invalid_request", 400)
    assert problem["request_id"] == response.headers["X-Gateway-Request-Id"]
    assert stage.journal.arrivals == []


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_no_plain_json_is_a_415(demo: Running, fields: dict[str, str]) -> None:
    async with demo.session.post(SUMMARY, data=b'{"text":"x"}', headers=fields, compress=False) as response:
        assert response.status == 415
        assert (await response.json())["code"] == "unsupported_media_type"


async def test_a_mode_that_does_not_exist_is_a_400(demo: Running, stage: Stage) -> None:
    status, problem = await asked(demo, f"{SUMMARY}?stream_mode=xml", TEXT)
    assert (status, problem["param"]) == (400, "stream_mode")
    assert stage.journal.arrivals == []


async def test_other_methods_and_paths_are_refused(demo: Running) -> None:
    async with demo.session.get(SUMMARY) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    async with demo.session.put(SUMMARY, json=TEXT) as response:
        assert response.status == 405 and "POST" in response.headers["Allow"]
    for path in ("/projects/demo/nothing", "/projects/nobody/summary"):
        status, problem = await asked(demo, path, TEXT)
        assert (status, problem["code"]) == (404, "not_found")


async def test_a_key_for_other_projects_is_refused_before_the_workflow(stage: Stage) -> None:
    keys = f"alice={KEY};projects=demo,bob={OTHER_KEY};projects=search"
    bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ("POINTS", "WRITER", "JUDGE")}
    bound |= {f"GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_{number}": "openai/m" for number in (1, 2)}
    names = environ(stage.url, GATEWAY_PROJECTS="demo", **bound) | {"GATEWAY_API_KEYS": keys}
    gateway = await run_gateway(stage.stack, names)
    status, problem = await asked(gateway, SUMMARY, TEXT, headers={"X-API-Key": OTHER_KEY})
    assert (status, problem["code"]) == (403, "permission_denied")
    assert stage.journal.arrivals == []
    exchange = await gateway.exchange()
    assert (exchange.project, exchange.outcome, exchange.calls) == ("demo", Outcome.REFUSED, [])
    assert (await asked(gateway, SUMMARY, TEXT))[0] == 200
    async with gateway.session.get("/projects", headers={"X-API-Key": OTHER_KEY}) as response:
        assert await response.json() == {"projects": []}


@pytest.mark.parametrize(
    ("scopes", "held", "status"),
    [
        ("projects=demo", "false", 200),
        ("projects=demo", "true", 403),
        ("projects=demo;providers=openai", "false", 200),
        ("projects=demo;providers=openai", "true", 403),
        ("projects=demo;providers=openai|anthropic", "true", 200),
        ("projects=demo;providers=*", "true", 200),
    ],
)
async def test_a_setting_holds_workflows_to_the_providers_of_the_key(
    stage: Stage, scopes: str, held: str, status: int
) -> None:
    keys = f"alice={KEY};{scopes}"
    gateway = await stage.play(settings={"GATEWAY_API_KEYS": keys, "GATEWAY_PROJECT_KEY_PROVIDERS": held})
    answered, problem = await asked(gateway, SUMMARY, TEXT)
    assert answered == status
    paths = [arrival.target for arrival in stage.journal.arrivals]
    if status == 200:
        assert paths == ["/v1/chat/completions", "/v1/messages"]
    else:
        assert (problem["code"], "/v1/messages" in paths) == ("permission_denied", False)


async def test_the_list_tells_what_there_is(demo: Running) -> None:
    async with demo.session.get("/projects") as response:
        (project,) = (await response.json())["projects"]
    assert (project["name"], project["title"]) == ("demo", "Demo workflows")
    assert project["endpoints"][0] == {
        "method": "POST",
        "path": SUMMARY,
        "summary": "Summarise a text",
        "streams": True,
    }


@pytest.mark.parametrize("mode", ["json", "sse", "ndjson", "text"])
@pytest.mark.parametrize("role", ["points", "writer"])
async def test_an_upstream_that_fails_before_the_first_word_gives_a_status(stage: Stage, mode: str, role: str) -> None:
    gateway = await stage.play(**{role: "openai/m+fail=500"})
    status, problem = await asked(gateway, f"{SUMMARY}?stream_mode={mode}", TEXT)
    assert (status, problem["code"]) == (502, "upstream_rejected")
    assert problem["detail"] == f"openai answered step '{role}' with status 500."
    exchange = await gateway.exchange()
    assert (exchange.status, exchange.outcome) == (502, Outcome.UPSTREAM_ERROR)


async def test_in_text_a_judge_that_fails_before_its_first_word_gives_a_status(stage: Stage) -> None:
    gateway = await stage.play(judge="openai/m+fail=500")
    status, problem = await asked(gateway, f"{COMPARE}?stream_mode=text", QUESTION)
    assert (status, problem["code"]) == (502, "upstream_rejected")


async def test_an_upstream_that_is_not_there_is_a_502(stage: Stage, unused_tcp_port: int) -> None:
    bound = {f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in ("POINTS", "WRITER", "JUDGE")}
    bound |= {f"GATEWAY_PROJECT_DEMO_ROLE_CANDIDATE_{number}": "openai/m" for number in (1, 2)}
    names = environ(f"http://127.0.0.1:{unused_tcp_port}", GATEWAY_PROJECTS="demo", **bound)
    gateway = await run_gateway(stage.stack, names)
    status, problem = await asked(gateway, SUMMARY, TEXT)
    assert (status, problem["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("how", ["error-after=3", "cut-after=3"])
async def test_an_upstream_that_fails_half_way_ends_the_events_visibly(stage: Stage, how: str) -> None:
    gateway = await stage.play(writer=f"anthropic/writer-model+{how}")
    received = b""
    async with gateway.session.post(f"{SUMMARY}?stream_mode=sse", json=TEXT) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    told = events(received)
    names = [name for name, _ in told]
    assert names.count("delta") == 3 and names[-1] == "error" and "reply" not in names and "done" not in names
    problem = told[-1][1]["error"]
    exchange = await gateway.exchange()
    assert problem["code"] == exchange.error and problem["request_id"] == exchange.id
    assert exchange.outcome in (Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TRUNCATED) and exchange.status == 200


async def test_in_ndjson_the_last_line_is_the_error(stage: Stage) -> None:
    gateway = await stage.play(writer="gemini/writer-model+cut-after=2")
    received = b""
    async with gateway.session.post(f"{SUMMARY}?stream_mode=ndjson", json=TEXT) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    lines = received.removesuffix(b"\n").split(b"\n")
    frames = [json.loads(line) for line in lines]
    assert frames[-1]["type"] == "error" and frames[-1]["error"]["code"] == "upstream_truncated"


async def test_the_last_event_reaches_a_client_that_reads_late(stage: Stage) -> None:
    gateway = await stage.play(writer="anthropic/writer-model+cut-after=3")
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(raw_post(f"{SUMMARY}?stream_mode=sse", TEXT))
        await gateway.exchange()
        client.settimeout(5)
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"event: error\n" in received and not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("mode", ["sse", "ndjson", "text"])
async def test_a_client_that_has_it_all_did_not_leave_however_soon_it_closes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    leave = Run.__aexit__

    async def slow_to_leave(run: Run, *error: Any) -> None:
        await leave(run, *error)
        await asyncio.sleep(5)  # it is not: the client goes, and the request with it

    monkeypatch.setattr(Run, "__aexit__", slow_to_leave)
    gateway = await stage.play()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(raw_post(f"{SUMMARY}?stream_mode={mode}", TEXT))
    await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.transport.abort()
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE


async def test_in_text_there_are_no_words_for_an_error_but_it_shows(stage: Stage) -> None:
    gateway = await stage.play(writer="openai/writer-model+cut-after=2")
    received = b""
    async with gateway.session.post(f"{SUMMARY}?stream_mode=text", json=TEXT) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    assert received.strip() == b"writer-model was"


async def test_an_endpoint_in_one_piece_has_no_streaming_modes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, compare = samples.PROJECT.endpoints
    whole = replace(summary, operation=replace(summary.operation, streams=False))
    monkeypatch.setattr(samples, "PROJECT", replace(samples.PROJECT, endpoints=(whole, compare)))
    gateway = await stage.play()
    assert (await asked(gateway, SUMMARY, TEXT))[0] == 200
    assert (await asked(gateway, f"{SUMMARY}?stream_mode=json", TEXT))[0] == 200
    status, problem = await asked(gateway, f"{SUMMARY}?stream_mode=sse", TEXT)
    assert (status, problem["param"]) == (400, "stream_mode")
    async with gateway.session.get(SUMMARY) as response:
        assert response.status == 405


async def test_a_large_body_is_checked_like_any_other(demo: Running) -> None:
    body = io.BytesIO(json.dumps({"text": "x" * (2 << 20)}).encode())
    async with demo.session.post(SUMMARY, data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status == 400
        assert (await response.json())["detail"] == "`text`: expected `str` of length <= 20000."


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's workflows get a third of a second."""
    endpoints = tuple(replace(endpoint, deadline=0.3) for endpoint in samples.PROJECT.endpoints)
    monkeypatch.setattr(samples, "PROJECT", replace(samples.PROJECT, endpoints=endpoints))


@pytest.mark.parametrize("mode", ["json", "sse", "ndjson", "text"])
async def test_a_workflow_that_takes_too_long_is_a_504(stage: Stage, hurried: None, mode: str) -> None:
    gateway = await stage.play(points="openai/m+stall-after=0")
    status, problem = await asked(gateway, f"{SUMMARY}?stream_mode={mode}", TEXT)
    assert (status, problem["code"]) == (504, "deadline_exceeded")
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.UPSTREAM_TIMEOUT
    assert [(call.step, call.error) for call in exchange.calls] == [("points", "deadline_exceeded")]
    await stage.quiet()


async def test_one_that_runs_late_half_way_says_so_in_its_last_event(stage: Stage, hurried: None) -> None:
    gateway = await stage.play(writer="anthropic/m+stall-after=2")
    received = b""
    async with gateway.session.post(f"{SUMMARY}?stream_mode=sse", json=TEXT) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    name, data = events(received)[-1]
    assert (name, data["error"]["code"]) == ("error", "deadline_exceeded")
    assert [call.outcome for call in (await gateway.exchange()).calls] == [Outcome.COMPLETE, Outcome.UPSTREAM_TIMEOUT]
    await stage.quiet()


async def test_one_candidate_that_fails_stops_the_other(stage: Stage) -> None:
    gateway = await stage.play(candidate_1="openai/m+fail=503", candidate_2="gemini/m+stall-after=1")
    status, problem = await asked(gateway, COMPARE, QUESTION)
    assert (status, problem["code"]) == (502, "upstream_rejected")
    await stage.quiet()


@pytest.mark.parametrize("mode", ["json", "sse"])
@pytest.mark.parametrize(
    "roles",
    [
        {"points": "openai/m+stall-after=0"},
        {"writer": "anthropic/m+stall-after=3"},
    ],
)
async def test_a_client_that_leaves_stops_every_call_within_200_ms(
    stage: Stage, mode: str, roles: dict[str, str]
) -> None:
    gateway = await stage.play(**roles)
    stalled_after = 1 if "points" in roles else 2

    async def listen() -> None:
        async with gateway.session.post(f"{SUMMARY}?stream_mode={mode}", json=TEXT) as response:
            await response.read()

    client = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while len(stage.journal.arrivals) < stalled_after or not stage.journal.open:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    left = time.monotonic()
    await stage.quiet()
    assert time.monotonic() - left < 0.2
    assert (await gateway.exchange()).outcome is Outcome.CLIENT_GONE


async def test_a_client_that_leaves_a_comparison_stops_all_candidates(stage: Stage) -> None:
    gateway = await stage.play(candidate_1="openai/m+stall-after=1", candidate_2="gemini/m+stall-after=1")
    async with gateway.session.post(f"{COMPARE}?stream_mode=sse", json=QUESTION) as response:
        async with asyncio.timeout(5):
            while stage.journal.open < 2:
                await asyncio.sleep(0.002)
        response.close()
    left = time.monotonic()
    await stage.quiet()
    assert time.monotonic() - left < 0.2


async def test_a_ticket_lets_a_browser_listen_without_a_key(demo: Running) -> None:
    wanted = {"path": f"{SUMMARY}?stream_mode=sse", "body": TEXT}
    async with demo.session.post("/tickets", json=wanted) as response:
        url = (await response.json())["url"]
    async with aiohttp.ClientSession(demo.url) as browser:
        async with browser.get(url, headers={"Accept": "text/event-stream"}) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            assert events(await response.read())[-1][0] == "done"
        async with browser.get(url) as response:
            assert response.status == 204
    assert (await demo.exchange(2)).client == "alice"


async def test_tickets_do_not_widen_what_a_body_may_be(demo: Running) -> None:
    wanted = {"path": SUMMARY, "body": {"txt": "x"}}
    async with demo.session.post("/tickets", json=wanted) as response:
        url = (await response.json())["url"]
    async with aiohttp.ClientSession(demo.url) as browser, browser.get(url) as response:
        assert response.status == 400
        assert (await response.json())["detail"] == "Object contains unknown field `txt`."


@pytest.mark.parametrize("path", ["/", "/health", "/projects/demo/x#y", "/projects/demo/summary\n", "/projects/é", ""])
async def test_a_ticket_is_for_a_path_that_could_be_asked(demo: Running, path: str) -> None:
    status, problem = await asked(demo, "/tickets", {"path": path, "body": TEXT})
    assert (status, problem["param"]) == (400, "path")


async def test_an_unforeseen_fault_says_nothing_of_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**values: object) -> None:
        raise ZeroDivisionError("sk-secret in a traceback")

    summary = sys.modules["gateway.projects.demo.summary"]
    monkeypatch.setattr(summary, "FIND_POINTS", type("Broken", (), {"fill": staticmethod(broken)}))
    gateway = await stage.play()
    with caplog.at_level(logging.ERROR, "gateway"):
        status, problem = await asked(gateway, SUMMARY, TEXT)
    assert (status, problem["code"], problem["detail"]) == (500, "internal_error", "Internal error.")
    assert "ZeroDivisionError" in caplog.text  # whoever wrote the workflow finds it in the log


async def test_neither_key_is_seen_on_the_other_side(demo: Running, stage: Stage) -> None:
    async with demo.session.post(f"{SUMMARY}?stream_mode=sse", json=TEXT) as response:
        received = await response.read() + repr(response.headers).encode()
    assert PROVIDER_KEY.encode() not in received
    sent = repr([arrival.headers for arrival in stage.journal.arrivals])
    assert KEY not in sent and PROVIDER_KEY in sent


async def test_upstreams_hear_of_the_same_trace(demo: Running, stage: Stage) -> None:
    ours = "0af7651916cd43dd8448eb211c80319c"
    await asked(demo, SUMMARY, TEXT, headers={"traceparent": f"00-{ours}-b7ad6b7169203331-01"})
    exchange = await demo.exchange()
    told = [dict(arrival.headers)["traceparent"] for arrival in stage.journal.arrivals]
    assert told == [f"00-{ours}-{call.span_id}-01" for call in exchange.calls]

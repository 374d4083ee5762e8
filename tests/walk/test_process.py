"""The process from start to stop: signals, reload, drain, and what it writes."""

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.process import Process, free_port
from tests.raw_http import connected
from tests.running import KEY, PROVIDER_KEY, environ
from tests.scripted import ScriptedUpstream, answer, begin, end, event, until_left

CHAT = "/provider/openai/v1/chat/completions"
DELTA = b'{"choices":[{"delta":{"content":"x"}}]}'
NEW_KEY = "gw_carol-b04f5e6d7c8a9912-aa5c44e1f07d3b62"


def variables(upstream: ScriptedUpstream, **more: str) -> dict[str, str]:
    names = environ(upstream.url)
    del names["GATEWAY_PORT"]
    return {**names, **more}


async def status(process: Process, key: str = KEY, path: str = CHAT) -> int:
    async with aiohttp.ClientSession(headers={"X-API-Key": key}) as session:
        async with session.post(process.url + path, json={}) as response:
            await response.read()
            return response.status


async def test_sigterm_lets_a_stream_finish_and_exits_0(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()

    async def until_told(_: object) -> None:
        await asyncio.wait_for(go_on.wait(), 10)

    upstream.will(begin(), event(DELTA), until_told, event(b"[DONE]"), end())
    async with Process(tmp_path, variables(upstream)) as process, aiohttp.ClientSession() as session:
        async with session.post(process.url + CHAT, json={"stream": True}, headers={"X-API-Key": KEY}) as response:
            await response.content.readuntil(b"\n\n")
            process.signal(signal.SIGTERM)
            await process.until(lambda: b"draining 1" in process.written)
            with pytest.raises(aiohttp.ClientConnectionError):
                async with asyncio.timeout(5):
                    while True:  # the listener closes in a moment
                        async with aiohttp.ClientSession() as late, late.get(f"{process.url}/livez"):
                            await asyncio.sleep(0.01)
            go_on.set()
            assert await response.content.read() == b"data: [DONE]\n\n"
        assert await process.ended() == 0
        assert process.exchanges[-1]["outcome"] == "complete"


async def test_sigterm_is_told_by_readyz_before_the_listener_closes(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with Process(tmp_path, variables(upstream, GATEWAY_DRAIN_DELAY="30")) as process:
        async with aiohttp.ClientSession(process.url) as session:
            async with session.get("/readyz") as response:
                assert response.status == 200
            process.signal(signal.SIGTERM)
            await process.until(lambda: b"draining" in process.written)
            async with session.get("/readyz") as response:
                assert response.status == 503
                assert int(response.headers["retry-after"]) > 0
            async with session.get("/livez") as response:
                assert response.status == 200


async def test_a_kept_connection_is_answered_during_the_drain_and_told_that_it_is_over(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    request = "GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n"
    async with Process(tmp_path, variables(upstream, GATEWAY_DRAIN_DELAY="30")) as process:
        async with connected(process.port) as kept:
            await kept.send(request)
            assert (await kept.response()).field("Connection") is None
            process.signal(signal.SIGTERM)
            await process.until(lambda: b"draining" in process.written)
            await kept.send(request)
            answer = await kept.response()
            assert (answer.status, answer.field("Connection")) == (200, b"close")
            assert await kept.to_clean_end() == b""


async def test_a_second_signal_ends_at_once_and_visibly(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(), event(DELTA), until_left())
    names = variables(upstream, GATEWAY_DRAIN_DELAY="300", GATEWAY_DRAIN_TIMEOUT="300")
    async with Process(tmp_path, names) as process, aiohttp.ClientSession() as session:
        async with session.post(process.url + CHAT, json={"stream": True}, headers={"X-API-Key": KEY}) as response:
            await response.content.readuntil(b"\n\n")
            process.signal(signal.SIGTERM)
            await process.until(lambda: b"draining" in process.written)
            process.signal(signal.SIGINT)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert await process.ended() == 0
        assert process.exchanges[-1]["outcome"] == "drained"


async def test_a_stream_that_outlasts_the_drain_is_ended_visibly(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.will(begin(), event(DELTA), until_left())
    names = variables(upstream, GATEWAY_DRAIN_TIMEOUT="0.2")
    async with Process(tmp_path, names) as process, aiohttp.ClientSession() as session:
        async with session.post(process.url + CHAT, json={"stream": True}, headers={"X-API-Key": KEY}) as response:
            await response.content.readuntil(b"\n\n")
            process.signal(signal.SIGTERM)
            rest = b""
            with pytest.raises(aiohttp.ClientPayloadError):
                async for piece in response.content.iter_any():
                    rest += piece
        assert json.loads(rest.removeprefix(b"data: "))["error"]["code"] == "drained"
        assert await process.ended() == 0
        assert process.exchanges[-1]["outcome"] == "drained"


async def test_a_request_that_waits_for_its_upstream_is_told_of_the_drain(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    upstream.will(until_left())
    async with Process(tmp_path, variables(upstream, GATEWAY_DRAIN_TIMEOUT="0.2")) as process:
        waiting = asyncio.create_task(status(process))
        await upstream.received()
        process.signal(signal.SIGTERM)
        assert await waiting == 503
        assert await process.ended() == 0


async def test_sighup_takes_over_keys_and_refuses_what_is_wrong(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice={KEY}\n")
    names = variables(upstream, GATEWAY_API_KEYS_FILE=str(keys))
    del names["GATEWAY_API_KEYS"]
    async with Process(tmp_path, names) as process:
        assert (await status(process), await status(process, NEW_KEY)) == (200, 401)
        keys.write_text(f"carol={NEW_KEY};providers=openai\n")
        process.signal(signal.SIGHUP)
        await process.until(lambda: b"reloaded" in process.written)
        assert (await status(process), await status(process, NEW_KEY)) == (401, 200)
        keys.write_text("carol=short\n")
        process.signal(signal.SIGHUP)
        await process.until(lambda: b"reload refused" in process.written)
        assert await status(process, NEW_KEY) == 200


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_keys_file_that_changes_is_read_without_a_signal(
    tmp_path: Path, upstream: ScriptedUpstream, workers: str
) -> None:
    mounted, first, second = tmp_path / "keys", tmp_path / "first", tmp_path / "second"
    first.write_text(f"alice={KEY}\n")
    second.write_text(f"carol={NEW_KEY}\n")
    mounted.symlink_to(first)
    names = variables(upstream, GATEWAY_API_KEYS_FILE=str(mounted), GATEWAY_WORKERS=workers)
    del names["GATEWAY_API_KEYS"]
    async with Process(tmp_path, names) as process:
        assert (await status(process), await status(process, NEW_KEY)) == (200, 401)
        replaced = tmp_path / "replaced"
        replaced.symlink_to(second)
        replaced.rename(mounted)  # as Kubernetes replaces a mounted secret
        await process.until(lambda: process.written.count(b"reloaded") == 1)
        assert (await status(process), await status(process, NEW_KEY)) == (401, 200)
        second.write_text("carol=short\n")
        await process.until(lambda: b"reload refused" in process.written)
        assert await status(process, NEW_KEY) == 200
        second.write_text(f"carol={NEW_KEY}\nalice={KEY}\n")
        await process.until(lambda: process.written.count(b"reloaded") == 2)
        assert (await status(process), await status(process, NEW_KEY)) == (200, 200)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sighup_warns_of_keys_that_come_from_the_environment(
    tmp_path: Path, upstream: ScriptedUpstream, workers: str
) -> None:
    names = variables(upstream, GATEWAY_LOG_LEVEL="info", GATEWAY_WORKERS=workers)
    (tmp_path / ".env").write_text(f"GATEWAY_API_KEYS=carol={NEW_KEY}\nGATEWAY_LOG_LEVEL=debug\n")
    async with Process(tmp_path, names) as process:
        process.signal(signal.SIGHUP)
        await process.until(lambda: b"reloaded" in process.written)
        assert (await status(process), await status(process, NEW_KEY)) == (200, 401)
        said = process.written.decode()
        assert said.count("GATEWAY_API_KEYS comes from the environment of the process") == 1
        assert "name it in GATEWAY_API_KEYS_FILE, or restart" in said
        assert said.count("GATEWAY_LOG_LEVEL: the environment of the process wins over the .env file") == 1
        assert NEW_KEY not in said and KEY not in said


async def test_a_single_process_is_not_ended_by_the_signal_that_replaces_workers(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with Process(tmp_path, variables(upstream)) as process:
        process.signal(signal.SIGUSR2)
        await process.until(lambda: b"SIGUSR2 replaces workers" in process.written)
        assert await status(process) == 200


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sighup_takes_over_limits_and_what_they_refuse_is_counted_by_policy(
    tmp_path: Path, upstream: ScriptedUpstream, workers: str
) -> None:
    (tmp_path / ".env").write_text("GATEWAY_RATE_LIMITS=key: 2 requests/hour\n")
    async with Process(tmp_path, variables(upstream, GATEWAY_WORKERS=workers)) as process:
        assert [await status(process) for _ in range(3)] == [200, 200, 429]
        (tmp_path / ".env").write_text("GATEWAY_RATE_LIMITS=key: 4 requests/hour\n")
        process.signal(signal.SIGHUP)
        await process.until(lambda: b"reloaded" in process.written)
        assert [await status(process) for _ in range(3)] == [200, 200, 429]
        async with aiohttp.ClientSession() as session, session.get(f"{process.url}/metrics") as response:
            figures = (await response.text()).splitlines()
    assert 'gateway_limit_policy_refusals_total{policy="key-requests-hour"} 2' in figures


async def test_a_busy_port_is_one_clear_line(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    second = Process(tmp_path, variables(upstream, GATEWAY_PORT=str(upstream.port)))
    await second.start()
    assert await second.ended() == 1
    lines = [line for line in second.written.decode().splitlines() if line.strip()]
    assert len(lines) == 1
    assert str(upstream.port) in lines[0]
    assert "Traceback" not in lines[0]


async def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    wrong = {
        "GATEWAY_PORT": "70000",
        "GATEWAY_API_KEYS": "alice=short",
        "GATEWAY_IDLE_TIMEOUT": "soon",
        "GATEWAY_PROVIDER_OPENAI_BASE_URL": "ftp://x",
        "GATEWAY_PROVIDER_OPENAI_DIALECT": "klingon",
    }
    process = Process(tmp_path, wrong)
    await process.start()
    assert await process.ended() == 2
    for name in wrong:
        assert name in process.written.decode()
    assert b"short" not in process.written
    assert b"Traceback" not in process.written


async def test_no_secret_stands_in_anything_the_process_writes(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    canaries = {"key": KEY, "provider key": PROVIDER_KEY, "prompt": "canary-prompt-4711", "query": "canary-query-4711"}
    body = {"model": "m", "messages": [{"role": "user", "content": canaries["prompt"]}]}
    async with Process(tmp_path, variables(upstream, GATEWAY_LOG_LEVEL="debug")) as process:
        async with aiohttp.ClientSession(process.url, headers={"X-API-Key": KEY}) as session:
            for path, steps in (
                (f"{CHAT}?x={canaries['query']}", (answer(f'{{"echo":"{PROVIDER_KEY}"}}'.encode()),)),
                (CHAT, (answer(b"{}", "500 Oops", f"X-Echo: {PROVIDER_KEY}"),)),
                (CHAT, (begin(), event(DELTA))),
                (f"{CHAT}?stream_mode=nonsense", ()),
                ("/nowhere", ()),
            ):
                if steps:
                    upstream.will(*steps, *((until_left(),) if len(steps) > 1 else ()))
                try:
                    async with asyncio.timeout(0.5), session.post(path, json=body) as response:
                        assert KEY not in str(response.headers)
                        assert PROVIDER_KEY not in str(response.headers)
                        await response.read()
                except TimeoutError:
                    pass
            async with session.post("/tickets", json={"path": f"{CHAT}?stream_mode=sse", "body": body}) as response:
                canaries["ticket"] = (await response.json())["ticket"]
            async with aiohttp.ClientSession(process.url) as browser:
                async with browser.get(f"{CHAT}?stream_mode=sse&ticket={canaries['ticket']}") as response:
                    await response.read()
        async with aiohttp.ClientSession(process.url) as stranger:
            async with stranger.get(f"{CHAT}?key={KEY}") as response:
                assert KEY not in await response.text()
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(f"GET /\x00{KEY} HTTP/1.1\r\nX-API-Key {KEY}\r\n\r\n".encode())
        await reader.read()
        writer.close()
        process.signal(signal.SIGTERM)
        await process.ended()
        for what, canary in canaries.items():
            assert canary.encode() not in process.written, what
        command_line = Path(f"/proc/{process.pid}/cmdline")
        assert not command_line.exists() or KEY not in command_line.read_text()


async def test_a_malformed_request_leaves_one_line_and_no_traceback(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with Process(tmp_path, variables(upstream)) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n")
        answered = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b" 400 " in answered.split(b"\r\n")[0]
        await process.until(lambda: bool(process.exchanges))
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        (line,) = process.exchanges
        head, _, body = answered.partition(b"\r\n\r\n")
        assert line["error"] == "malformed_request"
        assert f"x-gateway-request-id: {line['request_id']}".encode() in head
        assert line["duration_ms"] >= 0
        assert line["bytes_out"] == len(body) > 0
        assert b"Traceback" not in process.written


async def test_a_request_whose_body_breaks_leaves_one_line(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    head = (
        f"POST /provider/openai/v1/files HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with Process(tmp_path, variables(upstream)) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(head.encode() + b"5\r\nhello\r\n")
        async with asyncio.timeout(5):
            while not upstream.connections:  # the request is under way
                await asyncio.sleep(0.005)
        writer.write(b"nonsense\r\n")
        answered = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b" 400 " in answered.split(b"\r\n")[0]
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert [(line["path"], line["error"]) for line in process.exchanges] == [
            ("/provider/openai/v1/files", "malformed_request")
        ]


async def test_the_log_tells_of_every_exchange(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    document = {"model": "gpt-x", "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    upstream.will(answer(json.dumps(document).encode(), "200 OK", "x-request-id: Theirs"))
    async with Process(tmp_path, variables(upstream)) as process:
        async with aiohttp.ClientSession(process.url, headers={"X-API-Key": KEY}) as session:
            async with session.post(f"{CHAT}?secret=1", json={"model": "gpt-x"}) as response:
                ours = response.headers["x-gateway-request-id"]
                assert response.headers["x-request-id"] == "Theirs"
        await process.until(lambda: bool(process.exchanges))
        line = process.exchanges[0]
    assert line | {"time": 0, "trace_id": 0, "duration_ms": 0, "first_byte_ms": 0, "user_agent": 0} == {
        "time": 0,
        "level": "info",
        "event": "exchange",
        "request_id": ours,
        "trace_id": 0,
        "method": "POST",
        "path": CHAT,
        "route": "/provider/openai/{tail}",
        "status": 200,
        "outcome": "complete",
        "client": "alice",
        "provider": "openai",
        "model": "gpt-x",
        "upstream_status": 200,
        "upstream_request_id": "Theirs",
        "duration_ms": 0,
        "first_byte_ms": 0,
        "bytes_in": 18,
        "bytes_out": len(json.dumps(document)),
        "input_tokens": 3,
        "output_tokens": 4,
        "peer": "127.0.0.1",
        "user_agent": 0,
    }


async def test_metrics_may_have_a_listener_of_their_own(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    port, token = free_port(), "metrics-token-0123456789"
    own = {
        "GATEWAY_METRICS_ACCESS": "listener",
        "GATEWAY_METRICS_PORT": str(port),
        "GATEWAY_METRICS_TOKEN": token,
    }
    async with Process(tmp_path, variables(upstream, **own)) as process, aiohttp.ClientSession() as session:
        async with session.get(f"{process.url}/metrics", headers={"X-API-Key": KEY}) as response:
            assert response.status == 404
        async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.status == 401
        async with session.get(
            f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
        ) as response:
            assert "gateway_requests_total" in await response.text()
        second = Process(tmp_path, variables(upstream, **own))
        await second.start()
        assert await second.ended() == 1
        assert str(port) in second.written.decode().strip().splitlines()[-1]

"""Several workers: who dies is replaced, what they have in common holds, and nobody notices a restart."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path

import aiohttp
import pytest

from tests.crew import CHAT, HEADERS, asking, owner, until_all_serve, workers
from tests.process import ROOT, Process, free_port
from tests.running import KEY, environ
from tests.scripted import Received, ScriptedUpstream, Step, begin, end, event, until_left

DELTA = b'{"choices":[{"delta":{"content":"x"}}]}'
NEW_KEY = "gw_carol-b04f5e6d7c8a9912-aa5c44e1f07d3b62"


def variables(upstream: ScriptedUpstream, **more: str) -> dict[str, str]:
    names = environ(upstream.url, GATEWAY_WORKERS="2", **more)
    del names["GATEWAY_PORT"]
    return names


class Gate:
    """Holds answers back until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    def step(self) -> Step:
        async def until_open(_: Received) -> None:
            await asyncio.wait_for(self.open.wait(), 30)

        return until_open


@asynccontextmanager
async def session(process: Process) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with a new connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(process.url, headers=HEADERS, connector=connector) as client:
        yield client


async def open_streams(
    stack: AsyncExitStack, process: Process, upstream: ScriptedUpstream, gate: Gate
) -> dict[int, list[aiohttp.ClientResponse]]:
    """Streams that have begun and wait for the gate, by the worker that serves them; each worker has one at least."""
    client = await stack.enter_async_context(session(process))
    streams: dict[int, list[aiohttp.ClientResponse]] = {pid: [] for pid in workers(process).values()}
    async with asyncio.timeout(20):
        while not all(streams.values()):
            upstream.will(begin(), event(DELTA), gate.step(), event(b"[DONE]"), end())
            response = await stack.enter_async_context(client.post(CHAT, json={"stream": True}))
            await response.content.readuntil(b"\n\n")
            streams[owner(response, streams)].append(response)
    return streams


async def until_cut(response: aiohttp.ClientResponse) -> bytes:
    """What still comes of a stream that does not end as it should."""
    rest = b""
    with pytest.raises(aiohttp.ClientPayloadError):
        async for piece in response.content.iter_any():
            rest += piece
    return rest


async def figure(client: aiohttp.ClientSession, series: str) -> float:
    """The sum of a metric over all series that begin like this."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        lines = (await response.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))


async def test_a_killed_worker_is_replaced_and_only_its_own_requests_are_lost(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    async with Process(tmp_path, variables(upstream)) as process, AsyncExitStack() as stack:
        before = await until_all_serve(process)
        streams = await open_streams(stack, process, upstream, gate)
        client = await stack.enter_async_context(session(process))
        victim, other = before[1], before[2]
        os.kill(victim, signal.SIGKILL)
        for lost in streams[victim]:
            with pytest.raises(aiohttp.ClientPayloadError):
                await lost.read()
        for _ in range(50):
            async with client.post(CHAT, json={}) as response:
                assert response.status == 200
        after = await until_all_serve(process, instead_of={victim})
        assert after[2] == other
        gate.open.set()
        for kept in streams[other]:
            assert await kept.read() == b"data: [DONE]\n\n"
        assert await figure(client, "gateway_worker_deaths_total") == 1
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_all_workers_have_one_name_in_via(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    gate = Gate()
    async with Process(tmp_path, variables(upstream, GATEWAY_VIA_NAME="")) as process, AsyncExitStack() as stack:
        await until_all_serve(process)
        await open_streams(stack, process, upstream, gate)
        assert len({request.fields["via"] for request in upstream.requests}) == 1
        gate.open.set()


async def test_figures_are_everybodys_whoever_is_asked_and_never_fall(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with Process(tmp_path, variables(upstream)) as process, session(process) as client:
        before = await until_all_serve(process)
        for _ in range(40):
            async with client.post(CHAT, json={}) as response:
                await response.read()
        for _ in range(6):
            assert await figure(client, "gen_ai_client_operation_duration_seconds_count") == 40
            assert await figure(client, "gateway_workers") == 2
        os.kill(before[1], signal.SIGKILL)
        await until_all_serve(process, instead_of={before[1]})
        for _ in range(6):
            assert await figure(client, "gen_ai_client_operation_duration_seconds_count") == 40
            assert await figure(client, "gateway_workers") == 2


async def test_sigterm_lets_the_streams_of_all_workers_finish(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    gate = Gate()
    async with Process(tmp_path, variables(upstream)) as process, AsyncExitStack() as stack:
        await until_all_serve(process)
        streams = await open_streams(stack, process, upstream, gate)
        process.signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientConnectionError):
            async with asyncio.timeout(10), session(process) as late:
                while True:  # the listener closes in a moment
                    async with late.get("/livez") as response:
                        await response.read()
        gate.open.set()
        for response in chain(*streams.values()):
            assert await response.read() == b"data: [DONE]\n\n"
        assert await process.ended() == 0
        assert {exchange["outcome"] for exchange in process.exchanges} == {"complete"}


@pytest.mark.parametrize("hurried", [False, True])
async def test_streams_that_do_not_finish_in_time_or_are_hurried_are_ended_visibly(
    tmp_path: Path, upstream: ScriptedUpstream, hurried: bool
) -> None:
    names = variables(upstream, GATEWAY_DRAIN_TIMEOUT="300" if hurried else "0.2")
    async with Process(tmp_path, names) as process, AsyncExitStack() as stack:
        await until_all_serve(process)
        streams = await open_streams(stack, process, upstream, Gate())
        reading = [asyncio.create_task(until_cut(response)) for response in chain(*streams.values())]
        process.signal(signal.SIGTERM)
        await process.until(lambda: process.written.count(b"draining") == 2)
        if hurried:
            process.signal(signal.SIGTERM)
        for rest in await asyncio.gather(*reading):
            assert b'"code":"drained"' in rest
        assert await process.ended() == 0
        drained = sum(exchange["outcome"] == "drained" for exchange in process.exchanges)
        assert drained == sum(len(each) for each in streams.values())


async def test_sigterm_is_told_by_every_workers_readyz_first(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with Process(tmp_path, variables(upstream, GATEWAY_DRAIN_DELAY="30")) as process:
        await until_all_serve(process)
        async with session(process) as client:
            process.signal(signal.SIGTERM)
            await process.until(lambda: process.written.count(b"draining") == 2)
            for path, status in (("/readyz", 503), ("/readyz", 503), ("/livez", 200), (CHAT, 200)):
                async with client.request("POST" if path == CHAT else "GET", path, json={}) as response:
                    assert response.status == status
            process.signal(signal.SIGTERM)  # a hurry ends the delay
            assert await process.ended() == 0


async def test_sighup_reaches_every_worker_and_is_refused_as_a_whole(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    keys, log = tmp_path / "keys", tmp_path / "log"
    keys.write_text(f"alice={KEY}\n")
    names = variables(upstream, GATEWAY_API_KEYS_FILE=str(keys), GATEWAY_LOG_FILE=str(log))
    del names["GATEWAY_API_KEYS"]
    process = Process(tmp_path, names)
    await process.start()

    async def said(what: str) -> None:
        async with asyncio.timeout(20):
            while not log.exists() or what not in log.read_text():
                await asyncio.sleep(0.01)

    async def statuses(key: str) -> set[int]:
        got = set()
        async with aiohttp.ClientSession(headers={"X-API-Key": key}) as client:
            for _ in range(10):
                async with client.post(process.url + CHAT, json={}, headers={"Connection": "close"}) as response:
                    got.add(response.status)
        return got

    try:
        await said("worker 1 serves")
        await said("worker 2 serves")
        assert (await statuses(KEY), await statuses(NEW_KEY)) == ({200}, {401})
        log.rename(tmp_path / "rotated")
        keys.write_text(f"carol={NEW_KEY};providers=openai\n")
        process.signal(signal.SIGHUP)
        await said("reloaded")
        assert (await statuses(KEY), await statuses(NEW_KEY)) == ({401}, {200})
        async with asyncio.timeout(20):
            while log.read_text().count('"event":"exchange"') < 20:
                await asyncio.sleep(0.01)
        keys.write_text("carol=short\n")
        process.signal(signal.SIGHUP)
        await said("reload refused")
        assert log.read_text().count("reload refused") == 1
        assert await statuses(NEW_KEY) == {200}
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert process.written == b""
    finally:
        await process.__aexit__()


async def test_workers_are_replaced_under_load_without_a_lost_request(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    async with Process(tmp_path, variables(upstream)) as process, AsyncExitStack() as stack:
        before = await until_all_serve(process)
        streams = await open_streams(stack, process, upstream, gate)
        async with asking(process.url) as got:
            process.signal(signal.SIGUSR2)
            after = await until_all_serve(process, instead_of=before.values())
            await process.until(lambda: b"replaced all workers" in process.written)
            answered = got[200]
            async with asyncio.timeout(20):
                while got[200] < answered + 100:  # by the new ones alone
                    await asyncio.sleep(0.01)
        assert set(got) == {200}
        gate.open.set()
        for response in chain(*streams.values()):
            assert await response.read() == b"data: [DONE]\n\n"
        for pid in before.values():
            async with asyncio.timeout(20):
                while Path(f"/proc/{pid}").exists():
                    await asyncio.sleep(0.01)
        async with session(process) as client:
            told = await figure(client, "gen_ai_client_operation_duration_seconds_count")
            assert told == got[200] + sum(len(each) for each in streams.values())
            assert await figure(client, "gateway_worker_deaths_total") == 0
        assert workers(process) == after


async def test_workers_are_not_replaced_by_some_that_cannot_serve(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice={KEY}\n")
    names = variables(upstream, GATEWAY_API_KEYS_FILE=str(keys))
    del names["GATEWAY_API_KEYS"]
    async with Process(tmp_path, names) as process, session(process) as client:
        before = await until_all_serve(process)
        keys.write_text("alice=short\n")
        process.signal(signal.SIGUSR2)
        await process.until(lambda: b"nobody is replaced" in process.written)
        assert b"\ngateway: GATEWAY_API_KEYS" in process.written
        for _ in range(10):
            async with client.post(CHAT, json={}) as response:
                assert response.status == 200
        assert workers(process) == before


@pytest.mark.parametrize("count", ["1", "2"])
async def test_another_gateway_takes_over_the_port_under_load_without_a_lost_request(
    tmp_path: Path, upstream: ScriptedUpstream, count: str
) -> None:
    more = {"GATEWAY_PORT": str(free_port()), "GATEWAY_WORKERS": count, "GATEWAY_HANDOVER": str(tmp_path / "handover")}
    names = variables(upstream, GATEWAY_DRAIN_DELAY="30") | more  # which is for load balancers, when nobody goes on
    async with Process(tmp_path, names) as first, AsyncExitStack() as stack:
        async with asking(first.url) as got:
            before = first
            for _ in range(2):
                after = await stack.enter_async_context(Process(tmp_path, names))
                before.signal(signal.SIGTERM)
                assert await before.ended(60) == 0
                before = after
                answered = got[200]
                async with asyncio.timeout(20):
                    while got[200] < answered + 100:
                        await asyncio.sleep(0.01)
        assert set(got) == {200}
        assert (tmp_path / "handover").is_socket()
        after.signal(signal.SIGTERM)
        await after.until(lambda: b"draining" in after.written)
        assert not (tmp_path / "handover").exists()
        after.signal(signal.SIGTERM)  # nobody has its place, so it waits for the load balancer, unless it is hurried
        assert await after.ended() == 0


async def test_of_a_thousand_requests_over_two_workers_exactly_a_hundred_pass(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    async with Process(tmp_path, variables(upstream, GATEWAY_RATE_LIMITS="key: 100 requests/hour")) as process:
        await until_all_serve(process)
        async with session(process) as client:

            async def status() -> int:
                async with client.post(CHAT, json={}) as response:
                    return response.status

            assert Counter(await asyncio.gather(*(status() for _ in range(1000)))) == {200: 100, 429: 900}
            assert await figure(client, "gateway_limits_undecided_total") == 0
        assert len(upstream.requests) == 100


async def test_places_of_a_killed_worker_are_free_at_once(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with Process(tmp_path, variables(upstream, GATEWAY_RATE_LIMITS="key: 1 concurrent")) as process:
        pids = await until_all_serve(process)
        async with session(process) as client:
            upstream.will(begin(), event(DELTA), until_left())
            async with client.post(CHAT, json={"stream": True}) as held:
                async with client.post(CHAT, json={}) as refused:
                    assert refused.status == 429
                os.kill(owner(held, pids.values()), signal.SIGKILL)
                with pytest.raises(aiohttp.ClientPayloadError):
                    await held.read()
            async with asyncio.timeout(10):
                while True:
                    async with client.post(CHAT, json={}) as response:
                        if response.status == 200:
                            break


async def test_a_ticket_is_good_once_at_whichever_worker(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with Process(tmp_path, variables(upstream)) as process, session(process) as client:
        await until_all_serve(process)
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(process.url, connector=connector) as browser:

            async def redeemed(url: str) -> int:
                async with browser.get(url) as response:
                    return response.status

            for _ in range(10):
                upstream.will(begin(), event(b"[DONE]"), end())
                asked = {"path": f"{CHAT}?stream_mode=sse", "body": {"model": "m"}}
                async with client.post("/tickets", json=asked) as bought:
                    url = (await bought.json())["url"]
                statuses = await asyncio.gather(*(redeemed(url) for _ in range(4)))
                assert Counter(statuses) == {200: 1, 204: 3}


async def test_the_embedded_default_works_with_several_workers(tmp_path: Path) -> None:
    async with Process(tmp_path, {"GATEWAY_WORKERS": "3"}) as process:
        await until_all_serve(process, 3)
        key = process.written.decode().partition("Demo key")[2].split()[0]
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(process.url, headers={"X-API-Key": key}, connector=connector) as client:
            for _ in range(20):
                path = "/provider/mock/v1/chat/completions"
                async with client.post(path, json={"model": "mock-model", "messages": []}) as response:
                    assert response.status == 200
            process.signal(signal.SIGHUP)
            await process.until(lambda: b"reloaded" in process.written)
            async with client.get("/projects") as response:
                assert response.status == 200
        process.signal(signal.SIGINT)
        assert await process.ended() == 0


async def test_the_metrics_own_listener_tells_everybodys_figures(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    port = free_port()
    own = {"GATEWAY_METRICS_ACCESS": "listener", "GATEWAY_METRICS_PORT": str(port)}
    async with Process(tmp_path, variables(upstream, **own)) as process, session(process) as client:
        await until_all_serve(process)
        for _ in range(10):
            async with client.post(CHAT, json={}) as response:
                await response.read()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as scraper:
            assert await figure(scraper, "gateway_workers") == 2
            assert await figure(scraper, "gen_ai_client_operation_duration_seconds_count") == 10


async def test_workers_end_with_their_supervisor_and_finish_what_they_do(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    gate = Gate()
    names = variables(upstream, GATEWAY_DRAIN_DELAY="300", GATEWAY_PORT=str(free_port()))
    async with Process(tmp_path, names) as process, AsyncExitStack() as stack:
        await until_all_serve(process)
        streams = await open_streams(stack, process, upstream, gate)
        process.signal(signal.SIGKILL)
        await process.until(lambda: process.written.count(b"the supervisor is gone") == 2)
        async with Process(tmp_path, names):  # the port is free
            gate.open.set()
            for response in chain(*streams.values()):
                assert await response.read() == b"data: [DONE]\n\n"
            await process.ended()  # which takes until all who write to its log have ended


async def test_where_nobody_can_start_the_gateway_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif 'worker' in sys.orig_argv:\n    os._exit(7)\n")
    process = Process(tmp_path, {"GATEWAY_WORKERS": "2", "PYTHONPATH": f"{tmp_path}:{ROOT}"})
    await process.start()
    assert await process.ended() == 1
    last = process.written.decode().strip().splitlines()[-1]
    assert last.startswith("gateway: no worker can start: worker ")
    assert "exit code 7, 3 times in a row" in last
    assert b"serving on" not in process.written


async def test_a_place_where_sockets_cannot_be_offered_is_one_clear_line(tmp_path: Path) -> None:
    process = Process(tmp_path, {"GATEWAY_WORKERS": "2", "GATEWAY_HANDOVER": str(tmp_path / ("x" * 150))})
    await process.start()
    assert await process.ended() == 1
    assert process.written.decode().strip().splitlines()[-1].startswith("gateway: cannot offer sockets at ")
    assert b"Traceback" not in process.written

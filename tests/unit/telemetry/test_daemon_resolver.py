"""Names are looked up without anything that an exit would wait for."""

import asyncio
import socket
import subprocess
import sys
import threading
import time

import pytest

from gateway.telemetry.daemon_resolver import DaemonResolver
from tests.needing import ROOT

STOPS_WITHIN = 2.5  # 2 s, and what a busy machine takes


async def test_a_name_is_found() -> None:
    found = await DaemonResolver().resolve("localhost", 4317, socket.AF_INET)
    assert [(each["hostname"], each["host"], each["port"]) for each in found] == [("localhost", "127.0.0.1", 4317)]


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", "\udcff"])
async def test_a_name_that_is_none_is_an_os_error(name: str) -> None:
    with pytest.raises(OSError):
        await DaemonResolver().resolve(name, 80)


async def test_an_answer_that_comes_too_late_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> object:
        asked.set()
        may_answer.wait(10)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await DaemonResolver().resolve("phoenix.example", 80)
    threads = [thread for thread in threading.enumerate() if thread.name == "resolver"]
    assert asked.is_set() and threads and all(thread.daemon for thread in threads)
    may_answer.set()
    await asyncio.to_thread(lambda: [thread.join(10) for thread in threads])
    await asyncio.sleep(0)


HANGING_NAME_SERVER = """
import asyncio, socket, time
from yarl import URL
from gateway.settings.tracing import TracingSettings
from gateway.telemetry.tracing import Tracing
from tests import traced_exchanges as made
socket.getaddrinfo = lambda *_, **__: time.sleep(60)

async def main():
    async with Tracing(TracingSettings(endpoint=URL("http://phoenix.example/v1/traces"))) as tracing:
        tracing.view(made.unary())
        await asyncio.sleep(1)
        print("leaving", flush=True)
    print(tracing.counts, flush=True)

asyncio.run(main())
"""


async def test_a_silent_name_server_does_not_delay_the_exit_of_the_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING_NAME_SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert await asyncio.to_thread(process.stdout.readline) == "leaving\n"
        begun = time.monotonic()
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert time.monotonic() - begun < STOPS_WITHIN
        assert process.stdout.read() == "SpanCounts(sent=0, failed=2, dropped=0)\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

"""The soak finds nothing wrong with a sound gateway, and would find what it is for."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession, web

from tests.load.soak import EXACT, MIB, Look, differences, log_complaints
from tests.load.soak_clients import ERROR, WHOLE, Tally, Wrong, judged_document, judged_stream, question, told
from tests.needing import ROOT

pytestmark = pytest.mark.integration

BEFORE = Look(processes=1, memory=50 * MIB, descriptors=20, tasks=3, blocks=200_000, served=0, called=0)
ERROR_BODY = b'{"error":{"message":"no","type":"server_error","param":null,"code":null}}'
MARKER = b"data: [DONE]\n\n"


def document(content: str) -> bytes:
    return orjson.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})


def events(*texts: str) -> bytes:
    return b"".join(b"data: " + orjson.dumps({"choices": [{"delta": {"content": text}}]}) + b"\n\n" for text in texts)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_short_soak_finds_nothing_wrong(workers: str) -> None:
    command = ("-m", "tests.load.soak", "--seconds", "6", "--clients", "16", "--workers", workers)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(150):
        out, progress = await process.communicate()
    assert out.decode().strip().splitlines()[-1] == "all is well", (out + progress).decode()
    assert process.returncode == 0
    assert b"0 s left" in progress


def test_only_the_answer_to_ones_own_question_is_whole() -> None:
    _, mine = question("mock-model", stream=False)
    _, anothers = question("mock-model", stream=False)
    assert judged_document(200, document(mine), mine, faulty=False) == WHOLE
    assert judged_document(503, ERROR_BODY, mine, faulty=True) == ERROR
    for status, raw, faulty in (
        (200, document(anothers), False),
        (200, document(mine[:-1]), False),
        (200, document(mine)[:-5], False),
        (200, document(mine), True),
        (503, ERROR_BODY, False),
        (503, b"{}", True),
        (502, b"<html>", True),
    ):
        with pytest.raises(Wrong):
            judged_document(status, raw, mine, faulty)


@pytest.mark.parametrize(
    ("sent", "breaks", "faulty", "outcome"),
    [
        (events("a ", "b") + MARKER, False, False, WHOLE),
        (events("a ") + b"data: " + ERROR_BODY + b"\n\n", True, True, ERROR),
        (events("a "), True, True, ERROR),
        (events("a ", "b") + MARKER, False, True, ""),
        (events("a ") + MARKER, False, False, ""),
        (events("a ", "b"), False, True, ""),
        (events("a ", "c") + MARKER, False, False, ""),
        (events("a "), True, False, ""),
    ],
)
async def test_only_ones_own_stream_to_its_end_is_whole(sent: bytes, breaks: bool, faulty: bool, outcome: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(sent)
        if breaks:
            assert request.transport is not None
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as session:
            async with session.get("http://127.0.0.1:{1}/".format(*runner.addresses[0])) as response:
                if outcome:
                    assert await judged_stream(response, "a b", faulty) == outcome
                    return
                with pytest.raises(Wrong):
                    await judged_stream(response, "a b", faulty)
    finally:
        await runner.cleanup()


def test_who_leaves_early_must_have_heard_the_beginning_of_the_own_answer() -> None:
    assert told(events("a ", "b ")[:-3], "a b c") == ("a ", "")
    with pytest.raises(Wrong):
        told(events("a ", "x "), "a b c")


@pytest.mark.parametrize("name", EXACT)
def test_what_is_left_over_is_told(name: str) -> None:
    assert differences(BEFORE, BEFORE) == []
    (told_of,) = differences(BEFORE, replace(BEFORE, **{name: getattr(BEFORE, name) + 1}))
    assert told_of.startswith(EXACT[name])


def test_memory_that_is_left_over_is_told() -> None:
    assert differences(BEFORE, replace(BEFORE, memory=55 * MIB, blocks=201_000)) == []
    memory, blocks = replace(BEFORE, memory=90 * MIB), replace(BEFORE, blocks=210_000)
    assert differences(BEFORE, memory) == ["memory: 50.0 MiB before, 90.0 MiB after"]
    assert differences(BEFORE, blocks) == ["Python's blocks of memory: 200000 before, 210000 after"]


def test_requests_without_a_line_and_errors_in_the_log_are_told(tmp_path: Path) -> None:
    log, tally = tmp_path / "log", Tally()
    lines = [
        {"event": "exchange", "path": "/provider/mock/v1/chat/completions", "level": "info"},
        {"event": "exchange", "path": "/metrics", "level": "info"},
    ]
    log.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    tally.add("ask", WHOLE)
    assert log_complaints(log, tally) == []
    tally.add("ask", WHOLE)
    lines.append({"event": "log", "level": "error", "message": "oh"})
    log.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    assert log_complaints(log, tally) == ["the log: oh", "2 requests have 1 lines in the log"]

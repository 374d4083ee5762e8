"""What is no exchange is said in the same form, one line each."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest

from gateway.settings import Log
from gateway.telemetry import logs
from gateway.telemetry.exchange import Outcome
from tests.made_exchanges import exchange

DOCUMENT = Path(__file__).parents[3] / "docs" / "log.md"


class Kept:
    """Takes lines as a LogWriter does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


@pytest.fixture
def kept() -> Iterator[Kept]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield Kept()
    root.handlers[:] = before
    root.setLevel(level)


def test_a_log_call_is_one_json_line_its_traceback_within(kept: Kept) -> None:
    logs.through(kept, Log(format="json"))  # type: ignore[arg-type]
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("gateway").exception("a bug")
    assert len(kept.lines) == 1
    told = json.loads(kept.lines[0])
    assert (told["level"], told["message"]) == ("error", "a bug")
    assert "ValueError" in told["traceback"]


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_said_while_a_request_is_served_names_it_and_its_trace(kept: Kept, form: str) -> None:
    logs.through(kept, Log(format=form))  # type: ignore[arg-type]
    made = exchange()

    def served() -> None:
        with logs.speak_for(made):
            logging.getLogger("gateway").error("a bug")

    copy_context().run(served)
    logging.getLogger("gateway").error("no request's")
    during, outside = (line.decode() for line in kept.lines)
    assert made.trace.trace_id in during and made.id in during
    assert made.trace.trace_id not in outside and "trace_id" not in outside


async def test_a_task_speaks_for_whom_it_serves_and_its_workflow_for_nobody_afterwards(kept: Kept) -> None:
    logs.through(kept, Log(format="json"))  # type: ignore[arg-type]
    task, first, second = asyncio.current_task(), exchange(id="first"), exchange(id="second")

    async def say() -> None:
        logging.getLogger("gateway").error("a bug")

    await say()
    logs.serve(task, first)
    await say()
    with logs.speak_for(first):
        await asyncio.create_task(say())
    logs.served(task)
    logs.serve(task, second)
    await say()
    await asyncio.create_task(say())  # nobody has said for whom
    logs.served(task)
    await say()
    assert [json.loads(line).get("request_id") for line in kept.lines] == [None, "first", "first", "second", None, None]


def test_the_document_explains_each_field_of_these_lines() -> None:
    section = DOCUMENT.read_text().partition("(`event` is `log`)")[2]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == logs.FIELDS


def test_a_line_holds_those_fields_alone(kept: Kept) -> None:
    logs.through(kept, Log(format="json"))  # type: ignore[arg-type]

    def served() -> None:
        with logs.speak_for(exchange()):
            logging.getLogger("gateway").error("a bug", exc_info=ValueError())

    copy_context().run(served)
    assert list(json.loads(kept.lines[0])) == list(logs.FIELDS)


def test_the_level_is_ours_and_libraries_keep_quiet(kept: Kept) -> None:
    logs.through(kept, Log(format="json", level="warning"))  # type: ignore[arg-type]
    logging.getLogger("gateway").info("calm")
    logging.getLogger("aiohttp.server").error("Error handling request")
    logging.getLogger("some.library").info("chatter")
    assert kept.lines == []
    logging.getLogger("gateway").warning("not calm")
    assert len(kept.lines) == 1


def test_text_is_for_reading(kept: Kept) -> None:
    logs.through(kept, Log(format="text"))  # type: ignore[arg-type]
    logging.getLogger("gateway").info("serving on %s", "here")
    assert kept.lines[0].decode().endswith(" info serving on here\n")


@pytest.mark.parametrize(("level", "count"), [("debug", 2), ("info", 2), ("warning", 1), ("error", 1)])
def test_exchanges_that_went_well_are_left_out_above_info(kept: Kept, level: str, count: int) -> None:
    view = logs.AccessView(Log(format="json", level=level), kept)  # type: ignore[arg-type]
    view(exchange())
    view(exchange(outcome=Outcome.UPSTREAM_TRUNCATED))
    assert len(kept.lines) == count


def test_lines_of_requests_without_a_key_are_bounded_in_each_second_and_the_rest_is_counted(kept: Kept) -> None:
    view = logs.AccessView(Log(format="json", without_key_rate=3), kept)  # type: ignore[arg-type]
    for second in (10, 11):
        for number in range(5):
            for client in (None, "team-a"):
                made = exchange(client=client, id=f"{client}-{second}-{number}")
                made.ended = second * 1_000_000_000 + number
                view(made)
    ids = [json.loads(line)["request_id"] for line in kept.lines]
    assert [each for each in ids if each.startswith("None")] == [f"None-{s}-{n}" for s in (10, 11) for n in range(3)]
    assert len([each for each in ids if each.startswith("team-a")]) == 10
    assert view.omitted == 4


HOSTILE = "a\r\n12:00:00.000 error forged\x1b[2K\x7f\x85\x9b\u2028\u202e\udc80"


@pytest.mark.parametrize("form", ["json", "text"])
def test_neither_a_message_nor_an_error_forges_a_line(kept: Kept, form: str) -> None:
    logs.through(kept, Log(format=form))  # type: ignore[arg-type]
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("gateway").exception("a bug: %s", HOSTILE)
    (written,) = kept.lines
    lines = written.decode().split("\n")[:-1]
    for line in lines:
        assert re.findall("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", line) == []
    assert [line for line in lines[1:] if not line.startswith("    ")] == []
    if form == "json":
        told = json.loads(written)
        assert told["message"] == "a bug: " + HOSTILE.replace("\udc80", "\\udc80")
    else:
        assert r"a bug: a\x0d\x0a12:00:00.000 error forged\x1b[2K\x7f\x85\x9b\u2028\u202e\udc80" in lines[0]

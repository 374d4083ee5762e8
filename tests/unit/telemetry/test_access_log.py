"""One line per exchange: complete, readable, and safe whatever the client sent."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.errors import Fault
from gateway.telemetry import access_log
from gateway.telemetry.exchange import Exchange, Outcome, Usage
from tests.made_exchanges import call, chat, exchange

DOCUMENT = Path(__file__).parents[3] / "docs" / "log.md"


def test_a_line_holds_what_is_known_and_nothing_else() -> None:
    made = exchange(call(facts=chat()), client="alice")
    line = access_log.json_line(made)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    told = json.loads(line)
    assert told["client"] == "alice"
    assert (told["model"], told["input_tokens"], told["output_tokens"]) == ("gpt-4o", 7, 9)
    assert told["duration_ms"] == 10
    assert told["first_byte_ms"] == 5
    assert None not in told.values()
    assert "project" not in told


def test_fields_come_in_the_order_of_the_table() -> None:
    names = list(json.loads(access_log.json_line(exchange(call(facts=chat()), client="a", project="demo"))))
    assert names == [name for name in access_log.FIELDS if name in names]
    assert access_log.Told.__struct_fields__ == tuple(access_log.FIELDS)


OPTIONAL = {
    "method": "PUT",
    "path": "/100%d",
    "route": "/other",
    "proxy_request_id": 'p"1',
    "session": "100 %d\n",
    "client": "alice",
    "error": "overloaded",
    "fault": Fault.GATEWAY,
    "stream_mode": "ndjson",
    "retry_count": 2,
    "peer": "10.0.0.1",
    "user_agent": "agent/%s",
    "status": 0,
    "bytes_in": 7,
    "bytes_out": 9,
    "provider": None,
    "outcome": Outcome.CLIENT_GONE,
    "first_byte": None,
}


@pytest.mark.parametrize("without", [None, *OPTIONAL])
@pytest.mark.parametrize(
    "known", [{"facts": chat()}, {"facts": chat(tokens=(None, 3)), "request_id": 'r"%'}, {"status": None}]
)
def test_a_line_made_from_a_frame_tells_what_the_table_would(without: str | None, known: dict[str, Any]) -> None:
    for taken in ([without], [name for name in OPTIONAL if name != without]):
        made = exchange(call(**known), **{name: OPTIONAL[name] for name in taken if name is not None})
        line = access_log.json_line(made)
        assert json.loads(line) == msgspec.to_builtins(access_log.told(made))
        assert list(json.loads(line)) == [name for name in access_log.FIELDS if name in json.loads(line)]


def test_a_total_is_told_where_its_parts_are_not() -> None:
    facts = chat(tokens=(None, None))
    facts.usage = Usage(total_tokens=16)
    line = json.loads(access_log.json_line(exchange(call(facts=facts))))
    assert (line["total_tokens"], "input_tokens" in line, "output_tokens" in line) == (16, False, False)
    assert b"total_tokens=16" in access_log.text_line(exchange(call(facts=facts)))
    several = json.loads(access_log.json_line(exchange(call(facts=facts), call(facts=facts), call(facts=chat()))))
    assert [several[name] for name in ("input_tokens", "output_tokens", "total_tokens")] == [7, 9, 32]
    assert [each.get("total_tokens") for each in several["calls"]] == [16, 16, None]
    facts.usage = Usage(input_tokens=7, total_tokens=7)
    assert "total_tokens" not in json.loads(access_log.json_line(exchange(call(facts=facts))))


def test_what_was_charged_by_estimate_is_told() -> None:
    facts = chat()
    line = json.loads(access_log.json_line(exchange(call(facts=facts, estimated_tokens=640))))
    assert (line["estimated_tokens"], line["input_tokens"]) == (640, 7)
    several = json.loads(access_log.json_line(exchange(call(estimated_tokens=40), call(), call(estimated_tokens=2))))
    assert several["estimated_tokens"] == 42
    assert [each.get("estimated_tokens") for each in several["calls"]] == [40, None, 2]
    assert "estimated_tokens" not in json.loads(access_log.json_line(exchange(call(facts=facts))))


def test_of_what_has_not_ended_no_duration_is_told() -> None:
    made = exchange(call(facts=chat()))
    made.ended = None
    line = json.loads(access_log.json_line(made))
    assert line == json.loads(msgspec.json.encode(access_log.told(made)))
    assert "duration_ms" not in line


def test_a_long_user_agent_is_cut() -> None:
    line = json.loads(access_log.json_line(exchange(call(facts=chat()), user_agent="u" * 300)))
    assert line["user_agent"] == "u" * 200


def test_lines_of_one_frame_keep_what_is_each_ones_own() -> None:
    one, other = exchange(call(facts=chat()), id="r1"), exchange(call(facts=chat(tokens=(1, 2))), id="r2", took=20)
    assert [json.loads(access_log.json_line(made))["request_id"] for made in (one, other, one)] == ["r1", "r2", "r1"]
    assert json.loads(access_log.json_line(other))["duration_ms"] == 20


def test_who_the_client_is_makes_no_frame_of_its_own() -> None:
    before = access_log._frame.cache_info().misses
    for number in range(20):
        made = exchange(call(facts=chat()), client=f"team-{number}", peer=f"192.0.2.{number}", route="/only-here")
        told = json.loads(access_log.json_line(made))
        assert (told["client"], told["peer"]) == (made.client, made.peer)
    assert access_log._frame.cache_info().misses == before + 1


def test_a_project_lists_its_calls_and_sums_their_tokens() -> None:
    first = call(step="points", facts=chat(tokens=(1, 2)))
    second = call(at=1_010, step="writer", facts=chat("other", tokens=(3, 4)))
    told = json.loads(access_log.json_line(exchange(first, second, project="demo")))
    assert [each["step"] for each in told["calls"]] == ["points", "writer"]
    assert [each["model"] for each in told["calls"]] == ["gpt-4o", "other"]
    assert (told["input_tokens"], told["output_tokens"]) == (4, 6)


HOSTILE = [
    *("a\r\n12:00:00 200 forged", '"}', "\udcff\udc80", "\x00", "a\x1b[2Kb", "a\x7fb", "a\x85b", "a\x9bb"),
    *("a\u2028b\u2029c", "a\u202eb\u202c", "a\u2066b\u2069", "a\u200fb", "a\ufeffb", "ordinary", "\u65e5\u672c \u00e9"),
]
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
OF_EXCHANGE = ("proxy_request_id", "method", "path", "client", "stream_mode", "session", "peer", "user_agent")
# A frame for one call, the table where the path is too long for one, and where there are several calls.
WAYS: dict[str, dict[str, object]] = {"framed": {}, "long": {"path": "/" + "x" * 2000}, "several": {}}


def hostile(way: str, field: str, text: str) -> Exchange:
    """An exchange in which the client or the provider chose `text` for `field`."""
    of_call: dict[str, Any] = {"facts": chat(text if field == "model" else "gpt-4o")}
    if field == "upstream_request_id":
        of_call["request_id"] = text
    facts = {**WAYS[way], **({field: text} if field in OF_EXCHANGE else {})}
    calls = [call(**of_call) for _ in range(2 if way == "several" else 1)]
    return exchange(*calls, **facts)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", [*OF_EXCHANGE, "model", "upstream_request_id"])
@pytest.mark.parametrize("way", list(WAYS))
def test_no_value_breaks_a_line_or_steers_a_terminal(way: str, field: str, text: str) -> None:
    made = hostile(way, field, text)
    for line in (access_log.json_line(made), access_log.text_line(made)):
        shown = line.decode()
        assert shown.endswith("\n")
        assert HIDDEN.findall(shown[:-1]) == []
    told = json.loads(access_log.json_line(made))
    if field in told and not (way == "long" and field == "path"):
        assert told[field] == text.encode("utf-8", "backslashreplace").decode()


def test_a_line_for_a_terminal_shows_what_was_escaped() -> None:
    line = access_log.text_line(hostile("framed", "model", "a\r\nb\x85\u2028")).decode()
    assert r" model=a\x0d\x0ab\x85\u2028 " in line


def test_a_value_with_blanks_makes_no_fields_of_its_own() -> None:
    line = access_log.text_line(hostile("framed", "model", 'gpt client=admin "x"')).decode()
    assert r' model="gpt client=admin \"x\"" ' in line


@pytest.mark.parametrize("text", ["a\nb", '"}', "\udcff\udc80", "\x00", "é" * 300])
def test_what_a_client_says_stays_in_its_field(text: str) -> None:
    made = exchange(call(facts=chat(text)), path=f"/provider/openai/{text}", user_agent=text)
    told = json.loads(access_log.json_line(made))
    assert told["status"] == 200
    assert access_log.json_line(made).count(b"\n") == 1


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (Outcome.COMPLETE, "info"),
        (Outcome.REFUSED, "info"),
        (Outcome.UPSTREAM_TIMEOUT, "warning"),
        (Outcome.FAULT, "error"),
    ],
)
def test_the_level_says_how_bad_it_was(outcome: Outcome, level: str) -> None:
    assert json.loads(access_log.json_line(exchange(outcome=outcome)))["level"] == level


def test_a_client_that_left_before_there_was_a_status_has_none() -> None:
    told = json.loads(access_log.json_line(exchange(status=0, first_byte=None, outcome=Outcome.CLIENT_GONE)))
    assert "status" not in told
    assert "first_byte_ms" not in told


def test_the_line_for_a_terminal_is_one_line_that_says_the_same() -> None:
    made = exchange(
        call(facts=chat()), client="alice", outcome=Outcome.UPSTREAM_ERROR, error="upstream_error", fault=Fault.UPSTREAM
    )
    line = access_log.text_line(made).decode()
    assert line.count("\n") == 1
    for part in (
        "200",
        "10.0 ms",
        "POST",
        "/provider/openai",
        "outcome=upstream_error",
        "client=alice",
        "model=gpt-4o",
        f"trace_id={made.trace.trace_id}",
    ):
        assert part in line


def test_the_document_explains_each_field() -> None:
    section = DOCUMENT.read_text().partition("(`event` is `exchange`)")[2].partition("\n## ")[0]
    explained = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE))
    assert explained == access_log.FIELDS

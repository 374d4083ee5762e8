"""What is kept of a head, and for whom it is found again."""

from typing import Any

import pytest
from multidict import CIMultiDict

from gateway.downstream import head
from gateway.downstream.head import Heads, Told
from gateway.wire import headers

JSON = ("Content-Type", "application/json")
AGENT = ("User-Agent", "OpenAI/Python 3.54.0")


class _Request:
    """As much of a request as is read."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        self.headers = CIMultiDict(fields)
        self.content_type = self.headers.get("Content-Type", "application/octet-stream").partition(";")[0]
        self.raw_headers = tuple((name.encode(), value.encode()) for name, value in fields)
        self._message = self


def read(heads: Heads, *fields: tuple[str, str]) -> Told:
    request: Any = _Request(*fields)
    return heads.read(request)


@pytest.mark.parametrize(
    "own",
    [
        ("Content-Length", "17"), ("X-API-Key", "gw_one"), ("authorization", "Bearer two"), ("Cookie", "a=b"),
        ("api-key", "three"), ("X-Goog-Api-Key", "four"), ("traceparent", "00-1"), ("TRACESTATE", "a=1"),
        ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "192.0.2.1"),
    ],
)  # fmt: skip
def test_what_is_one_requests_own_is_no_part_of_what_is_kept(own: tuple[str, str]) -> None:
    heads = Heads()
    first, second = read(heads, JSON, own, AGENT), read(heads, JSON, AGENT)
    assert first.head is second.head
    assert own[1].encode() not in repr(first.head.form.fields).encode()


def test_keys_are_told_in_the_order_in_which_they_count_and_kept_nowhere() -> None:
    heads = Heads()
    told = read(heads, ("Authorization", "Bearer a"), JSON, ("x-api-key", "b"))
    assert told.keys == [b"b", b"a"]
    assert "Bearer a" not in repr(heads.__dict__)


def test_values_of_a_requests_own_leave_holes_where_they_stood() -> None:
    heads = Heads()
    first = read(heads, ("X-Request-ID", "1"), JSON, ("Idempotency-Key", "2"))
    second = read(heads, ("X-Request-ID", "3"), JSON, ("Idempotency-Key", "4"))
    assert first.head is second.head
    assert (first.values, second.values) == ((b"1", b"2"), (b"3", b"4"))
    assert [value == headers.HOLE for _, value in first.head.form.fields] == [True, False, True]


def test_a_trace_is_noticed() -> None:
    assert read(Heads(), JSON, ("traceparent", "anything")).continues_trace
    assert not read(Heads(), JSON).continues_trace


def test_a_long_user_agent_is_cut() -> None:
    assert read(Heads(), JSON, ("User-Agent", "u" * 3000)).head.user_agent == "u" * head.LONGEST_AGENT


def test_what_a_head_tells() -> None:
    told = read(
        Heads(), JSON, AGENT, ("x-stainless-retry-count", "2"), ("X-Stream-Mode", "sse"), ("X-Gateway-Retries", "1"),
        ("x-session-id", "s"), ("Via", "1.1 llm-gateway"),
    ).head  # fmt: skip
    assert (told.is_json, told.user_agent, told.retry_count) == (True, AGENT[1], 2)
    assert (told.modes, told.asks_again, told.passed_here, told.hints.session) == (("sse",), True, True, "s")
    bare = read(Heads(), ("x-stainless-retry-count", "many")).head
    assert (bare.is_json, bare.user_agent, bare.retry_count, bare.asks_again, bare.passed_here) == (
        False, "", 0, False, False,
    )  # fmt: skip


def test_few_heads_are_kept_and_no_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "MOST", 8)
    heads = Heads()
    for number in range(100):
        read(heads, ("X-A", str(number)), (f"X-{number}", "1"))
        assert len(heads._known) <= 8 and len(heads._kinds) <= 8
    long = ("X-Long", "x" * head.LONGEST)
    assert read(heads, long).head is not read(heads, long).head

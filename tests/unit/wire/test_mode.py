"""Which stream mode a client asks for, and what is left of its query after that."""

import pytest

from gateway.errors import InvalidRequest
from gateway.wire.mode import StreamMode, asked, without_mode


@pytest.mark.parametrize(
    ("query", "headers", "mode"),
    [
        ("", [], None),
        ("a=1&mode=sse", [], None),
        ("x=stream_mode", [], None),
        ("stream_mode=sse", [], StreamMode.SSE),
        ("a=1&stream_mode=NDJSON&b=2", [], StreamMode.NDJSON),
        ("%73tream%5Fmode=t%65xt", [], StreamMode.TEXT),
        ("stream_mode=json&stream_mode=json", [], StreamMode.JSON),
        ("", ["sse"], StreamMode.SSE),
        ("", [" Text "], StreamMode.TEXT),
        ("", ["sse", "sse, sse"], StreamMode.SSE),
        ("stream_mode=text", ["text"], StreamMode.TEXT),
    ],
)
def test_the_mode_that_was_asked_for(query: str, headers: list[str], mode: StreamMode | None):
    assert asked(query, headers) is mode


@pytest.mark.parametrize(
    ("query", "headers"), [("stream_mode=xml", []), ("stream_mode=", []), ("stream_mode", []), ("", ["x"])]
)
def test_an_unknown_mode_is_refused_and_the_four_are_named(query: str, headers: list[str]):
    with pytest.raises(InvalidRequest, match="json, sse, ndjson, text") as refused:
        asked(query, headers)
    assert refused.value.param == "stream_mode"


def test_query_and_header_that_differ_are_refused_by_name():
    with pytest.raises(InvalidRequest, match="stream_mode=sse and the header X-Stream-Mode: text"):
        asked("stream_mode=sse", ["text"])


@pytest.mark.parametrize(("query", "headers"), [("stream_mode=sse&stream_mode=text", []), ("", ["sse", "json"])])
def test_one_place_with_two_different_values_is_refused(query: str, headers: list[str]):
    with pytest.raises(InvalidRequest, match="different values"):
        asked(query, headers)


def test_a_refusal_never_repeats_what_the_client_sent():
    with pytest.raises(InvalidRequest) as refused:
        asked("stream_mode=sk-secret")
    assert "sk-secret" not in refused.value.message


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("", ""),
        ("a=1", "a=1"),
        ("stream_mode=sse", ""),
        ("a=%2f+b&&stream_mode=sse&a=&b", "a=%2f+b&&a=&b"),
        ("%73tream_mode=sse&x=%73", "x=%73"),
        ("stream_mode&stream_mode_2=1&xstream_mode=2", "stream_mode_2=1&xstream_mode=2"),
        ("ticket=t.1&beta=true", "ticket=t.1&beta=true"),
        ("my_stream_mode=sse&stream_mode%20=1", "my_stream_mode=sse&stream_mode%20=1"),
        ("x=ticket&y=stream_mode", "x=ticket&y=stream_mode"),
    ],
)
def test_every_byte_of_the_rest_of_the_query_stays(query: str, left: str):
    assert without_mode(query) == left


def test_each_mode_has_its_media_type_and_only_json_waits():
    assert {mode: mode.content_type for mode in StreamMode} == {
        "json": "application/json",
        "sse": "text/event-stream",
        "ndjson": "application/x-ndjson",
        "text": "text/plain; charset=utf-8",
    }
    assert [mode for mode in StreamMode if not mode.streams] == [StreamMode.JSON]

"""When a stream is complete: for each API, what ends it, what shows that it has not ended, and what shows nothing."""

import random
from typing import Any

import pytest

from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.gemini import GEMINI
from gateway.providers.openai import OPENAI
from gateway.providers.provider import Dialect
from gateway.providers.reading.stream_end import End, StreamBody, StreamEndRule
from gateway.upstream.tap import Tap
from tests.unit.providers.samples import (
    CHAT_ERROR,
    CHAT_EVENTS,
    CHAT_PATH,
    CHAT_STREAM,
    COMPLETION_PATH,
    DONE,
    EMBEDDING_PATH,
    GEMINI_ARRAY,
    GEMINI_EVENTS,
    GEMINI_STREAM,
    GEMINI_STREAM_PATH,
    GEMINI_USAGE,
    INTERACTIONS_ERROR,
    INTERACTIONS_EVENTS,
    INTERACTIONS_PATH,
    INTERACTIONS_STREAM,
    MESSAGES_ERROR,
    MESSAGES_EVENTS,
    MESSAGES_PATH,
    MESSAGES_STREAM,
    RESPONSES_EVENTS,
    RESPONSES_PATH,
    RESPONSES_STREAM,
    chat_choice,
    chat_chunk,
    compact,
    event_stream,
    gemini_event,
    interaction_stream,
)

MARKED, FINISHED, UNFINISHED, UNKNOWN = End.MARKED, End.FINISHED, End.UNFINISHED, End.UNKNOWN
GEMINI_ERROR = {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}


def chat(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**chat_chunk([*choices]), **more}


def said(text: str, index: int = 0) -> dict[str, Any]:
    return chat(chat_choice({"content": text}, index=index))


def finished(index: int = 0, **delta: Any) -> dict[str, Any]:
    return chat(chat_choice(delta, finish="stop", index=index))


USAGE = {**chat_chunk([]), "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
ROLE = chat(chat_choice({"role": "assistant", "content": ""}))
FILTERED = chat({"index": 0, "finish_reason": None, "content_filter_offsets": {}, "delta": {}})

CHAT: dict[str, tuple[End, bytes]] = {
    "marker": (MARKED, CHAT_STREAM),
    "marker with CR": (MARKED, CHAT_STREAM.replace(b"\n", b"\r\n")),
    "marker alone": (MARKED, b"data: [DONE]"),
    "marker without blank": (MARKED, b"data:[DONE]\r\n"),
    "marker and a comment": (MARKED, CHAT_STREAM + b": bye\n\n"),
    "marker after no finish": (MARKED, event_stream([said("a")]) + DONE),
    "an error": (MARKED, event_stream([CHAT_EVENTS[0], CHAT_ERROR])),
    "an error as a string": (MARKED, event_stream([{"error": "as a string"}])),
    "no marker": (FINISHED, CHAT_STREAM.removesuffix(DONE)),
    "finish with the last words": (FINISHED, event_stream([finished(content="a")])),
    "finish then usage": (FINISHED, event_stream([said("a"), finished(), USAGE])),
    "finish then usage beside a choice": (
        FINISHED,
        event_stream([said("a"), finished(), {**ROLE, "usage": USAGE["usage"]}]),
    ),
    "finish then filter results": (FINISHED, event_stream([said("a"), finished(), FILTERED])),
    "finish twice": (FINISHED, event_stream([said("a"), finished(), finished()])),
    "finish without its blank line": (FINISHED, event_stream([said("a"), finished()]).rstrip(b"\n")),
    "both of two": (FINISHED, event_stream([said("a"), said("b", 1), finished(), finished(1)])),
    "one of two": (UNFINISHED, event_stream([said("a"), said("b", 1), finished()])),
    "the other of two": (UNFINISHED, event_stream([said("a"), said("b", 1), finished(1)])),
    "one of two that it goes on about": (UNFINISHED, event_stream([finished(), said("b", 1), said("c", 1)])),
    "words of an end": (UNFINISHED, event_stream([said("data: [DONE]\n\ndata: [DONE]")])),
    "words of a finish": (UNFINISHED, event_stream([said('"finish_reason":"stop"')])),
    "no finish": (UNFINISHED, event_stream([ROLE, said("a")])),
    "a role alone": (UNFINISHED, event_stream([ROLE])),
    "an empty reason": (UNFINISHED, event_stream([chat({**chat_choice({"content": "a"}), "finish_reason": ""})])),
    "usage and no finish": (UNFINISHED, event_stream([said("a"), USAGE])),
    "an error that is null": (UNFINISHED, event_stream([{**CHAT_EVENTS[0], "error": None}])),
    "a cut marker": (UNFINISHED, CHAT_STREAM.removesuffix(b"NE]\n\n")),
    "a cut event": (UNFINISHED, event_stream([said("a"), finished()]) + b'data: {"usage":{"prom'),
    "nothing": (UNKNOWN, b""),
    "line ends": (UNKNOWN, b"\r\n\r\n"),
    "comments": (UNKNOWN, b": PROCESSING\n\n: PROCESSING\n\n"),
    "usage alone": (UNKNOWN, event_stream([USAGE])),
    "prompt filter results": (UNKNOWN, event_stream([{"choices": [], "prompt_filter_results": []}])),
}
NATIVE = {"content": "a", "stop": False, "index": 0}
NATIVE_END = {"content": "", "stop": True, "index": 0, "stop_type": "eos"}
COMPLETIONS: dict[str, tuple[End, bytes]] = {
    "text": (UNFINISHED, event_stream([{"choices": [{"index": 0, "text": "a", "finish_reason": None}]}])),
    "text that finishes": (FINISHED, event_stream([{"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}])),
    "llama.cpp": (FINISHED, event_stream([NATIVE, NATIVE_END])),
    "llama.cpp cut": (UNFINISHED, event_stream([NATIVE, NATIVE])),
    "one of two prompts": (UNFINISHED, event_stream([NATIVE, {**NATIVE, "index": 1}, NATIVE_END])),
}
RESPONSES: dict[str, tuple[End, bytes]] = {
    "an end": (MARKED, RESPONSES_STREAM),
    "an end and a marker": (MARKED, RESPONSES_STREAM + DONE),
    "an end and a comment": (MARKED, RESPONSES_STREAM + b": bye\n\n"),
    **{
        kind: (MARKED, event_stream([RESPONSES_EVENTS[0], {"type": kind, "message": "x"}], named=True))
        for kind in ("response.completed", "response.failed", "response.incomplete", "error")
    },
    "an end and half a marker": (MARKED, RESPONSES_STREAM + b"data: [DO"),
    "no end": (UNFINISHED, event_stream(RESPONSES_EVENTS[:-1], named=True)),
    "begun": (UNFINISHED, event_stream(RESPONSES_EVENTS[:1], named=True)),
}
MESSAGES: dict[str, tuple[End, bytes]] = {
    "an end": (MARKED, MESSAGES_STREAM),
    "an end with CR": (MARKED, MESSAGES_STREAM.replace(b"\n", b"\r\n")),
    "an end and a ping": (MARKED, MESSAGES_STREAM + b": bye\n\nevent: ping\ndata: {}\n\n"),
    "an error": (MARKED, event_stream([*MESSAGES_EVENTS[:3], MESSAGES_ERROR], named=True)),
    "a reason": (FINISHED, event_stream(MESSAGES_EVENTS[:-1], named=True)),
    "no reason": (UNFINISHED, event_stream(MESSAGES_EVENTS[:-2], named=True)),
    "words of an end": (
        UNFINISHED,
        event_stream([{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "message_stop"}}]),
    ),
    "a ping": (UNKNOWN, b"event: ping\ndata: {}\n\n"),
}
GEMINI_PART = {"candidates": [{"content": {"parts": [{"text": "a"}]}}]}
GENERATED: dict[str, tuple[End, bytes]] = {
    "a finish": (MARKED, GEMINI_STREAM),
    "a finish then usage": (MARKED, event_stream([*GEMINI_EVENTS, {"usageMetadata": GEMINI_USAGE}])),
    "a finish then an empty candidate": (MARKED, event_stream([*GEMINI_EVENTS, {"candidates": [{"index": 0}]}])),
    "a block": (MARKED, event_stream([{"promptFeedback": {"blockReason": "SAFETY"}}])),
    "an error": (MARKED, event_stream([GEMINI_EVENTS[0], GEMINI_ERROR])),
    "an array": (MARKED, GEMINI_ARRAY),
    "an array without a line end": (MARKED, GEMINI_ARRAY.rstrip()),
    "an array with an error": (MARKED, compact([GEMINI_PART, GEMINI_ERROR])),
    "an array with no finish": (UNFINISHED, compact([GEMINI_PART])),
    "an array cut": (UNFINISHED, GEMINI_ARRAY.rstrip()[:-1]),
    "no finish": (UNFINISHED, event_stream(GEMINI_EVENTS[:3])),
    "words of a finish": (UNFINISHED, event_stream([gemini_event([{"text": '"finishReason":"STOP"'}])])),
    "ratings alone": (UNFINISHED, event_stream([{**GEMINI_EVENTS[0], "promptFeedback": {"safetyRatings": []}}])),
    "a cut event": (UNFINISHED, event_stream(GEMINI_EVENTS[:1]) + b'data: {"candidates":[{"content":'),
    "one of two": (
        UNFINISHED,
        event_stream([{"candidates": [{"index": 1, "content": {}, "finishReason": "STOP"}, {**GEMINI_PART}]}])
        + event_stream([GEMINI_PART]),
    ),
    "usage alone": (UNKNOWN, event_stream([{"usageMetadata": GEMINI_USAGE}])),
    "nothing": (UNKNOWN, b""),
    "an empty array": (UNKNOWN, b"[]"),
}
INTERACTIONS: dict[str, tuple[End, bytes]] = {
    "done": (MARKED, INTERACTIONS_STREAM),
    "an end": (MARKED, interaction_stream(INTERACTIONS_EVENTS)),
    "an error": (MARKED, interaction_stream([*INTERACTIONS_EVENTS[:3], INTERACTIONS_ERROR])),
    "a last status": (
        FINISHED,
        interaction_stream([*INTERACTIONS_EVENTS[:3], {**INTERACTIONS_EVENTS[1], "status": "cancelled"}]),
    ),
    "no end": (UNFINISHED, interaction_stream(INTERACTIONS_EVENTS[:-1])),
    "begun": (UNFINISHED, interaction_stream(INTERACTIONS_EVENTS[:2])),
}
ELSEWHERE: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "Cohere": ("/v2/chat", [{"type": "message-start"}, {"type": "content-delta"}], {"type": "message-end"}),
    "speech": ("/v1/audio/speech", [{"type": "speech.audio.delta", "audio": ""}], {"type": "speech.audio.done"}),
    "transcription": (
        "/v1/audio/transcriptions",
        [{"type": "transcript.text.delta", "delta": "a"}],
        {"type": "transcript.text.done", "text": "a"},
    ),
    "image": (
        "/v1/images/generations",
        [{"type": "image_generation.partial_image", "b64_json": ""}],
        {"type": "image_generation.completed"},
    ),
    "edit": (
        "/v1/images/edits",
        [{"type": "image_edit.partial_image", "b64_json": ""}],
        {"type": "image_edit.completed"},
    ),
    "llama.cpp": ("/infill", [NATIVE], NATIVE_END),
}
CASES = [
    (dialect, path, name, *case)
    for dialect, path, cases in (
        (OPENAI, CHAT_PATH, CHAT),
        (OPENAI, COMPLETION_PATH, CHAT | COMPLETIONS),
        (GEMINI, "/v1beta/openai/chat/completions", CHAT),
        (OPENAI, RESPONSES_PATH, RESPONSES),
        (OPENAI, "/v1/responses/resp_1", RESPONSES),
        (ANTHROPIC, MESSAGES_PATH, MESSAGES),
        (ANTHROPIC, "/proxy/messages", MESSAGES),
        (GEMINI, GEMINI_STREAM_PATH, GENERATED),
        (GEMINI, INTERACTIONS_PATH, INTERACTIONS),
        (GEMINI, "/v1/interactions/v1_abc", INTERACTIONS),
    )
    for name, case in cases.items()
]


@pytest.mark.parametrize(
    ("dialect", "path", "expected", "body"),
    [(dialect, path, expected, body) for dialect, path, _, expected, body in CASES],
    ids=[f"{path}: {name}" for _, path, name, _, _ in CASES],
)
def test_how_a_stream_ended(dialect: Dialect, path: str, expected: End, body: bytes):
    assert dialect.stream_end(path, StreamBody(body)) is expected
    assert dialect.stream_end(path, StreamBody(body[:20], body[20:])) is expected


@pytest.mark.parametrize(("path", "events", "last"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_streams_of_which_nothing_else_is_read(path: str, events: list[dict[str, Any]], last: dict[str, Any]):
    def end(events: list[dict[str, Any]]) -> End | None:
        return OPENAI.stream_end(path, StreamBody(event_stream(events)))

    assert end([*events, last]) in (MARKED, FINISHED)
    assert end(events) is UNFINISHED
    assert end([*events, {"error": {"message": "x"}}]) is MARKED
    assert end([{"of": "another kind"}]) is UNKNOWN
    if "type" in last:
        assert end([{"type": "chunk"}, {"type": "the.end"}]) is UNKNOWN


@pytest.mark.parametrize(
    ("path", "line", "last"),
    [
        ("/api/chat", {"message": {}, "done": False}, {"done": True, "done_reason": "stop"}),
        ("/api/generate", {"response": "a", "done": False}, {"done": True, "context": [1] * 50}),
        ("/v1/chat", {"event_type": "text-generation"}, {"event_type": "stream-end", "is_finished": True}),
    ],
)
def test_streams_of_lines(path: str, line: dict[str, Any], last: dict[str, Any]):
    def end(*lines: dict[str, Any], cut: int = 0) -> End | None:
        body = b"".join(compact(line) + b"\n" for line in lines)
        return OPENAI.stream_end(path, StreamBody(body[: len(body) - cut], lines=True))

    assert end(line, line, last) is MARKED
    assert end(last) is MARKED
    assert end(line, last, cut=1) is MARKED
    assert end(line, {"error": "out of memory"}) is MARKED
    assert end(line, line) is UNFINISHED
    assert end(line, last, cut=3) is UNFINISHED
    assert end({"of": "another kind"}) is UNKNOWN
    for document in (b'{\n "done": false,\n "done_reason": null\n}', b"<html>\n", b"no"):
        assert OPENAI.stream_end(path, StreamBody(document, lines=True)) is None


def kept(body: bytes, piece: int) -> StreamBody:
    """What is kept of `body`, which came in pieces of one size."""
    tap = Tap(events=True)
    for start in range(0, len(body), piece):
        tap.hear(body[start : start + piece])
    return StreamBody(tap.head, tap.tail, tap.whole, tap.opening)


LAST_EVENTS: list[tuple[Dialect, str, bytes, bytes]] = [
    (OPENAI, CHAT_PATH, event_stream([ROLE, said("a")]), event_stream([finished(content="%")])),
    (
        OPENAI,
        RESPONSES_PATH,
        event_stream(RESPONSES_EVENTS[:-1], named=True),
        event_stream([{"type": "response.completed", "response": {"instructions": "%", "usage": {}}}], named=True),
    ),
    (
        OPENAI,
        RESPONSES_PATH,
        event_stream(RESPONSES_EVENTS[:-1], named=True),
        event_stream([{"response": {"tools": [{"type": "%"}]}, "type": "response.completed"}], named=True),
    ),
    (
        GEMINI,
        INTERACTIONS_PATH,
        interaction_stream(INTERACTIONS_EVENTS[:-1]),
        interaction_stream([{"interaction": {"steps": ["%"]}, "event_type": "interaction.completed"}]),
    ),
    (OPENAI, "/v1/images/edits", b"", event_stream([{"type": "image_edit.completed", "b64_json": "%"}])),
    (
        GEMINI,
        GEMINI_STREAM_PATH,
        event_stream(GEMINI_EVENTS[:2]),
        event_stream([gemini_event([{"text": "%"}], finish="STOP")]),
    ),
]


@pytest.mark.parametrize("size", [1000, 16_000, 60_000, 65_400, 66_000, 81_900, 200_000, 1_000_000])
@pytest.mark.parametrize("marker", [b"", DONE, b": bye\n\n"])
@pytest.mark.parametrize(("dialect", "path", "before", "last"), LAST_EVENTS)
def test_a_last_event_of_any_size_ends_a_stream(
    dialect: Dialect, path: str, before: bytes, last: bytes, marker: bytes, size: int
):
    last = last.replace(b"%", b"x" * size)
    for line_end in (b"\n", b"\r\n"):
        body = (before.replace(b"\r", b"") + last + marker).replace(b"\n", line_end)
        for piece in (997, 16_384, 70_000, len(body)):
            assert dialect.stream_end(path, kept(body, piece)) in (MARKED, FINISHED), (line_end, piece)


@pytest.mark.parametrize("size", [1000, 65_400, 100_000, 1_000_000])
@pytest.mark.parametrize(("dialect", "path", "before", "last"), LAST_EVENTS)
def test_a_last_event_that_is_cut_ends_none(dialect: Dialect, path: str, before: bytes, last: bytes, size: int):
    body = before + last.replace(b"%", b"x" * size)
    for piece in (997, 70_000):
        assert dialect.stream_end(path, kept(body[: len(body) - 500], piece)) is UNFINISHED
        assert dialect.stream_end(path, kept(body.rstrip(b"\n"), piece)) in (MARKED, FINISHED)


@pytest.mark.parametrize("size", [1000, 65_400, 200_000, 1_000_000])
def test_an_event_of_any_size_that_is_not_the_last_one_ends_none(size: int):
    large = {"type": "response.output_item.done", "item": {"type": "response.completed", "usage": {}, "text": "%"}}
    for events in ([*RESPONSES_EVENTS[:-1], large], [large], [large, RESPONSES_EVENTS[1]]):
        body = event_stream(events, named=True).replace(b"%", b"x" * size)
        for piece in (997, 16_384, 70_000, len(body)):
            assert OPENAI.stream_end(RESPONSES_PATH, kept(body, piece)) is UNFINISHED


def test_a_choice_that_finished_long_before_the_end_is_not_called_unfinished():
    short, long = [said("a"), said("b", 1), finished(1)], [said("c" * 50)] * 1000
    for events, expected in (
        ([*short, *long, finished()], FINISHED),
        ([*short, *long], UNFINISHED),
        ([*short, *long, said("b", 1), finished()], UNFINISHED),
        ([*short, *long, USAGE], UNFINISHED),
    ):
        body = event_stream(events)
        for tail in (20_000, 65_536):
            assert OPENAI.stream_end(CHAT_PATH, StreamBody(body[:16_384], body[-tail:], False)) is expected


def test_what_fills_the_tail_and_tells_nothing_is_not_called_unfinished():
    body = event_stream([said("a"), finished(), {"citations": "x" * 100_000}])
    assert OPENAI.stream_end(CHAT_PATH, StreamBody(body[:16_384], body[-65_536:], False)) is UNKNOWN


@pytest.mark.parametrize("path", [CHAT_PATH, RESPONSES_PATH])
@pytest.mark.parametrize("body", [b'{"choices":[{"message":{}}]}', b"<html>", b"Try later", b' {"error":{}}'])
def test_a_document_is_no_stream(path: str, body: bytes):
    assert OPENAI.stream_end(path, StreamBody(body)) is None


@pytest.mark.parametrize(
    "path", ["/v1/threads/t/runs", "/v1/messages/count_tokens", "/v1/responses/r/input_items", "/x"]
)
def test_a_path_whose_end_is_not_known_is_not_judged(path: str):
    for dialect in (OPENAI, ANTHROPIC, GEMINI):
        assert dialect.stream_end(path, StreamBody(event_stream([said("a")]))) is None
    assert OPENAI.stream_end(EMBEDDING_PATH, StreamBody(event_stream([said("a")]))) is UNKNOWN


def test_a_provider_says_what_its_streams_end_with():
    met = {rule: [end for end in End if rule.is_met(end)] for rule in StreamEndRule}
    assert met[StreamEndRule.MARKER] == [MARKED]
    assert met[StreamEndRule.FINISH] == [MARKED, FINISHED, UNKNOWN]
    assert met[StreamEndRule.FRAMING] == [*End]
    early = {rule: [end for end in End if rule.is_met_early(end)] for rule in StreamEndRule}
    assert early[StreamEndRule.MARKER] == [MARKED]
    assert early[StreamEndRule.FINISH] == early[StreamEndRule.FRAMING] == [MARKED, FINISHED]


@pytest.mark.parametrize("seed", range(150))
def test_what_is_not_kept_never_makes_a_complete_stream_unfinished(seed: int):
    chance = random.Random(seed)
    left = {index: chance.choice([1, 20, 400, 1500]) for index in range(chance.randrange(1, 5))}
    never = chance.choice([None, None, *left])
    events: list[dict[str, Any]] = [ROLE]
    while left:
        index = chance.choice([*left])
        events.append(said("x" * chance.choice([1, 10, 300]), index))
        left[index] -= 1
        if not left[index]:
            del left[index]
            events += [] if index == never else [finished(index)]
    events += chance.choice(
        [[], [USAGE], [{**ROLE, "usage": USAGE["usage"]}], [FILTERED], [{"citations": "x" * 70_000}]]
    )
    body = event_stream(events)
    whole = OPENAI.stream_end(CHAT_PATH, StreamBody(body))
    assert whole is (FINISHED if never is None else UNFINISHED)
    seen = OPENAI.stream_end(CHAT_PATH, kept(body, chance.choice([150, 5000, 100_000])))
    # What is not kept may have finished; what was seen to go on has not.
    assert seen in ((FINISHED, UNKNOWN) if never is None else (UNFINISHED, FINISHED, UNKNOWN))

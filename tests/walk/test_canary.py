"""Content shows nowhere unless it is asked for.

A word is planted in every member of every dialect's requests and answers, in queries, header fields and bodies of other
kinds, and looked for in spans, log lines and metrics.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.providers.reading.known_parameters import KNOWN
from gateway.telemetry import span_export
from gateway.telemetry.access_log import json_line, text_line
from tests import read_spans
from tests.read_spans import Span
from tests.running import Running, Start
from tests.scripted import ScriptedUpstream, Step, answer, begin, chunk, end
from tests.unit.providers.samples import anthropic_messages, gemini_content, openai_chat, openai_responses
from tests.unit.providers.samples.wire import DONE, Json, compact, event_stream

WORD = "xylocarp7"

SHOWN = {
    # Members of bodies that spans, log or metrics show, in a request or an answer, and why.
    "agent": "which agent was asked, in place of a model, at the Interactions API",
    "model": "which model was asked and which answered is what all three are for",
    "modelVersion": "Google's name for the same",
    "id": "an answer's own id, made by the provider",
    "responseId": "Google's name for the same",
    "finish_reason": "why the model stopped: a word of letters, digits, _ - . and no more",
    "stop_reason": "Anthropic's name for the same",
    "finishReason": "Google's",
    "blockReason": "Google's, where it refused the prompt",
    "status": "the Responses API's",
    "reason": "the Responses API's, where an answer is incomplete",
}
SHOWN_FIELDS = {
    # Header fields of requests and answers that are shown, and why.
    "X-Gateway-Session-Id": "whose conversation it is, given for traces",
    "X-Gateway-Prompt-Name": "the template's name, given for traces: a label of up to 64 letters, digits and ._:/@+-",
    "X-Gateway-Prompt-Version": "its version, likewise",
    "User-Agent": "which client it is",
    "tracestate": "W3C Trace Context, given for traces",
    "x-request-id": "the provider's own id of the request, in its answer",
}
# Their values are kept where bodies are to be read as deeply as possible.
SHAPE = ("type", "role", "object", "mimeType")

UNKNOWN: Json = {
    **dict.fromkeys(("chat_history", "context", "inputs", "instruction", "system_prompt", "query", "question"), WORD),
    **dict.fromkeys(("text", "texts", "preamble", "message", "template", "cachedContent", "user", "metadata"), WORD),
    **{name: [WORD, WORD] for name in ("stop", "stop_sequences", "prompt_cache_key", "safety_identifier", "labels")},
    "response_format": {"type": "json_schema", "json_schema": {"name": WORD, "schema": {"description": WORD}}},
    "tool_choice": {"type": "function", "function": {"name": WORD}, "name": WORD},
    "tools": [{"type": "function", "name": WORD, "function": {"name": WORD, "parameters": {"description": WORD}}}],
    "logit_bias": {WORD: 1},
    "generationConfig": {
        "stopSequences": [WORD],
        "responseMimeType": WORD,
        "responseSchema": {"description": WORD, "properties": {WORD: {"enum": [WORD]}}},
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": WORD}}},
    },
    "a_member_of_tomorrow": {"deep": [{"deeper": WORD}], WORD: WORD},
    WORD: WORD,
}
KNOWN_BUT_FREE: Json = {name: dict.fromkeys(inner, WORD) if inner else WORD for name, inner in KNOWN.items()}


@dataclass(frozen=True)
class Api:
    """A call as a client makes it: where, with what body, and what an answer looks like."""

    provider: str
    path: str
    request: Json
    answer: Json
    events: list[Json]
    end: bytes = b""
    stream: Json | None = None  # members that ask for a stream; None where the path does


_CHAT, _RESPONSES, _MESSAGES, _GEMINI = openai_chat, openai_responses, anthropic_messages, gemini_content
STREAM: Json = {"stream": True}
APIS = {
    "chat": Api("openai", _CHAT.CHAT_PATH, _CHAT.CHAT_REQUEST, _CHAT.CHAT_ANSWER, _CHAT.CHAT_EVENTS, DONE, STREAM),
    "completions": Api(
        *("openai", _CHAT.COMPLETION_PATH, _CHAT.COMPLETION_REQUEST, _CHAT.COMPLETION_ANSWER),
        *(_CHAT.COMPLETION_EVENTS, DONE, STREAM),
    ),
    "embeddings": Api("openai", _CHAT.EMBEDDING_PATH, _CHAT.EMBEDDING_REQUEST, _CHAT.EMBEDDING_ANSWER, []),
    "responses": Api(
        *("openai", _RESPONSES.RESPONSES_PATH, _RESPONSES.RESPONSES_REQUEST, _RESPONSES.RESPONSE),
        *(_RESPONSES.RESPONSES_EVENTS, b"", STREAM),
    ),
    "messages": Api(
        *("anthropic", _MESSAGES.MESSAGES_PATH, _MESSAGES.MESSAGES_REQUEST, _MESSAGES.MESSAGES_ANSWER),
        *(_MESSAGES.MESSAGES_EVENTS, b"", STREAM),
    ),
    "generateContent": Api(
        "gemini", _GEMINI.GEMINI_PATH, _GEMINI.GEMINI_REQUEST, _GEMINI.GEMINI_ANSWER, _GEMINI.GEMINI_EVENTS
    ),
    "streamGenerateContent": Api(
        "gemini", _GEMINI.GEMINI_STREAM_PATH, _GEMINI.GEMINI_REQUEST, _GEMINI.GEMINI_ANSWER, _GEMINI.GEMINI_EVENTS
    ),
    "embedContent": Api(
        "gemini", _GEMINI.GEMINI_EMBED_PATH, _GEMINI.GEMINI_EMBED_REQUEST, _GEMINI.GEMINI_EMBED_ANSWER, []
    ),
    "cohere": Api(
        "openai",
        "/v2/chat",
        {"model": "command-a", "message": "Hi", "chat_history": [{"role": "USER", "message": "Hello"}], "preamble": ""},
        {"id": "c", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}, "text": "Hi"},
        [
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {}}},
        ],
        stream=STREAM,
    ),
    "interactions": Api(
        "gemini",
        "/v1beta/interactions",
        {"model": "gemini-2.5-flash", "input": [{"type": "text", "text": "Hi"}], "system_instruction": "Be brief."},
        {"id": "i", "model": "gemini-2.5-flash", "outputs": [{"type": "text", "text": "Hi"}], "status": "completed"},
        [{"event_type": "interaction.completed", "interaction": {"outputs": [{"type": "text", "text": "Hi"}]}}],
        stream=STREAM,
    ),
}


def planted(value: Any, kept: tuple[str, ...] = ()) -> Any:
    """`value` with the word in place of each text, and in a further member of each object; `kept` members stay."""
    if isinstance(value, str):
        return WORD
    if isinstance(value, list):
        return [planted(item, kept) for item in value]
    if not isinstance(value, dict):
        return value
    found = {
        name: item if isinstance(item, str) and (name in SHOWN or name in kept) else planted(item, kept)
        for name, item in value.items()
    }
    return {**found, WORD: WORD, "unknown": [WORD, {"deep": WORD}]}


FIELDS = {
    **dict.fromkeys(("X-Custom", "Referer", "anthropic-beta", "OpenAI-Organization", "Cookie", "baggage"), WORD),
    **dict.fromkeys(("X-Stainless-Lang", "Idempotency-Key", "X-Forwarded-For", "X-Title", "From", "Via"), WORD),
    **dict.fromkeys(("X-Request-ID", "X-Correlation-Id", "X-Stainless-Retry-Count", "Traceparent"), WORD),
    "X-Gateway-Prompt-Template": f"Say {WORD} to {{name}}",
    "X-Gateway-Prompt-Variables": json.dumps({"name": WORD, f"{WORD} and more": WORD}),
    "X-Gateway-Prompt-Version": f"{WORD} and more",
    "X-Gateway-Prompt-Name": f"{WORD} and more",
    "X-Session-Id": "conversation-1",
    "User-Agent": "canary/1",
}
ANSWERED = [f"X-Custom: {WORD}", f"Set-Cookie: a={WORD}", f"OpenAI-Organization: {WORD}", "x-request-id: req_theirs"]


class Views:
    """A traced gateway, and all that its views have shown."""

    def __init__(self, gateway: Running, collector: ScriptedUpstream, caplog: pytest.LogCaptureFixture) -> None:
        self.gateway = gateway
        self._collector = collector
        self._caplog = caplog

    async def spans(self) -> list[Span]:
        """The spans of all exchanges, once they are in."""
        async with asyncio.timeout(20):
            while True:
                bodies = [received.body for received in self._collector.requests]
                found = [span for body in bodies for spans in read_spans.of_request(body).values() for span in spans]
                if len([span for span in found if span.kind == "SERVER"]) == len(self.gateway.exchanges):
                    return found
                await asyncio.sleep(0.01)

    async def all(self) -> bytes:
        await self.spans()
        exchanges = list(self.gateway.exchanges)
        lines = [line(exchange) for exchange in exchanges for line in (json_line, text_line)]
        async with self.gateway.session.get("/metrics") as response:
            figures = await response.read()
        assert b"gateway_requests" in figures
        spans = [received.body for received in self._collector.requests]
        return b"\n".join([*spans, *lines, figures, self._caplog.text.encode()])


Traced = Callable[[str], Any]


@pytest.fixture
async def traced(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Traced]:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.02)
    async with ScriptedUpstream() as collector:

        async def begun(capture: str) -> Views:
            more = {"PHOENIX_COLLECTOR_ENDPOINT": collector.url, "GATEWAY_TRACE_CONTENT": capture}
            more["GATEWAY_TRACE_WITHOUT_KEY"] = "true"
            return Views(await start(**more), collector, caplog)

        yield begun


async def call(views: Views, api: Api, body: bytes, kind: str = "application/json") -> None:
    """Three times, since what was met twice is recognised."""
    target = f"/provider/{api.provider}{api.path}?q={WORD}&beta=true&{WORD}={WORD}"
    for _ in range(3):
        async with views.gateway.session.post(target, data=body, headers={**FIELDS, "Content-Type": kind}) as response:
            assert WORD.encode() in await response.read()


def will_answer(upstream: ScriptedUpstream, *steps: Step) -> None:
    for _ in range(3):
        upstream.will(*steps)


def streams(api: Api, kept: tuple[str, ...]) -> tuple[Step, ...]:
    events = [planted(event, (*kept, "type", "event_type")) for event in api.events]
    body = f": {WORD}\n\nid: {WORD}\nretry: 1\n".encode() + event_stream(events, end=api.end)
    return begin(*ANSWERED, status=f"200 {WORD}"), *(chunk(piece) for piece in (body[:99], body[99:])), end()


def bodies(api: Api, kept: tuple[str, ...]) -> list[Json]:
    request = planted(api.request, kept)
    free = {name: value for name, value in UNKNOWN.items() if name not in api.request}
    return [request, {**request, **free}, *({**request, name: value} for name, value in KNOWN_BUT_FREE.items())]


@pytest.mark.parametrize("capture", ["off", "hashed"])
@pytest.mark.parametrize("kept", [(), SHAPE], ids=["everything", "texts"])
@pytest.mark.parametrize("name", list(APIS))
async def test_no_member_of_a_body_shows(
    traced: Traced, upstream: ScriptedUpstream, name: str, kept: tuple[str, ...], capture: str
) -> None:
    api, views = APIS[name], await traced(capture)
    for body in bodies(api, kept)[:2]:
        will_answer(upstream, answer(compact(planted(api.answer, kept)), f"200 {WORD}", *ANSWERED))
        await call(views, api, compact(body))
        if api.events:
            will_answer(upstream, *streams(api, kept))
            await call(views, api, compact({**body, **(api.stream or {})}))
    assert len(views.gateway.exchanges) == (12 if api.events else 6)
    assert WORD.encode() not in await views.all()


@pytest.mark.parametrize("capture", ["off", "hashed"])
@pytest.mark.parametrize("name", ["chat", "responses", "messages", "generateContent"])
async def test_no_known_parameter_shows_what_a_client_worded(
    traced: Traced, upstream: ScriptedUpstream, name: str, capture: str
) -> None:
    api, views = APIS[name], await traced(capture)
    for body in bodies(api, SHAPE)[2:]:
        upstream.will(answer(compact(api.answer)))
        async with views.gateway.session.post(f"/provider/{api.provider}{api.path}", json=body) as response:
            assert response.status == 200
    assert len(views.gateway.exchanges) == len(KNOWN)
    assert WORD.encode() not in await views.all()


@pytest.mark.parametrize("capture", ["off", "hashed"])
async def test_no_body_of_another_kind_shows_and_no_query_and_no_error(
    traced: Traced, upstream: ScriptedUpstream, capture: str
) -> None:
    api, views = APIS["chat"], await traced(capture)
    error = {"error": {"message": f"{WORD} is wrong", "type": f"{WORD} {WORD}", "code": f"{WORD}?", "param": WORD}}
    for body, kind in (
        (f"{WORD}".encode(), "text/plain"),
        (f'{{"model":"m","messages":"{WORD}'.encode(), "application/json"),
        (f'["{WORD}"]'.encode(), "application/json"),
        (
            f'--x\r\nContent-Disposition: form-data; name="{WORD}"\r\n\r\n{WORD}\r\n--x--'.encode(),
            "multipart/form-data",
        ),
        (f"q={WORD}".encode(), "application/x-www-form-urlencoded"),
    ):
        will_answer(upstream, answer(compact(error), f"400 {WORD}", *ANSWERED))
        await call(views, api, body, kind)
        will_answer(upstream, answer(compact({**error, "type": "error", "title": WORD, "detail": WORD}), "500 Oops"))
        await call(views, APIS["messages"], body, kind)
        will_answer(upstream, answer(WORD.encode(), "200 OK", kind="text/html"))
        await call(views, APIS["generateContent"], body, kind)
        will_answer(upstream, *streams(api, ()), *streams(api, ()))  # more than one answer: the connection is no good
        await call(views, api, body, kind)
    for target in ("/v1beta/models/gemini-pro:generateContent?prompt=", "/v1/models?after=", "/nothing?"):
        upstream.will(answer(compact({"data": WORD})))
        async with views.gateway.session.get(f"/provider/gemini{target}{WORD}", headers=FIELDS) as response:
            await response.read()
    for target in (f"/nowhere?{WORD}={WORD}", f"/provider/openai/v1/models?stream_mode={WORD}", f"/projects/x?{WORD}"):
        async with views.gateway.session.get(target, headers={**FIELDS, "X-API-Key": WORD}) as response:
            assert response.status in (400, 401, 404)
    assert WORD.encode() not in await views.all()


async def test_what_is_said_to_show_does_show(traced: Traced, upstream: ScriptedUpstream) -> None:
    """Or the others could not fail."""
    api, views = APIS["chat"], await traced("off")
    upstream.will(answer(compact({**api.answer, "id": "i1", "model": "m2"}), "200 OK", "x-request-id: theirs-1"))
    fields = {**dict.fromkeys(SHOWN_FIELDS, "field-1"), "tracestate": "a=b-1"}
    fields["traceparent"] = f"00-{'1' * 32}-{'2' * 16}-01"
    body = {**api.request, "model": "m1", "temperature": 0.25, "reasoning_effort": "high"}
    target = f"/provider/openai{api.path}"
    async with views.gateway.session.post(target, json=body, headers=fields) as response:
        assert response.status == 200
    shown = await views.all()
    for text in (b"m1", b"m2", b"i1", b"stop", b"field-1", b"a=b-1", b"theirs-1", b'"temperature":0.25', b"high"):
        assert text in shown, text
    call_span = next(span for span in await views.spans() if span.kind == "CLIENT")
    assert json.loads(call_span.attributes["llm.invocation_parameters"]) == {
        "temperature": 0.25,
        "max_tokens": 100,
        "reasoning_effort": "high",
        "response_format": {"type": "json_object"},
    }
    assert call_span.attributes["prompt.id"] == call_span.attributes["llm.prompt_template.version"] == "field-1"


@pytest.mark.parametrize("name", ["chat", "completions", "embeddings", "responses", "messages", "generateContent"])
async def test_where_content_is_on_the_word_is_found(traced: Traced, upstream: ScriptedUpstream, name: str) -> None:
    api, views = APIS[name], await traced("on")
    body = {**planted(api.request, SHAPE), "chat_history": WORD, "stop": [WORD]}
    will_answer(upstream, answer(compact(planted(api.answer, SHAPE))))
    await call(views, api, compact(body))
    call_span = next(span for span in await views.spans() if span.kind == "CLIENT")
    parameters = "embedding.invocation_parameters" if name == "embeddings" else "llm.invocation_parameters"
    given = json.loads(call_span.attributes[parameters])
    assert (given["chat_history"], given["stop"]) == (WORD, [WORD])
    template = call_span.attributes["llm.prompt_template.template"]
    assert (template, call_span.attributes["prompt.id"]) == (f"Say {WORD} to {{name}}", f"{WORD} and more")
    assert WORD in call_span.attributes["input.value"] and WORD in call_span.attributes["output.value"]


@pytest.mark.parametrize("hidden", ["INPUTS", "INPUT_MESSAGES", "INPUT_TEXT", "PROMPTS", "LLM_TOOLS"])
async def test_parameters_are_no_way_round_what_is_hidden(
    start: Start, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setattr(span_export, "LINGER_SECONDS", 0.02)
    async with ScriptedUpstream() as collector:
        more = {"PHOENIX_COLLECTOR_ENDPOINT": collector.url, "GATEWAY_TRACE_CONTENT": "on"}
        gateway = await start(**more, **{f"OPENINFERENCE_HIDE_{hidden}": "true"})
        body = {"model": "m", "chat_history": WORD, "temperature": 0.5}
        async with gateway.session.post("/provider/openai/v1/chat/completions", json=body) as response:
            assert response.status == 200
        received = await collector.received()
        assert WORD.encode() not in received.body
        assert b'"temperature":0.5' in received.body

"""A key with limits is charged for what it takes, whatever its requests say and its providers report."""

import asyncio
import gzip
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import brotli
import pytest
import zstandard
from yarl import URL

from gateway.mock_upstream import mock_app, serving
from gateway.telemetry.access_log import json_line
from gateway.telemetry.exchange import Exchange, Outcome
from tests.running import KEY, PROVIDER_KEY, Running, Start, environ, run_gateway
from tests.scripted import ScriptedUpstream, Step, answer, begin, chunk, end, until_left

QUOTA = 1_000_000
TOKENS = {"GATEWAY_RATE_LIMITS": f"key: {QUOTA} tokens/365d"}
JSON = {"Content-Type": "application/json"}
WORDS = "0123456789abcdef" * 20  # 320 characters, which are 80 tokens
EVENTS = 100
STREAMED = EVENTS * 80


def sse(data: Any) -> bytes:
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else json.dumps(data).encode())


@dataclass(frozen=True)
class Api:
    """One API: where a stream is called, what to ask, what its events are, and how it ends, with usage or without."""

    path: str
    body: dict[str, Any]
    event: Any
    ending: tuple[Any, ...]
    usage: Any  # of 30 and 7 tokens
    least: dict[str, Any]  # the member that bounds the answer, and how little that may be

    @property
    def unary(self) -> str:
        return self.path.replace("streamGenerateContent?alt=sse", "generateContent")

    def ask(self, **more: Any) -> bytes:
        return json.dumps({**self.body, **more}).encode()

    def script(self, *, usage: bool, events: int = EVENTS) -> tuple[Step, ...]:
        told = (self.usage,) if usage else ()
        return (begin(), *[chunk(sse(each)) for each in ([self.event] * events + [*told, *self.ending])], end())


CHAT = Api(
    "/provider/openai/v1/chat/completions",
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": WORDS}}]},
    ({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, b"[DONE]"),
    {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 7}},
    {"max_tokens": 1},
)
RESPONSES = Api(
    "/provider/openai/v1/responses",
    {"model": "m", "input": "hi", "stream": True},
    {"type": "response.output_text.delta", "output_index": 0, "delta": WORDS},
    (),
    {"type": "response.completed", "response": {"id": "r", "usage": {"input_tokens": 30, "output_tokens": 7}}},
    {"max_output_tokens": 1},
)
MESSAGES = Api(
    "/provider/anthropic/v1/messages",
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}},
    ({"type": "message_stop"},),
    {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 30, "output_tokens": 7}},
    {"max_tokens": 1},
)
GENERATE = Api(
    "/provider/gemini/v1beta/models/m:streamGenerateContent?alt=sse",
    {"contents": [{"parts": [{"text": "hi"}]}]},
    {"candidates": [{"content": {"parts": [{"text": WORDS}], "role": "model"}}]},
    ({"candidates": [{"content": {}, "finishReason": "STOP"}]},),
    {"candidates": [], "usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 7}},
    {"generationConfig": {"maxOutputTokens": 1}},
)
INTERACTIONS = Api(
    "/provider/gemini/v1beta/interactions",
    {"model": "m", "input": "hi", "stream": True},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": WORDS}},
    (),
    {
        "event_type": "interaction.completed",
        "interaction": {"id": "i", "usage": {"total_input_tokens": 30, "total_output_tokens": 7}},
    },
    {"generation_config": {"max_output_tokens": 1}},
)
COHERE = Api(
    "/provider/openai/v2/chat",
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": WORDS}}}},
    (),
    {"type": "message-end", "delta": {"usage": {"billed_units": {"input_tokens": 30, "output_tokens": 7}}}},
    {"max_tokens": 1},
)
ENDS_WITHOUT_USAGE = {
    COHERE.path: {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    RESPONSES.path: {"type": "response.completed", "response": {"id": "r"}},
    INTERACTIONS.path: {"event_type": "interaction.completed", "interaction": {"id": "i"}},
}
APIS = {
    "interactions": INTERACTIONS,
    "chat": CHAT,
    "responses": RESPONSES,
    "messages": MESSAGES,
    "generate": GENERATE,
    "cohere": COHERE,
}
each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS)


def without_usage(api: Api, events: int = EVENTS) -> tuple[Step, ...]:
    if api.path not in ENDS_WITHOUT_USAGE:
        return api.script(usage=False, events=events)
    return (*api.script(usage=False, events=events)[:-1], chunk(sse(ENDS_WITHOUT_USAGE[api.path])), end())


async def post(gateway: Running, path: str, body: bytes, fields: dict[str, str] | None = None) -> tuple[int, bytes]:
    url = URL(gateway.url + path, encoded=True)
    async with gateway.session.post(url, data=body, headers=JSON if fields is None else fields) as response:
        return response.status, await response.read()


async def charged(gateway: Running) -> int:
    """The tokens that were taken so far."""
    async with gateway.session.get("/provider/openai/v1/models") as response:
        await response.read()
        return QUOTA - int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])


def approximately(expected: float) -> Any:
    return pytest.approx(expected, rel=0.02, abs=40)


def estimated(exchange: Exchange) -> int | None:
    found: int | None = json.loads(json_line(exchange)).get("estimated_tokens")
    return found


@each_api
async def test_a_stream_without_usage_is_charged_what_was_streamed(
    start: Start, upstream: ScriptedUpstream, api: Api
) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*without_usage(api))
    assert (await post(gateway, api.path, api.ask()))[0] == 200
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.COMPLETE
    taken = await charged(gateway)
    assert taken == approximately(STREAMED + len(api.ask()) / 4)
    assert estimated(exchange) == pytest.approx(taken, abs=1)


@each_api
async def test_and_a_stream_with_usage_what_is_reported(start: Start, upstream: ScriptedUpstream, api: Api) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*api.script(usage=True))
    await post(gateway, api.path, api.ask())
    assert await charged(gateway) == 37
    assert estimated(await gateway.exchange()) is None


ANY_LEAST = {
    "max_tokens": 1,
    "max_completion_tokens": 1,
    "max_output_tokens": 1,
    "maxOutputTokens": 1,
    "generationConfig": {"maxOutputTokens": 1},
    "generation_config": {"max_output_tokens": 1},
}
NO_BOUNDS = (0, -1, "0", "1", 0.5, None, [], "many")


@each_api
async def test_no_bound_that_a_client_states_bounds_what_it_is_charged(
    start: Start, upstream: ScriptedUpstream, api: Api
) -> None:
    gateway = await start(**TOKENS)
    bodies = [api.ask(**ANY_LEAST)]
    for value in NO_BOUNDS:
        bodies.append(api.ask(**{name: value for name in ANY_LEAST if "onfig" not in name}))
        bodies.append(api.ask(generationConfig={"maxOutputTokens": value, "candidateCount": value}, n=value))
    before = 0
    for body in bodies:
        upstream.will(*without_usage(api))
        assert (await post(gateway, api.path, body))[0] == 200
        now = await charged(gateway)
        assert now - before == approximately(STREAMED + len(body) / 4), body
        before = now


@each_api
@pytest.mark.parametrize("value", [*NO_BOUNDS, 1, 1 << 62])
async def test_the_reservation_has_a_floor(start: Start, upstream: ScriptedUpstream, api: Api, value: Any) -> None:
    gateway = await start(**TOKENS)
    least = dict.fromkeys(api.least, value)
    if api is GENERATE:
        least = {"generationConfig": {"maxOutputTokens": value}}
    elif api is INTERACTIONS:
        least = {"generation_config": {"max_output_tokens": value}}
    upstream.will(begin(), until_left())
    response = await gateway.session.post(api.path, data=api.ask(**least), headers=JSON)
    assert await charged(gateway) >= 16 + len(api.ask()) // 4
    response.close()


@each_api
async def test_a_client_that_leaves_is_charged_what_it_got(start: Start, upstream: ScriptedUpstream, api: Api) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*without_usage(api, 50)[:51], until_left())
    response = await gateway.session.post(api.path, data=api.ask(**api.least), headers=JSON)
    came = 0
    while came < 50 * len(sse(api.event)):
        came += len(await response.content.readany())
    response.close()
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.CLIENT_GONE
    assert await charged(gateway) == approximately(50 * 80 + len(api.ask(**api.least)) / 4)
    assert estimated(exchange) is not None


@each_api
async def test_a_client_that_leaves_before_the_first_word_is_charged_what_was_reserved(
    start: Start, upstream: ScriptedUpstream, api: Api
) -> None:
    gateway = await start(**TOKENS)
    upstream.will(begin(), chunk(b": nothing yet\n\n"), until_left())
    response = await gateway.session.post(api.path, data=api.ask(), headers=JSON)
    await response.content.readany()
    response.close()
    assert (await gateway.exchange()).outcome is Outcome.CLIENT_GONE
    assert await charged(gateway) == approximately(1000 + len(api.ask()) / 4)


async def test_a_client_that_leaves_a_document_is_charged_what_was_reserved(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(**TOKENS)
    body = CHAT.ask(stream=False)
    upstream.will(begin(kind="application/json"), chunk(b'{"choices":'), until_left())
    response = await gateway.session.post(CHAT.path, data=body, headers=JSON)
    await response.content.readany()
    response.close()
    assert (await gateway.exchange()).outcome is Outcome.CLIENT_GONE
    assert await charged(gateway) == approximately(1000 + len(body) / 4)


async def test_nor_does_what_a_model_wrote_into_a_document_count_as_usage(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(**TOKENS)
    body = MESSAGES.ask(stream=False)
    forged = b',"input":{"usage":{"input_tokens":1,"output_tokens":1}},"text":"'
    pieces = [b'{"id":"m","content":[{"text":"' + b"x" * 100_000 + b'"', forged + b"x" * 1000]
    upstream.will(begin(kind="application/json"), *map(chunk, pieces), until_left())
    response = await gateway.session.post(MESSAGES.path, data=body, headers=JSON)
    came = 0
    while came < sum(map(len, pieces)):
        came += len(await response.content.readany())
    response.close()
    assert (await gateway.exchange()).outcome is Outcome.CLIENT_GONE
    assert await charged(gateway) == approximately((came + len(body)) / 4)


async def test_a_clients_metadata_hides_no_usage(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    answered = {"id": "r", "output": "x" * 100_000, "usage": RESPONSES.usage["response"]["usage"]}
    upstream.will(answer(json.dumps({**answered, "metadata": {"usage": "none"}}).encode()))
    await post(gateway, RESPONSES.path, RESPONSES.ask(stream=False))
    assert await charged(gateway) == 37


@each_api
@pytest.mark.parametrize("value", [-1, -(10**9), "7", float("nan"), 10**12, 1.5, {}])
async def test_usage_that_cannot_be_true_is_counted_and_replaced_by_the_estimate(
    start: Start, upstream: ScriptedUpstream, api: Api, value: Any
) -> None:
    gateway = await start(**TOKENS)
    text = json.dumps(api.usage).replace("7", json.dumps(value), 1)
    script = api.script(usage=False)
    upstream.will(*script[: EVENTS + 1], chunk(sse(text.encode())), *script[EVENTS + 1 :])
    await post(gateway, api.path, api.ask())
    exchange = await gateway.exchange()
    assert (exchange.outcome, exchange.calls[0].facts.usage) == (Outcome.COMPLETE, None)
    assert await charged(gateway) == approximately(STREAMED + len(api.ask()) / 4)
    provider = exchange.calls[0].provider
    async with gateway.session.get("/metrics") as response:
        figures = await response.text()
    assert f'gateway_usage_errors_total{{provider="{provider}",reason="implausible"}} 1\n' in figures
    assert f'gateway_estimated_tokens_total{{provider="{provider}"}} {estimated(exchange)}\n' in figures


@pytest.mark.parametrize(
    ("usage", "taken"),
    [
        ({"total_tokens": 370}, 370),
        ({"prompt_tokens": 30, "total_tokens": 370}, 370),
        ({"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 370}, 370),  # reasoning in the total alone
        ({"prompt_tokens": 30, "completion_tokens": 7}, 37),
    ],
)
async def test_a_total_is_charged_in_full(
    start: Start, upstream: ScriptedUpstream, usage: dict[str, int], taken: int
) -> None:
    gateway = await start(**TOKENS)
    upstream.will(answer(json.dumps({"model": "m", "choices": [], "usage": usage}).encode()))
    await post(gateway, CHAT.path, CHAT.ask(stream=False))
    assert await charged(gateway) == taken


async def test_usage_of_nothing_at_all_is_none(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    body = json.dumps({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}).encode().ljust(4000)
    upstream.will(answer(body))
    await post(gateway, CHAT.path, CHAT.ask(stream=False))
    assert await charged(gateway) == approximately(1000 + len(CHAT.ask()) / 4)


async def test_moonshots_usage_is_charged(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    last = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    last["choices"][0]["usage"] = {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37}  # type: ignore[index]
    upstream.will(begin(), chunk(sse(CHAT.event)), chunk(sse(last)), chunk(sse(b"[DONE]")), end())
    await post(gateway, CHAT.path, CHAT.ask())
    assert await charged(gateway) == 37


SPELLINGS: dict[str, Callable[[str], str]] = {
    "an encoded letter": lambda path: path[:-1] + f"%{ord(path[-1]):02x}",
    "an upper-case encoding": lambda path: path[:-1] + f"%{ord(path[-1]):02X}",
    "a slash at its end": lambda path: path + "/",
}
ODD_SPELLINGS: dict[str, Callable[[str], str]] = {
    "encoded twice": lambda path: path[:-1] + f"%25{ord(path[-1]):02x}",
    "a parameter": lambda path: path + ";a=b",
    "upper case": lambda path: path.upper().replace("/PROVIDER/", "/provider/").replace("OPENAI", "openai"),
    "two slashes at its end": lambda path: path + "//",
    "a question mark": lambda path: path + "%3Fa",
    "a NUL": lambda path: path + "%00",
    "a blank": lambda path: path + "%20",
}


def spelled(api: Api, spell: Callable[[str], str]) -> str:
    path, question, query = api.path.partition("?")
    head, provider, rest = path.partition("/v2" if "/v2/" in path else "/v1")
    return head + spell(provider + rest) + question + query


@each_api
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_call_is_charged_however_its_path_is_spelled(
    start: Start, upstream: ScriptedUpstream, api: Api, spelling: str
) -> None:
    gateway = await start(**TOKENS)
    path = spelled(api, SPELLINGS[spelling])
    upstream.will(*api.script(usage=True))
    assert (await post(gateway, path, api.ask()))[0] == 200
    target = (await upstream.received()).target.decode()
    assert path.endswith(target)  # as it came
    exchange = await gateway.exchange()
    assert exchange.calls[0].facts.request_model == "m"
    assert await charged(gateway) == 37


@each_api
@pytest.mark.parametrize("spelling", ODD_SPELLINGS)
async def test_a_path_that_may_be_read_in_another_way_is_refused(
    start: Start, upstream: ScriptedUpstream, api: Api, spelling: str
) -> None:
    gateway = await start(**TOKENS)
    path = spelled(api, ODD_SPELLINGS[spelling])
    status, body = await post(gateway, path, api.ask())
    assert (status, upstream.requests) == (400, [])
    assert "spelled" in json.loads(body)["error"]["message"]


async def test_such_a_path_passes_where_nothing_depends_on_it(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100 requests/day")
    for spell in ODD_SPELLINGS.values():
        path = spelled(CHAT, spell)
        assert (await post(gateway, path, CHAT.ask()))[0] == 200
        assert path.endswith(upstream.requests[-1].target.decode())


@pytest.mark.parametrize("limits", ["key model m: 1 requests/day", "key: 1 usd/day", "key model: 100000 tokens/day"])
async def test_limits_of_models_see_every_spelling(start: Start, upstream: ScriptedUpstream, limits: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=limits, GATEWAY_PRICES="m=0/2000000")
    reserved = 100_000 if "tokens" in limits else 1
    statuses = []
    for spell in ((lambda path: path), *SPELLINGS.values(), *ODD_SPELLINGS.values()):
        body = CHAT.ask(max_tokens=reserved)
        statuses.append((await post(gateway, spelled(CHAT, spell), body))[0])
    if "usd" in limits:  # more than a dollar was taken by the first
        assert statuses[0] == 200
    assert statuses[1:4] == [429, 429, 429]
    assert statuses[4:] == [400] * len(ODD_SPELLINGS)


async def test_a_deployment_in_the_path_is_the_model(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key model big: 1 requests/day")
    path = "/provider/openai/openai/deployments/big/chat/completions?api-version=1"
    assert [(await post(gateway, path, CHAT.ask(model="small")))[0] for _ in range(2)] == [200, 429]


async def test_a_model_is_the_same_in_every_case(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key model Big: 1 requests/day")
    models = ("big", "BIG", "models/big")
    assert [(await post(gateway, CHAT.path, CHAT.ask(model=model)))[0] for model in models] == [200, 429, 429]


REPEATED = {
    "model": b'{"model":"m","model":"big","messages":[]}',
    "max_tokens": b'{"max_tokens":5,"model":"m","messages":[],"max_tokens" : 100000}',
    "stream_options": b'{"model":"m","stream_options":{"include_usage":true},"stream_options":null}',
    "stream": b'{"model":"m","stream":true,"stream":true}',
    "an escaped letter": b'{"model":"m","mod\\u0065l":"big"}',
    "another case": b'{"model":"m","Model":"big"}',
    "only another case": b'{"MODEL":"m"}',
}


@pytest.mark.parametrize("which", REPEATED)
async def test_a_member_that_a_limit_depends_on_must_not_come_twice(
    start: Start, upstream: ScriptedUpstream, which: str
) -> None:
    gateway = await start(**TOKENS)
    status, body = await post(gateway, CHAT.path, REPEATED[which])
    assert (status, upstream.requests) == (400, [])
    assert "more than once" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"contents":[],"generationConfig":{"maxOutputTokens":1},"generationConfig":{"maxOutputTokens":9000}}',
        b'{"contents":[],"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9000}}',
    ],
)
async def test_nor_inside_of_geminis_configuration(start: Start, upstream: ScriptedUpstream, body: bytes) -> None:
    gateway = await start(**TOKENS)
    status, refusal = await post(gateway, GENERATE.path, body)
    assert (status, upstream.requests) == (400, [])
    assert json.loads(refusal)["error"]["status"] == "INVALID_ARGUMENT"


async def test_but_may_stand_in_what_was_said(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    said = [{"role": "user", "content": '"model": "model":', "model": 1, "n": [{"n": 1, "max_tokens": 5}]}] * 2
    for body in (CHAT.ask(messages=said, stream=False), CHAT.ask(messages=said, user="\u0065\x7f", stream=False)):
        assert (await post(gateway, CHAT.path, body))[0] == 200
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, CHAT.ask(), 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, CHAT.ask(), 415),
        ({"Content-Type": "application/octet-stream"}, CHAT.ask(), 415),
        ({"Content-Type": "application/json; charset=utf-16"}, CHAT.ask(), 415),
        ({"Content-Type": "application/json; charset=utf-7"}, CHAT.ask(), 415),
        ({**JSON, "Content-Encoding": "compress"}, CHAT.ask(), 415),
        ({**JSON, "Content-Encoding": "gzip"}, CHAT.ask(), 415),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20), mtime=0), 415),
        (JSON, gzip.compress(CHAT.ask(), mtime=0), 400),
        (JSON, CHAT.ask().decode().encode("utf-16"), 400),
        (JSON, CHAT.ask().decode().encode("utf-16-le"), 400),
        (JSON, CHAT.ask().decode().encode("utf-32"), 400),
        (JSON, b"model=m", 400),
        (JSON, b"[" + CHAT.ask() + b"]", 400),
        (JSON, CHAT.ask() + CHAT.ask(), 400),
        (JSON, b"", 400),
    ],
)
@each_api
async def test_a_body_that_cannot_be_read_is_refused(
    start: Start, upstream: ScriptedUpstream, api: Api, fields: dict[str, str], body: bytes, status: int
) -> None:
    gateway = await start(**TOKENS)
    got, refusal = await post(gateway, api.path, body, fields)
    assert (got, upstream.requests) == (status, [])
    assert "A limit of this key" in json.loads(refusal)["error"]["message"]
    assert await charged(gateway) == 0


async def test_a_body_without_a_type_is_refused(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    headers = {"X-API-Key": KEY}
    async with aiohttp.ClientSession(gateway.url, skip_auto_headers=("Content-Type",)) as session:
        for data in (CHAT.ask(), _in_chunks(CHAT.ask())):
            async with session.post(CHAT.path, data=data, headers=headers) as response:
                assert (response.status, upstream.requests) == (415, [])


async def _in_chunks(body: bytes) -> Any:
    yield body


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": partial(brotli.compress, quality=1),
    "zstd": zstandard.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body), quality=1),
}


@pytest.mark.parametrize("coding", CODERS)
async def test_a_coded_body_is_read_and_sent_as_it_came(start: Start, upstream: ScriptedUpstream, coding: str) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=f"key: {QUOTA} tokens/365d; key model m: 2 requests/day")
    plain = CHAT.ask(stream=False, padding="x" * 40_000)
    body = CODERS[coding](plain)
    fields = {**JSON, "Content-Encoding": coding}
    upstream.will(answer(b'{"choices":[]}'))
    assert (await post(gateway, CHAT.path, body, fields))[0] == 200
    assert upstream.requests[0].body == body
    assert upstream.requests[0].fields["Content-Encoding"] == coding
    async with gateway.session.get("/provider/openai/v1/models") as response:
        assert QUOTA - int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0]) == approximately(
            len(plain) / 4
        )
    assert [(await post(gateway, CHAT.path, body, fields))[0] for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("gzip;q=0.5,  br", "gzip;q=0.5,  br"),
        ("identity", "identity"),
        ("", ""),
        ("gzip, dcb, br;q=0.1, dcz", "gzip, br;q=0.1"),
        ("compress", "identity"),
        ("*", "identity"),
        ("gzip, *;q=0", "gzip, *;q=0"),
        ("gzip, *;q=0.1", "gzip"),
    ],
)
async def test_answers_are_asked_for_in_codings_that_can_be_read(
    start: Start, upstream: ScriptedUpstream, asked: str, sent: str
) -> None:
    gateway = await start(GATEWAY_API_KEYS=f"alice={KEY};tokens=1000000/day", GATEWAY_RATE_LIMITS="")
    for _ in range(4):
        await post(gateway, CHAT.path, CHAT.ask(), {**JSON, "Accept-Encoding": asked})
    await post(gateway, "/provider/openai/v1/files", b"{}", {**JSON, "Accept-Encoding": asked})
    assert [request.fields.getall("Accept-Encoding") for request in upstream.requests] == [[sent]] * 4 + [[asked]]


async def test_without_limits_of_tokens_they_are_asked_for_as_the_client_does(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS="key: 100 requests/day")
    await post(gateway, CHAT.path, CHAT.ask(), {**JSON, "Accept-Encoding": "dcb, *"})
    assert upstream.requests[0].fields["Accept-Encoding"] == "dcb, *"


@pytest.mark.parametrize(("coding", "body"), [("dcb", b"x" * 5000), ("br", b"no brotli" * 1000)])
async def test_an_answer_that_cannot_be_read_is_charged_by_its_coded_bytes(
    start: Start, upstream: ScriptedUpstream, coding: str, body: bytes
) -> None:
    gateway = await start(**TOKENS)
    upstream.will(answer(body, "200 OK", f"Content-Encoding: {coding}"))
    await post(gateway, CHAT.path, CHAT.ask(max_tokens=1))
    assert await charged(gateway) == approximately(len(body) + len(CHAT.ask()) / 4)


async def test_a_response_in_the_background_is_refused(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    for value in (True, "true", 1):
        status, body = await post(gateway, RESPONSES.path, RESPONSES.ask(background=value))
        assert (status, json.loads(body)["error"]["param"], upstream.requests) == (400, "background", [])
    upstream.will(*RESPONSES.script(usage=True))
    assert (await post(gateway, RESPONSES.path, RESPONSES.ask(background=False)))[0] == 200


async def test_a_stream_in_an_array_is_charged_too(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    path = GENERATE.path.replace("?alt=sse", "?$alt=json")
    pieces = [b"[" + json.dumps(GENERATE.event).encode()] + [b",\n" + json.dumps(GENERATE.event).encode()] * 99
    last = b",\n" + json.dumps(GENERATE.ending[0]).encode() + b"]"
    upstream.will(begin(kind="application/json"), *map(chunk, [*pieces, last]), end())
    await post(gateway, path, GENERATE.ask())
    assert await charged(gateway) == approximately(STREAMED + len(GENERATE.ask()) / 4)
    before = await charged(gateway)
    upstream.will(begin(kind="application/json"), *map(chunk, pieces[:50]), until_left())
    response = await gateway.session.post(path, data=GENERATE.ask(), headers=JSON)
    came = 0
    while came < sum(map(len, pieces[:50])):
        came += len(await response.content.readany())
    response.close()
    async with asyncio.timeout(5):
        while (now := await charged(gateway)) - before > 100_000:
            await asyncio.sleep(0.01)
    assert now - before == approximately(50 * 80 + len(GENERATE.ask()) / 4)


@pytest.mark.parametrize("mode", ["sse", "text", "ndjson"])
async def test_a_stream_in_another_shape_is_charged_alike(start: Start, upstream: ScriptedUpstream, mode: str) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*without_usage(CHAT))
    assert (await post(gateway, f"{CHAT.path}?stream_mode={mode}", CHAT.ask()))[0] == 200
    assert await charged(gateway) == approximately(STREAMED + len(CHAT.ask()) / 4)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_a_body_is_charged_whatever_the_method(start: Start, upstream: ScriptedUpstream, method: str) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*CHAT.script(usage=True))
    async with gateway.session.request(method, CHAT.path, data=CHAT.ask(), headers=JSON) as response:
        assert response.status == 200
        await response.read()
    assert await charged(gateway) == 37


async def test_a_list_of_stored_completions_is_free(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_RATE_LIMITS=f"key: {QUOTA} tokens/365d; key model m: 1 requests/day")
    async with gateway.session.get(CHAT.path) as response:
        assert response.status == 200
    assert await charged(gateway) == 0


async def test_a_long_stream_without_usage_is_charged_for_its_middle(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    upstream.will(*without_usage(CHAT, 2000))  # 840 KB
    await post(gateway, CHAT.path, CHAT.ask())
    assert await charged(gateway) == approximately(2000 * 80)


async def test_a_workflows_calls_are_charged_alike() -> None:
    async with AsyncExitStack() as stack:
        url = str(await stack.enter_async_context(serving(mock_app(required_key=PROVIDER_KEY))))
        roles = ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
        names = environ(
            url.rstrip("/"),
            GATEWAY_PROJECTS="demo",
            **{f"GATEWAY_PROJECT_DEMO_ROLE_{role}": "openai/m" for role in roles},
            **TOKENS,
        )
        gateway = await run_gateway(stack, names)
        async with gateway.session.post("/projects/demo/summary", json={"text": "The moon is far."}) as response:
            assert response.status == 200
        exchange = await gateway.exchange()
        told = [call.facts.usage for call in exchange.calls]
        assert all(usage is not None for usage in told)
        spent = sum((usage.input_tokens or 0) + (usage.output_tokens or 0) for usage in told if usage)
        assert await charged(gateway) == spent


async def test_the_bytes_that_a_redirect_has_are_no_tokens(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(**TOKENS)
    upstream.will(answer(b"moved" * 100, "307 Temporary Redirect", "Location: /v1/chat/completions"))
    async with gateway.session.post(CHAT.path + "/", data=CHAT.ask(), headers=JSON, allow_redirects=False) as response:
        assert response.status == 307
    assert await charged(gateway) == 0

"""What a client of `/provider/<name>/` may rely on, whole requests through the production runner."""

import asyncio
import gzip
import json
import re

import aiohttp
import pytest

from gateway.telemetry.exchange import Outcome
from tests.raw_http import connected
from tests.running import KEY, OTHER_KEY, PROVIDER_KEY, Running, Start
from tests.scripted import (
    JSON_ANSWER,
    ScriptedUpstream,
    answer,
    begin,
    chunk,
    close,
    end,
    event,
    pause,
    reset,
    send,
    until_left,
)

CHAT = "/provider/openai/v1/chat/completions"
DELTA = json.dumps({"choices": [{"delta": {"content": "hi"}}]}).encode()


async def test_target_body_and_fields_arrive_byte_for_byte(gateway: Running, upstream: ScriptedUpstream) -> None:
    body = b'{ "a" : 1,\n"a":2, "stream":false }'
    target = "/v1/%7Ex//a%2Fb;c=1?a=1&a=2&&e=&b=+%20&c"
    async with gateway.session.post(
        aiohttp.client.URL(gateway.url + "/provider/openai" + target, encoded=True),
        data=body,
        headers=[("X-API-Key", KEY), ("Content-Type", "application/json"), ("X-Twice", "1"), ("X-Twice", "2")],
    ) as response:
        assert response.status == 200
    got = await upstream.received()
    assert got.target.decode() == target
    assert got.body == body
    assert got.fields.getall("x-twice") == ["1", "2"]
    assert got.fields["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert KEY.encode() not in b"".join(name + value for name, value in got.raw_fields)
    assert got.fields["via"] == "1.1 llm-gateway"
    assert got.fields["host"] == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("path", ["/v1/a%0d%0ab", "/%0a", "/v1/%0D%0AX-Injected:%201/", "/v1/%00%E2%80%A8"])
async def test_encoded_line_ends_and_control_characters_stay_encoded(
    gateway: Running, upstream: ScriptedUpstream, path: str
) -> None:
    url = aiohttp.client.URL(f"{gateway.url}/provider/openai{path}", encoded=True)
    async with gateway.session.get(url) as response:
        assert response.status == 200
    assert (await upstream.received()).target.decode() == path
    assert (await gateway.exchange()).route == "/provider/openai/{tail}"


async def test_status_fields_and_codings_come_back_as_they_were(gateway: Running, upstream: ScriptedUpstream) -> None:
    body = gzip.compress(b'{"error":{"message":"theirs"}}')
    upstream.will(
        answer(
            body,
            "429 Slow Down",
            "Content-Encoding: gzip",
            "X-RateLimit-Remaining: 0",
            "X-Odd: caf\xe9",
            "X-Two: 1",
            "X-Two: 2",
            "Set-Cookie: a=b",
            "Connection: X-Hop",
            "X-Hop: 1",
            "Retry-After: 7",
        )
    )
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, response.reason) == (429, "Slow Down")
        assert await response.read() == body
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["retry-after"] == "7"
        assert response.headers.getall("x-two") == ["1", "2"]
        assert "set-cookie" not in response.headers
        assert "x-hop" not in response.headers
        assert "x-gateway-error" not in response.headers
        raw = dict(response.raw_headers)
        assert raw[b"X-Odd"] == b"caf\xe9"
    exchange = await gateway.exchange()
    assert (exchange.status, exchange.outcome) == (429, Outcome.COMPLETE)


async def test_a_redirect_is_relayed_and_not_followed(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(b"", "307 Temporary Redirect", "Location: http://127.0.0.1:1/elsewhere"))
    async with gateway.session.post(CHAT, json={}, allow_redirects=False) as response:
        assert response.status == 307
    assert len(upstream.requests) == 1


async def test_events_are_passed_on_one_by_one_as_they_come(gateway: Running, upstream: ScriptedUpstream) -> None:
    seen = asyncio.Event()

    async def until_seen(_: object) -> None:
        await asyncio.wait_for(seen.wait(), 5)

    upstream.will(begin(), event(DELTA), until_seen, event(b"[DONE]"), end())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert await response.content.readany() == b"data: " + DELTA + b"\n\n"
        seen.set()
        assert await response.content.read() == b"data: [DONE]\n\n"
        assert response.headers["x-accel-buffering"] == "no"
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.COMPLETE
    assert exchange.calls[0].facts.streamed
    assert exchange.bytes_out == len(b"data: " + DELTA + b"\n\n" + b"data: [DONE]\n\n")
    assert exchange.authenticated is not None and exchange.admitted is not None
    assert exchange.started <= exchange.authenticated <= exchange.admitted


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    seen = asyncio.Event()

    async def until_seen(_: object) -> None:
        await asyncio.wait_for(seen.wait(), 5)

    upstream.will(begin(), until_seen, event(b"[DONE]"), end())
    async with asyncio.timeout(5), gateway.session.post(CHAT, json={"stream": True}) as response:
        seen.set()
        await response.read()


@pytest.mark.parametrize("how", ["close", "reset", "no marker"])
async def test_a_stream_that_the_upstream_cuts_never_ends_cleanly(
    gateway: Running, upstream: ScriptedUpstream, how: str
) -> None:
    last = {"close": close(), "reset": reset(), "no marker": end()}[how]
    upstream.will(begin(), event(DELTA), pause(0.05), last)
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        received = b""
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    events = received.split(b"\n\n")
    assert events[0] == b"data: " + DELTA
    assert json.loads(events[1].removeprefix(b"data: "))["error"]["code"] == "upstream_truncated"
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.UPSTREAM_TRUNCATED
    assert exchange.calls[0].outcome is Outcome.UPSTREAM_TRUNCATED
    assert exchange.bytes_out == len(events[0]) + 2  # of what was the provider's


@pytest.mark.parametrize("how", ["close", "no marker"])
async def test_a_compressed_stream_that_is_cut_never_ends_cleanly_and_stays_compressed(
    gateway: Running, upstream: ScriptedUpstream, how: str
) -> None:
    coded = gzip.compress(b"data: " + DELTA + b"\n\n")
    upstream.will(begin("Content-Encoding: gzip"), chunk(coded), pause(0.05), close() if how == "close" else end())
    received = b""
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for piece in response.content.iter_any():
                received += piece
    assert received == coded
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_a_compressed_stream_that_ended_is_complete(gateway: Running, upstream: ScriptedUpstream) -> None:
    coded = gzip.compress(b"data: " + DELTA + b"\n\ndata: [DONE]\n\n")
    upstream.will(begin("Content-Encoding: gzip"), chunk(coded), end())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert await response.read() == coded
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE


@pytest.mark.parametrize("finish", [b"", b', "finishReason": "STOP"'])
@pytest.mark.parametrize("closing", [b"", b"]"])
async def test_a_stream_that_is_one_array_is_complete_when_the_array_and_its_candidates_are(
    gateway: Running, upstream: ScriptedUpstream, closing: bytes, finish: bytes
) -> None:
    array = b'[{"candidates": [{"content": {"parts": [{"text": "a"}]}' + finish + b"}]}\n" + closing
    upstream.will(begin(kind="application/json"), chunk(array), end())
    async with gateway.session.post("/provider/gemini/v1beta/models/m:streamGenerateContent", json={}) as response:
        if closing and finish:
            assert await response.read() == array
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
    expected = Outcome.COMPLETE if closing and finish else Outcome.UPSTREAM_TRUNCATED
    assert (await gateway.exchange()).outcome is expected


async def test_a_document_that_the_upstream_cuts_never_ends_cleanly(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"), close())
    with pytest.raises(aiohttp.ClientPayloadError):
        async with gateway.session.post(CHAT, json={}) as response:
            await response.read()
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


@pytest.mark.parametrize("when", ["before the head", "in mid-stream"])
async def test_a_client_that_leaves_frees_the_upstream_within_200_ms(
    gateway: Running, upstream: ScriptedUpstream, when: str
) -> None:
    upstream.will(*((begin(), event(DELTA)) if when == "in mid-stream" else ()), until_left())
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b'{"stream":true}'
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    got = await upstream.received()
    if when == "in mid-stream":
        await reader.readuntil(b"\n\n")
    writer.close()
    await asyncio.wait_for(got.closed.wait(), 0.2)
    exchange = await gateway.exchange()
    assert exchange.outcome is Outcome.CLIENT_GONE
    assert exchange.calls[0].outcome is Outcome.CLIENT_GONE


@pytest.mark.parametrize(
    ("steps", "status", "code", "outcome"),
    [
        ((until_left(),), 504, "upstream_timeout", Outcome.UPSTREAM_TIMEOUT),
        ((close(),), 502, "upstream_error", Outcome.UPSTREAM_ERROR),
        ((send(b"nonsense\r\n\r\n"), close()), 502, "upstream_error", Outcome.UPSTREAM_ERROR),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
async def test_what_the_upstream_fails_at_is_told_in_the_routes_dialect(
    start: Start,
    upstream: ScriptedUpstream,
    steps: tuple[object, ...],
    status: int,
    code: str,
    outcome: Outcome,
    provider: str,
) -> None:
    gateway = await start(GATEWAY_FIRST_BYTE_TIMEOUT="0.2")
    upstream.will(*steps)  # type: ignore[arg-type]
    async with gateway.session.post(f"/provider/{provider}/v1/x", json={}) as response:
        assert response.status == status
        assert response.headers["x-gateway-error"] == code
        document = await response.json()
    match provider:
        case "openai":
            assert set(document["error"]) == {"message", "type", "param", "code"}
            assert document["error"]["code"] == code
        case "anthropic":
            assert document["type"] == "error"
            assert document["request_id"].startswith("req_")
        case "gemini":
            assert document["error"]["code"] == status
    assert (await gateway.exchange()).outcome is outcome


async def test_a_provider_nobody_listens_at_is_a_502(start: Start) -> None:
    async with ScriptedUpstream() as gone:
        url = gone.url
    gateway = await start(GATEWAY_PROVIDER_GROQ_BASE_URL=url, GATEWAY_PROVIDER_GROQ_API_KEY=PROVIDER_KEY)
    async with gateway.session.get("/provider/groq/v1/models") as response:
        assert response.status == 502
        assert response.headers["x-gateway-error"] == "upstream_unreachable"
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_UNREACHABLE


async def test_timeouts_hold_per_provider(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_PROVIDER_OPENAI_FIRST_BYTE_TIMEOUT="0.2")
    upstream.will(until_left())
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 504
    upstream.will(pause(0.5), answer())
    async with gateway.session.post("/provider/anthropic/v1/messages", json={}) as response:
        assert response.status == 200


async def test_a_stream_that_falls_silent_is_broken_off(start: Start, upstream: ScriptedUpstream) -> None:
    gateway = await start(GATEWAY_IDLE_TIMEOUT="0.2")
    upstream.will(begin(), event(DELTA), until_left())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert (await gateway.exchange()).outcome is Outcome.IDLE_TIMEOUT


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_a_body_over_the_limit_is_a_413_and_never_reaches_the_upstream(
    start: Start, upstream: ScriptedUpstream, chunked: bool, kind: str
) -> None:
    gateway = await start(GATEWAY_MAX_BODY_BYTES="1000")

    async def pieces() -> object:
        for _ in range(20):
            yield b" " * 100

    data = pieces() if chunked else b" " * 2000
    async with gateway.session.post(CHAT, data=data, headers={"Content-Type": kind}) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "request_too_large"
        assert response.headers["x-should-retry"] == "false"
    assert not upstream.requests
    assert (await gateway.exchange()).outcome is Outcome.REFUSED


async def test_a_body_that_is_no_json_streams_up_as_it_comes(gateway: Running, upstream: ScriptedUpstream) -> None:
    started = asyncio.Event()
    upstream.read_bodies = False

    async def see_the_first_piece(request: object) -> None:
        assert await request.reader.readuntil(b"first")  # type: ignore[attr-defined]
        started.set()
        await request.reader.readuntil(b"second")  # type: ignore[attr-defined]

    upstream.will(see_the_first_piece, answer())

    async def pieces() -> object:
        yield b"first"
        await asyncio.wait_for(started.wait(), 5)
        yield b"second"

    async with gateway.session.post(
        "/provider/openai/v1/audio/transcriptions", data=pieces(), headers={"Content-Type": "audio/wav"}
    ) as response:
        assert response.status == 200
    assert (await gateway.exchange()).bytes_in == len(b"firstsecond")


ODD = [
    b"",
    b"{",
    b"not json",
    b"\xff\xfe",
    b"[" * 5000,
    b'{"a":1,"a":2}',
    b'{"model":5,"messages":7,"stream":"x"}',
    b"null",
]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
async def test_odd_bodies_pass(gateway: Running, upstream: ScriptedUpstream, body: bytes, provider: str) -> None:
    upstream.will(answer(body))
    paths = {"openai": "v1/chat/completions", "anthropic": "v1/messages", "gemini": "v1beta/models/m:generateContent"}
    async with gateway.session.post(
        f"/provider/{provider}/{paths[provider]}", data=body, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 200
        assert await response.read() == body
    assert (await upstream.received()).body == body
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE


TRAVERSALS = [
    "/provider/openai/../anthropic/v1/messages",
    "/provider/openai/v1/%2e%2e/%2E%2e/admin",
    "/provider/openai/.%2e/x",
    "/provider/openai/%252e%252e/x",
    "/provider/openai/..%2fx",
    "/provider/openai/..%5cx",
    "/provider/openai/..;/x",
    "/provider/openai/x/..",
    "/provider/openai/./x",
]


@pytest.mark.parametrize("target", TRAVERSALS)
async def test_a_path_that_climbs_is_refused(gateway: Running, upstream: ScriptedUpstream, target: str) -> None:
    async with gateway.session.get(aiohttp.client.URL(gateway.url + target, encoded=True)) as response:
        assert response.status == 400
    assert not upstream.requests


@pytest.mark.parametrize("target", ["//evil.example/x", "/@evil.example/x", "/http://evil.example/", "/%2f%2fevil/x"])
async def test_a_path_that_looks_like_a_host_stays_a_path(
    gateway: Running, upstream: ScriptedUpstream, target: str
) -> None:
    async with gateway.session.get(
        aiohttp.client.URL(gateway.url + "/provider/openai" + target, encoded=True)
    ) as response:
        assert response.status == 200
    assert (await upstream.received()).target.decode() == target


@pytest.mark.parametrize(
    "fields",
    [
        {"X-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"api-key": KEY},
        {"x-goog-api-key": KEY},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
    ],
)
async def test_a_key_is_taken_from_each_field_that_stock_clients_use(
    gateway: Running, upstream: ScriptedUpstream, fields: dict[str, str]
) -> None:
    async with aiohttp.ClientSession(gateway.url) as session, session.post(CHAT, json={}, headers=fields) as response:
        assert response.status == 200
    assert (await gateway.exchange()).client == "alice"


@pytest.mark.parametrize("path", [CHAT, "/provider/openai/", "/nothing/here", "/tickets", "/provider/nobody/x"])
async def test_everything_but_the_open_routes_is_401_without_a_key(
    gateway: Running, upstream: ScriptedUpstream, path: str
) -> None:
    async with aiohttp.ClientSession(gateway.url) as session:
        for fields in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Basic eDp5"}):
            async with session.post(path, json={}, headers=fields) as response:
                assert response.status == 401
                assert response.headers["x-gateway-error"] == "invalid_api_key"
        async with session.post(f"{path}?key={KEY}", json={}) as response:
            assert response.status == 401
    assert not upstream.requests


@pytest.mark.parametrize(
    ("fields", "query", "reason"),
    [
        ({}, "", "No gateway key was sent."),
        ({"Authorization": "Basic OmtleQ=="}, "", "No gateway key was sent."),
        ({"Authorization": "Bearer sk-of-a-provider"}, "", "not a key of this gateway"),
        ({"X-API-Key": "sk-of-a-provider"}, "", "not a key of this gateway"),
        ({}, f"?key={KEY}", "Keys are not taken from the query."),
    ],
)
async def test_a_401_says_what_is_wrong_with_the_key(
    gateway: Running, fields: dict[str, str], query: str, reason: str
) -> None:
    url = f"{gateway.url}{CHAT}{query}"
    async with aiohttp.ClientSession() as stranger, stranger.post(url, json={}, headers=fields) as response:
        message = (await response.json())["error"]["message"]
    assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Bearer realm="gateway"')
    assert reason in message and "`Authorization: Bearer KEY`" in message
    assert "sk-of-a-provider" not in message and KEY not in message


async def test_a_405_says_which_method_to_use(gateway: Running) -> None:
    async with gateway.session.delete("/provider") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
        assert (await response.json(content_type=None))["detail"] == "Use GET or HEAD at this path."


OPEN = ("/", "/health", "/livez", "/readyz", "/demo", "/demo/", "/demo/page.js", "/demo/page.css", "/docs", "/docs/")


@pytest.mark.parametrize("path", OPEN)
async def test_the_open_routes_need_no_key(gateway: Running, path: str) -> None:
    async with aiohttp.ClientSession(gateway.url) as session, session.get(path) as response:
        assert response.status == 200


async def test_a_key_is_held_to_its_providers(gateway: Running, upstream: ScriptedUpstream) -> None:
    async with gateway.session.post(CHAT, json={}, headers={"X-API-Key": OTHER_KEY}) as response:
        assert response.status == 403
    assert not upstream.requests
    async with gateway.session.post(
        "/provider/anthropic/v1/messages", json={}, headers={"X-API-Key": OTHER_KEY}
    ) as response:
        assert response.status == 200


async def test_a_known_provider_that_is_not_configured_says_so(gateway: Running) -> None:
    async with gateway.session.get("/provider/mistral/v1/models") as response:
        assert response.status == 404
        assert "No provider mistral is configured" in (await response.json())["error"]["message"]
    async with gateway.session.get("/provider/nobody/v1/models") as response:
        assert response.status == 404
        assert "No provider nobody is configured" in (await response.json(content_type=None))["detail"]


async def test_a_request_that_came_through_here_before_is_a_loop(gateway: Running, upstream: ScriptedUpstream) -> None:
    async with gateway.session.get("/provider/openai/v1/models", headers={"Via": "1.1 llm-gateway"}) as response:
        assert response.status == 508
    assert not upstream.requests


async def test_a_gateway_in_front_of_another_is_no_loop(start: Start, upstream: ScriptedUpstream) -> None:
    inner = await start(GATEWAY_VIA_NAME="")
    outer = await start(
        GATEWAY_VIA_NAME="",
        GATEWAY_PROVIDER_OPENAI_BASE_URL=f"{inner.url}/provider/openai",
        GATEWAY_PROVIDER_OPENAI_API_KEY=KEY,
    )
    for _ in range(4):  # heads that are known from the third on are read in another way
        async with outer.session.post(CHAT, json={}) as response:
            assert response.status == 200
    names = [stop.removeprefix("1.1 ") for stop in (await upstream.received(4)).fields.getall("via")]
    assert len({*names}) == 2 and all(re.fullmatch("llm-gateway-[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize("name", ["", "eu-1.gateway"])
async def test_a_loop_through_another_gateway_is_refused(start: Start, upstream: ScriptedUpstream, name: str) -> None:
    gateway = await start(GATEWAY_VIA_NAME=name)
    async with gateway.session.post(CHAT, json={}) as response:
        assert response.status == 200
    ours = (await upstream.received()).fields["via"]
    for _ in range(4):
        async with gateway.session.post(CHAT, json={}, headers={"Via": f"1.1 another, {ours.upper()}"}) as response:
            assert response.status == 508
            assert response.headers["x-gateway-error"] == "loop_detected"
    assert len(upstream.requests) == 1


async def test_a_key_that_the_upstream_echoes_does_not_come_down(gateway: Running, upstream: ScriptedUpstream) -> None:
    upstream.will(answer(b"{}", "200 OK", f"X-Echo: {PROVIDER_KEY}"))
    async with gateway.session.get("/provider/openai/v1/models") as response:
        assert PROVIDER_KEY.encode() not in b"".join(value for _, value in response.raw_headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "POST", "PROPFIND"])
async def test_any_method_is_relayed(gateway: Running, upstream: ScriptedUpstream, method: str) -> None:
    upstream.will(send(b"HTTP/1.1 204 No Content\r\n\r\n"))
    async with gateway.session.request(method, "/provider/openai/v1/files/f-1") as response:
        assert response.status == 204
    assert (await upstream.received()).method == method


async def test_a_connection_that_the_upstream_closed_meanwhile_costs_nothing(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(answer(), close())
    for _ in range(2):
        async with gateway.session.post(CHAT, json={}) as response:
            assert response.status == 200
    assert len(upstream.requests) == 2


async def test_a_compressed_answer_is_read_for_the_record(gateway: Running, upstream: ScriptedUpstream) -> None:
    document = {
        "model": "gpt-x",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    upstream.will(answer(gzip.compress(json.dumps(document).encode()), "200 OK", "Content-Encoding: gzip"))
    async with gateway.session.post(CHAT, json={"model": "gpt-x"}) as response:
        await response.read()
    usage = (await gateway.exchange()).calls[0].facts.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


async def test_chunks_of_one_byte_change_nothing(gateway: Running, upstream: ScriptedUpstream) -> None:
    stream = b"data: " + DELTA + b"\r\n\r\n: ping\n\ndata: [DONE]\n\n"
    upstream.will(begin(), *(chunk(stream[i : i + 1]) for i in range(len(stream))), end())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert await response.read() == stream
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE


async def test_server_timing_is_told_where_it_is_switched_on(start: Start, upstream: ScriptedUpstream) -> None:
    for switched, told in (("true", True), ("false", False)):
        gateway = await start(GATEWAY_SERVER_TIMING=switched)
        async with gateway.session.post(CHAT, json={}) as response:
            assert ("upstream;dur=" in response.headers.get("server-timing", "")) is told


HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
}
REQUEST = f"POST {{}} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("framing", HEADS)
@pytest.mark.parametrize(
    ("path", "kind"), [(CHAT, "server_error"), ("/provider/anthropic/v1/messages", "timeout_error")]
)
async def test_an_answer_whose_body_never_begins_is_a_504_and_the_connection_goes_on(
    start: Start, upstream: ScriptedUpstream, framing: str, path: str, kind: str
) -> None:
    gateway = await start(GATEWAY_FIRST_BYTE_TIMEOUT="0.3")
    request = REQUEST.format(path) + "Content-Length: 2\r\n\r\n{}"
    async with connected(gateway.port) as client:
        for number in range(4):  # from the third on both heads are known by their shapes
            upstream.will(send(HEADS[framing]), until_left())
            await client.send(request)
            late = await client.response()
            assert (late.status, late.field("x-gateway-error")) == (504, b"upstream_timeout")
            assert json.loads(late.body)["error"]["type"] == kind
            assert late.field("x-gateway-request-id") is not None
            await client.send(request)
            answered = await client.response()
            assert (answered.status, answered.body) == (200, JSON_ANSWER)
            exchange = await gateway.exchange(2 * number + 1)
            assert (exchange.status, exchange.outcome, exchange.error) == (
                504, Outcome.UPSTREAM_TIMEOUT, "upstream_timeout",
            )  # fmt: skip
            assert [(call.status, call.error) for call in exchange.calls] == [(200, "upstream_timeout")]


async def test_an_answer_that_breaks_before_its_body_begins_is_a_502(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(send(HEADS["chunks"]), pause(0.05), close())
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, response.headers["x-gateway-error"]) == (502, "upstream_truncated")
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TRUNCATED


async def test_a_body_that_is_later_than_the_idle_timeout_comes_through(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_IDLE_TIMEOUT="0.2", GATEWAY_FIRST_BYTE_TIMEOUT="10")
    upstream.will(send(HEADS["length"]), pause(0.6), send(JSON_ANSWER))
    async with gateway.session.post(CHAT, json={}) as response:
        assert (response.status, await response.read()) == (200, JSON_ANSWER)


async def test_an_event_stream_that_never_begins_has_its_head_and_then_breaks_off(
    start: Start, upstream: ScriptedUpstream
) -> None:
    gateway = await start(GATEWAY_FIRST_BYTE_TIMEOUT="0.5")
    upstream.will(begin(), until_left())
    async with gateway.session.post(CHAT, json={"stream": True}) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert (await gateway.exchange()).outcome is Outcome.UPSTREAM_TIMEOUT


async def test_an_answer_that_is_drained_before_its_body_begins_is_a_503(
    gateway: Running, upstream: ScriptedUpstream
) -> None:
    upstream.will(send(HEADS["length"]), until_left())
    asking = asyncio.create_task(gateway.session.post(CHAT, json={}))
    await upstream.received()
    await asyncio.sleep(0.1)
    gateway.gateway.recorder.end_all()
    async with await asking as response:
        assert (response.status, response.headers["x-gateway-error"]) == (503, "drained")


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_long_answer_to_a_request_without_a_body_is_relayed(
    start: Start, upstream: ScriptedUpstream, method: str, kind: str
) -> None:
    gateway = await start()
    long = b"x" * (3 << 20)
    upstream.will(answer(long, "200 OK", "Content-Type: application/octet-stream"))
    target, fields = "/provider/openai/v1/files/f/content", {"Content-Type": kind}
    async with gateway.session.request(method, target, headers=fields) as response:
        assert (response.status, await response.read()) == (200, long)
    assert (await gateway.exchange()).outcome is Outcome.COMPLETE

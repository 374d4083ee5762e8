"""What crosses the gateway, each way, and what never does."""

import pytest

from gateway.wire import headers

Field = tuple[bytes, bytes]


def up(fields: list[Field], **changes: object) -> list[Field]:
    arguments: dict[str, object] = {"host": b"api.example", "via": b"1.1 gateway"} | changes
    return headers.to_upstream(fields, **arguments)  # type: ignore[arg-type]


def names(fields: list[Field]) -> list[bytes]:
    return [name.lower() for name, _ in fields]


def test_unknown_fields_go_upstream_byte_for_byte_in_order_and_repeated():
    fields = [
        (b"X-Odd", b"  caf\xe9 "),
        (b"anthropic-beta", b"a"),
        (b"ANTHROPIC-BETA", b"b"),
        (b"x-odd", b""),
        (b"Accept-Encoding", b"gzip, br"),
        (b"OpenAI-Organization", b"org"),
        (b"x-stainless-retry-count", b"1"),
    ]
    assert up(fields) == [(b"Host", b"api.example"), *fields, (b"Via", b"1.1 gateway")]


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Content-Length", "Expect", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        "Proxy-Connection", "Proxy-Authorization", "Proxy-Whatever", "HTTP2-Settings", "Sec-WebSocket-Protocol",
        "Cookie", "Authorization", "X-API-Key", "api-key", "x-goog-api-key", "Ocp-Apim-Subscription-Key",
        "Forwarded", "X-Forwarded-For", "x-forwarded-anything", "X-Real-IP", "X-Stream-Mode", "X-Gateway-Anything",
        "traceparent", "tracestate", "baggage",
    ],
)  # fmt: skip
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_what_is_for_the_gateway_alone_stays_here(name: str, spelling):
    sent = up([(spelling(name).encode(), b"secret"), (b"Accept", b"*/*")])
    assert sent == [(b"Host", b"api.example"), (b"Accept", b"*/*"), (b"Via", b"1.1 gateway")]


@pytest.mark.parametrize(
    "connection",
    [
        [b"X-Mine, keep-alive, x-TOO"],
        [b"keep-alive", b"x-mine ,,\tX-Too"],
        [b"x-mine", b"close", b"x-too"],
    ],
)
def test_every_field_named_in_any_connection_field_is_dropped_both_ways(connection: list[bytes]):
    fields = [(b"connection", value) for value in connection]
    fields = [(b"X-Mine", b"1"), *fields, (b"x-too", b"2"), (b"X-Mine", b"3"), (b"Kept", b"4")]
    assert names(up(fields)) == [b"host", b"kept", b"via"]
    assert names(headers.to_client(fields)) == [b"kept", b"x-accel-buffering"]


def test_a_connection_field_cannot_name_away_what_the_gateway_adds():
    hostile = [(b"Connection", b"authorization, host, via, traceparent, anthropic-version, x-accel-buffering")]
    sent = up(
        hostile,
        credential=(b"Authorization", b"Bearer provider"),
        defaults=[(b"anthropic-version", b"2023-06-01")],
    )
    assert sorted(names(sent)) == [b"anthropic-version", b"authorization", b"host", b"via"]
    assert headers.to_client(hostile) == [(b"X-Accel-Buffering", b"no")]


def test_the_credential_takes_the_place_of_every_client_field_of_its_name():
    sent = up([(b"X-Custom-Key", b"client"), (b"x-custom-key", b"again")], credential=(b"X-Custom-Key", b"ours"))
    assert [field for field in sent if field[0].lower() == b"x-custom-key"] == [(b"X-Custom-Key", b"ours")]


def test_a_default_goes_along_only_where_the_client_sent_no_such_field():
    default = [(b"anthropic-version", b"2023-06-01")]
    assert (b"anthropic-version", b"2023-06-01") in up([], defaults=default)
    sent = up([(b"Anthropic-Version", b"2099-01-01")], defaults=default)
    assert [value for name, value in sent if name.lower() == b"anthropic-version"] == [b"2099-01-01"]


def test_the_clients_own_via_is_kept_before_ours():
    assert [value for name, value in up([(b"Via", b"1.0 fred")]) if name == b"Via"] == [b"1.0 fred", b"1.1 gateway"]


def test_what_a_provider_says_about_limits_and_ids_reaches_the_client_untouched():
    fields = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"12"),
        (b"x-request-id", b"req_1"),
        (b"request-id", b"req_2"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"anthropic-ratelimit-tokens-reset", b"2026-01-01T00:00:00Z"),
        (b"retry-after-ms", b"120"),
        (b"Retry-After", b"1"),
        (b"x-should-retry", b"true"),
        (b"WWW-Authenticate", b"Bearer"),
        (b"Vary", b"Origin"),
        (b"Vary", b"Accept"),
    ]
    assert headers.to_client(fields) == fields


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Transfer-Encoding", "Keep-Alive", "Trailer", "Upgrade", "Proxy-Authenticate", "Set-Cookie",
        "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data", "NEL", "Report-To", "Public-Key-Pins",
        "Service-Worker-Allowed", "Access-Control-Allow-Origin", "X-Accel-Redirect", "X-Sendfile", "X-Gateway-Error",
    ],
)  # fmt: skip
def test_what_speaks_for_the_providers_host_or_in_our_name_stays_there(name: str):
    fields = [(name.encode(), b"x"), (name.upper().encode(), b"y"), (b"Content-Length", b"0")]
    assert headers.to_client(fields) == [(b"Content-Length", b"0")]


def test_a_body_written_anew_is_not_described_by_the_old_ones_fields():
    old = [(b"Content-Length", b"3"), (b"Content-Encoding", b"gzip"), (b"ETag", b'"a"'), (b"X-Request-Id", b"r")]
    assert headers.to_client(old, without=headers.REPRESENTATION) == [
        (b"X-Request-Id", b"r"),
        (b"X-Accel-Buffering", b"no"),
    ]


@pytest.mark.parametrize(
    ("fields", "unbuffered"),
    [
        ([(b"Content-Type", b"application/json"), (b"Content-Length", b"2")], False),
        ([(b"Content-Type", b"application/json")], True),
        ([(b"content-type", b"Text/Event-Stream; charset=utf-8"), (b"Content-Length", b"2")], True),
        ([(b"Content-Type", b"application/x-ndjson"), (b"Content-Length", b"2")], True),
        ([(b"X-Accel-Buffering", b"yes"), (b"Content-Type", b"text/event-stream")], True),
    ],
)
def test_streams_are_marked_as_not_to_be_buffered(fields: list[Field], unbuffered: bool):
    told = [value for name, value in headers.to_client(fields) if name.lower() == b"x-accel-buffering"]
    assert told == ([b"no"] if unbuffered else [])


def test_a_response_field_that_holds_the_providers_key_is_dropped():
    fields = [(b"X-Echo", b"Bearer sk-provider-1"), (b"Location", b"/x?key=sk-provider-1"), (b"Content-Length", b"1")]
    assert headers.to_client(fields, key=b"sk-provider-1") == [(b"Content-Length", b"1")]
    assert headers.to_client(fields, key=b"") == fields
    assert headers.to_client([(b"Accept-Ranges", b"none"), *fields[2:]], key=b"none") == [
        (b"Accept-Ranges", b"none"),
        (b"Content-Length", b"1"),
    ]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (b"1.1 gateway", True),
        (b"1.0 fred, 1.1 GATEWAY (llm)", True),
        (b"HTTP/1.1\tgateway", True),
        (b"1.1 gateway2, 1.1 my-gateway", False),
        (b"gateway", False),
        (b"", False),
    ],
)
def test_our_own_name_in_via_means_a_loop(value: bytes, seen: bool):
    assert headers.passed_here_before([(b"A", b"1.1 gateway"), (b"vIa", value)], b"gateway") is seen


def test_keys_are_offered_in_the_order_in_which_they_are_tried():
    fields = [
        (b"x-goog-api-key", b"google"),
        (b"api-key", b"azure"),
        (b"AUTHORIZATION", b"bEaReR  token "),
        (b"Authorization", b"Basic dXNlcg=="),
        (b"Authorization", b"Bearer  usual "),
        (b"X-Api-Key", b" first "),
        (b"x-api-key", b"second"),
        (b"api-key", b"first"),
        (b"api-key", b""),
    ]
    assert headers.client_keys(fields) == [b"first", b"second", b"token", b"usual", b"azure", b"google"]


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer ", b"token", b"Digest x"])
def test_an_authorization_without_a_bearer_token_offers_no_key(value: bytes):
    assert headers.client_keys([(b"Authorization", value)]) == []


@pytest.mark.parametrize(
    "query",
    ["key=x", "a=1&api_key=x", "API-KEY=x", "apikey", "access_token=", "%6Bey=x", "api%5Fkey=x", "+key=1", "a&&Key=2"],
)
def test_a_key_in_the_query_is_seen_however_it_is_spelled(query: str):
    assert headers.key_in_query(query)


@pytest.mark.parametrize(
    "query", ["", "a=key", "pageToken=1", "keys=1", "metadata[key]=1", "key%3Dx", "limit=10&after=k"]
)
def test_other_parameters_are_no_keys(query: str):
    assert not headers.key_in_query(query)


def test_names_made_up_by_a_client_do_not_pile_up_in_memory():
    for number in range(5000):
        made_up = f"X-{number}".encode()
        assert (made_up, b"1") in up([(made_up, b"1"), (b"x" * 1000 + made_up, b"2")])
    assert len(headers._UPSTREAM.verdicts) <= 2048
    assert max(map(len, headers._UPSTREAM.verdicts)) <= 64

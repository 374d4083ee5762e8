"""The `stream` member: set with the least change, and never against what the body says."""

import json

import pytest

from gateway.errors import InvalidRequest
from gateway.providers.stream_flag import asks_for_stream, with_stream


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"{}", b'{"stream":true}'),
        (b" { } ", b' {"stream":true } '),
        (b'{"a":1}', b'{"stream":true,"a":1}'),
        (b'\n{ "a" : {"stream":false} }', b'\n{"stream":true, "a" : {"stream":false} }'),
        (b'{"a":"caf\xc3\xa9","b":"\xff","n":1e5}', b'{"stream":true,"a":"caf\xc3\xa9","b":"\xff","n":1e5}'),
        (b'{"text":"\\"stream\\":false"}', b'{"stream":true,"text":"\\"stream\\":false"}'),
        (b'{"half":"\\ud83d"}', b'{"stream":true,"half":"\\ud83d"}'),
        (b'{"stream":true,"a":1}', b'{"stream":true,"a":1}'),
        (b'{"stream":false,"stream" : true}', b'{"stream":false,"stream" : true}'),
        (b'{"a":{"stream":null},"stream": null }', b'{"a":{"stream":null},"stream": true }'),
        (b'{"stream":null,"a":{"stream":null}}', b'{"stream":true,"a":{"stream":null}}'),
    ],
)
def test_a_stream_is_asked_for_and_every_other_byte_stays(body: bytes, changed: bytes):
    assert with_stream(body, True) == changed
    assert asks_for_stream(changed)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"a":1}', b'{"stream":false}', b' {"stream" : null}', b'{"a":{"stream":true}}']
)
def test_one_document_is_what_is_answered_unasked(body: bytes):
    assert with_stream(body, False) == body
    assert not asks_for_stream(body)


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (b'{"stream":false}', True),
        (b'{"stream":true}', False),
        (b'{"\\u0073tream":true}', False),
        (b'{"stream":"true"}', True),
        (b'{"stream":1}', True),
        (b'{"stream":0}', False),
        (b'{"stream":[]}', False),
        (b'{"\\u0073tream":null}', True),
    ],
)
def test_a_body_that_says_otherwise_is_refused_by_name(body: bytes, stream: bool):
    with pytest.raises(InvalidRequest) as refused:
        with_stream(body, stream)
    assert refused.value.param == "stream"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"{}"',
        b"{",
        b"{}x",
        b'{"a":1',
        b'{"a":1}{}',
        b"{,}",
        b'{"a":' + b"[" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_body_that_is_no_json_object_is_refused(body: bytes, stream: bool):
    with pytest.raises(InvalidRequest, match="JSON object"):
        with_stream(body, stream)


def test_a_large_body_is_changed_like_a_small_one():
    body = json.dumps({"messages": [{"content": "x" * 1_000_000}]}).encode()
    assert with_stream(body, True) == b'{"stream":true,' + body[1:]

"""Members that two readers may read differently are found, whatever stands around them."""

import json
import tracemalloc

import pytest

from gateway.providers.reading.lenient import opened
from gateway.providers.reading.repeated import repeated_member

NAMES = ("model", "n", "generationConfig", "maxOutputTokens")


def found(body: bytes) -> str | None:
    return repeated_member(body, opened(body), NAMES, ("generationConfig",))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b' { "model" :\n"a" , "x":[{"y":"}"}], "model"\t: "b" } ', "model"),
        (b'\xef\xbb\xbf{"model":"a","model":"b"}', "model"),
        (b'{"model":"a","\\u006dodel":"b"}', "model"),
        (b'{"\\u006d\\u006fdel":"a","\\u006Dodel":"b"}', "model"),
        (b'{"Model":"b"}', "model"),
        (b'{"model":"a","\\u004dodel":"b"}', "model"),
        (b'{"n":1,"a":NaN,"n":2}', "n"),
        (b'{"generationConfig":{},"generationConfig":{}}', "generationConfig"),
        (b'{"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":2}}', "maxOutputTokens"),
        (b'{"generationConfig":{"maxOutputTokens":1,"MaxOutputTokens":2,"maxOutputTokens":3}}', "maxOutputTokens"),
        (b'{"model":"a"}', None),
        (b'{"x":1,"x":2,"model":"a"}', None),
        (b'{"model":"a","tools":[{"model":1,"n":2},{"model":3,"n":4}]}', None),
        (b'{"model":"\\"model\\": \\"model\\": ","role":"model","kind":"model"}', None),
        (b'{"model":"a","b":"\\u006d\\u0041"}', None),
        (b'{"generationConfig":5,"model":"a","x":{"model":"b"}}', None),
        (b'{"generationConfig":{"\\ud800":1,"maxOutputTokens":1,"maxOutputTokens":2}}', "maxOutputTokens"),
        (b"{}", None),
        (b"[]", None),
    ],
)
def test_what_comes_twice_is_found(body: bytes, name: str | None) -> None:
    assert found(body) == name


def test_a_body_that_is_nested_too_deeply_to_be_read_is_refused() -> None:
    deep = b'{"a":' + b"[" * 900 + b"]" * 900 + b',"model":"a","model":"b"}'
    deeper = deep.replace(b"[" * 900, b"[" * 200_000).replace(b"]" * 900, b"]" * 200_000)
    assert found(deep) == "model"
    with pytest.raises(ValueError, match="nested too deeply"):
        repeated_member(deeper, {}, NAMES)


def test_a_large_body_is_read_quickly_enough_to_be_read() -> None:
    body = json.dumps({"model": "a", "messages": [{"content": "é" * 100_000, "model": 1}] * 2}).encode()
    assert found(body) is None


@pytest.mark.parametrize("end", [b'"model":"b"', b'"generationConfig":5', b'"model":"b","model":"c"'])
def test_the_values_of_a_large_body_are_not_built(end: bytes) -> None:
    body = b'{"model":"a","messages":[' + b"[]," * 2_000_000 + b'{"model":"x"}],' + end + b"}"
    members = opened(body)
    tracemalloc.start()
    try:
        name = repeated_member(body, members, NAMES, ("generationConfig",))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert name == (None if b"Config" in end else "model")
    assert peak < 3 * len(body)


def test_a_large_body_that_is_not_strictly_json_is_refused() -> None:
    large = b'"messages":[' + b"[]," * 2_000_000 + b'{"model":"x"}]'
    assert opened(b'{"a":NaN,"model":"a",' + large + b"}") == {}
    with pytest.raises(ValueError, match="too long"):
        found(b'{"model":"a","generationConfig":{"\\ud800":1},' + large + b"}")

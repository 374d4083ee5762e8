"""JSON that is broken, cut or hostile: what can be read is read, and nothing ever raises."""

import json

import pytest

from gateway.providers.reading.lenient import count, leading, member, named, opened, parsed, trailing

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"x\\ud83d"', "x?"),
        (b'"\xff"', "\ufffd"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"", None),
        (b"[DONE]", None),
        (b"{", None),
        (DEEP, None),
        (b"9" * 5000, None),
    ],
)
def test_a_value_or_none(data: bytes, value: object):
    assert parsed(data) == value


def test_a_bad_member_spoils_no_other():
    members = opened(b'{"model":"m","bad":"\xff","huge":' + b"9" * 5000 + b',"model":"n"}')
    assert member(members, "model") == "n"
    assert member(members, "bad") == "\ufffd"
    assert member(members, "huge") is None
    assert member(members, "missing") is None


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b'{"a":' + DEEP + b"}", b"\x00", b"<html>"])
def test_what_is_no_object_has_no_members(body: bytes):
    assert not opened(body)


def test_the_members_before_a_cut_are_there_whatever_the_cut():
    whole = {
        "id": "x\u00e9",
        "n": 12.5,
        "list": [1, {"a": "}"}],
        "inner": {"model": "m", "deep": {"b": True}},
        "last": 7,
    }
    data = json.dumps(whole, ensure_ascii=False, indent=1).encode()
    for cut in range(len(data) + 1):
        found = leading(data[:cut])
        for name, value in found.items():
            if name == "inner" and value != whole["inner"]:
                inner = whole["inner"]
                assert isinstance(inner, dict)
                assert all(inner[key] == value[key] or key == "deep" for key in value)
            else:
                assert value == whole[name], (cut, name)
    assert leading(data) == whole
    assert leading(data[: data.index(b'"deep"')]) == {
        "id": "x\u00e9",
        "n": 12.5,
        "list": [1, {"a": "}"}],
        "inner": {"model": "m"},
    }


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"{1:2}", b'{"a" 1}', b'{"a":[[[', b'{"a":' + DEEP, b"\xff{"])
def test_what_never_began_has_nothing_leading(data: bytes):
    assert leading(data) == {}


def test_the_last_member_of_a_name_is_found_behind_a_cut():
    data = b'ut","usage":{"n":1},"text":"\\"usage\\": {\\"n\\":2}","usage": {"n": 3} ,"x":["usage"]}'
    assert trailing(data, "usage") == {"n": 3}
    assert trailing(data, "missing") is None
    assert trailing(b'"usage":{"n":', "usage") is None
    assert trailing(b'"usage":1,"usage":{', "usage") == 1
    assert trailing(b'"usage"', "usage") is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (7, 7), (7.0, 7), (7.5, None), (-1, None), (True, None), ("7", None), (None, None), (10**30, None)],
)
def test_a_number_of_tokens_is_a_whole_number(value: object, number: int | None):
    assert count(value) == number
    assert count(float("inf")) is None


def test_a_name_is_neither_empty_nor_endless():
    assert named("gpt") == "gpt"
    assert named("") is None
    assert named(5) is None
    assert len(named("x" * 10_000) or "") == 256

"""What is shown of what was said: all its text within bounds, none of its data."""

import json
import time

from gateway.providers.reading.content import all_text, as_json, body_text, clipped, schemas, spoken, texts

PNG = "iVBORw0KGgo" * 100


def test_a_text_over_the_bound_says_how_much_more_there_was():
    assert clipped("abc", 3) == "abc"
    assert clipped("abcdef", 2) == "ab [4 more characters]"
    assert len(spoken("x" * 1_000_000)) < 70_000
    assert len(spoken([{"type": "text", "text": "x" * 50_000}] * 10)) < 70_000
    assert len(all_text("x" * 1_000_000)) == 1_000_000


def test_parts_are_joined_and_data_is_named():
    parts = [
        {"type": "text", "text": "a"},
        "b",
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}},
        {"type": "input_audio", "input_audio": {"data": PNG}},
        {"type": "file", "file": {"file_data": PNG}},
        {"type": "video_url", "video_url": {}},
        {"type": "thinking", "thinking": "hm"},
        {"type": 5},
        7,
        None,
    ]
    assert spoken(parts) == "a\nb\n[image]\n[audio]\n[file]\n[video]"
    assert spoken(None) == spoken({}) == spoken(5) == ""


def test_a_body_is_shown_without_its_data():
    body = json.dumps({"image": "data:image/png;base64," + PNG, "text": "kept " * 200, "path": "/v1/x"}).encode()
    shown = json.loads(body_text(body))
    assert shown == {"image": "data:image/png;base64,[data]", "text": "kept " * 200, "path": "/v1/x"}
    assert body_text(b'"\\nAB' + PNG.replace("o", "\\/").encode() + b'=="') == '"[data]"'
    assert body_text(b"\xff\xfe") == "\ufffd\ufffd"
    assert len(body_text(b"a b " * 100_000)) < 70_000


def test_a_body_made_to_be_slow_is_not():
    began = time.monotonic()
    for body in (b"A" * 399 + b"!", b"A" * 399 + b"\\!", b"\\/" * 200 + b"!", b"\\" * 400):
        body_text(body * 5000)
    assert time.monotonic() - began < 5


def test_tools_and_texts_take_only_what_they_can_be():
    assert schemas([{"a": 1}, 5, None]) == ['{"a":1}']
    assert schemas({"a": 1}) == []
    assert texts("a") == ["a"]
    assert texts(["a", 5, "b"]) == ["a", "b"]
    assert texts([1, 2, 3]) == texts(None) == []


def test_a_value_too_deep_to_write_is_left_out():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert as_json(deep) == ""
    assert as_json(None) == ""

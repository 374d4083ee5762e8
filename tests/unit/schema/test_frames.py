"""Frames name their type and leave out what they do not know."""

from typing import get_args

import msgspec

from gateway.schema.frames import AnyFrame, CallUsage, DeltaFrame, DoneFrame, ReplyFrame, StepFrame, UsageFrame


class Summary(msgspec.Struct):
    summary: str


def test_every_frame_has_a_type_of_its_own() -> None:
    types = [frame.__struct_config__.tag for frame in get_args(AnyFrame)]
    assert types == ["step", "delta", "reply", "usage", "error", "done"]


def test_a_frame_is_one_line_of_json_whatever_its_text() -> None:
    encoded = msgspec.json.encode(DeltaFrame("one\ntwo\r\u2028"))
    assert encoded == '{"type":"delta","text":"one\\ntwo\\r\u2028"}'.encode()


def test_what_is_not_known_is_not_told() -> None:
    assert msgspec.json.encode(StepFrame("points", "started")) == b'{"type":"step","step":"points","state":"started"}'
    assert msgspec.json.encode(DoneFrame()) == b'{"type":"done"}'
    call = CallUsage("points", "mock", "mock-model", 0.5, input_tokens=3)
    assert msgspec.json.decode(msgspec.json.encode(UsageFrame(3, 0, [call]))) == {
        "type": "usage",
        "input_tokens": 3,
        "output_tokens": 0,
        "calls": [{"step": "points", "provider": "mock", "model": "mock-model", "seconds": 0.5, "input_tokens": 3}],
    }


def test_a_reply_is_told_as_json_mode_would() -> None:
    assert msgspec.json.encode(ReplyFrame(Summary("short"))) == b'{"type":"reply","reply":{"summary":"short"}}'

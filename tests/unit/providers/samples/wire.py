"""How bodies are written: compact JSON, and events of it."""

import json
from typing import Any

Json = dict[str, Any]


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event_stream(events: list[Json], *, named: bool = False, end: bytes = b"") -> bytes:
    """`events` as a stream; `named` by their type, as Anthropic and the Responses API have it."""
    return (
        b"".join(
            (b"event: %s\n" % event["type"].encode() if named else b"") + b"data: " + compact(event) + b"\n\n"
            for event in events
        )
        + end
    )


DONE = b"data: [DONE]\n\n"

"""What a workflow's answer is made of while it streams: one Struct a frame, the same in every streaming mode.

`ndjson` has a frame per line; `sse` has one per event, named by the frame's `type`. `text` has the deltas' text alone.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.schema.error_bodies import Problem


class Frame(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What all frames have in common: a `type`."""


class StepFrame(Frame, frozen=True, tag="step"):
    """A step of the workflow began or ended."""

    step: Annotated[str, Meta(description="The workflow's own name for it.")]
    state: Literal["started", "finished", "failed"]
    model: Annotated[str, Meta(description="Provider and model, as configured.")] = ""
    seconds: Annotated[float | None, Meta(description="How long it took.")] = None


class DeltaFrame(Frame, frozen=True, tag="delta"):
    """The next piece of text."""

    text: str
    source: Annotated[str, Meta(description="Who says it, where several speak; absent for the answer's own text.")] = ""


class ReplyFrame(Frame, frozen=True, tag="reply"):
    """The whole reply: what `stream_mode=json` would have answered."""

    reply: Any


class CallUsage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of the workflow; token counts are absent where the provider told none."""

    step: str
    provider: str
    model: str
    seconds: float
    input_tokens: int | None = None
    output_tokens: int | None = None


class UsageFrame(Frame, frozen=True, tag="usage"):
    """What the answer took: the sum, and each call."""

    input_tokens: int
    output_tokens: int
    calls: list[CallUsage]


class ErrorFrame(Frame, frozen=True, tag="error"):
    """The workflow failed after its first text; nothing follows, and the response breaks off."""

    error: Problem


class DoneFrame(Frame, frozen=True, tag="done"):
    """The answer is complete. A response without this frame is not."""


AnyFrame = StepFrame | DeltaFrame | ReplyFrame | UsageFrame | ErrorFrame | DoneFrame

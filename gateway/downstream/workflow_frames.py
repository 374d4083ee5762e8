"""How a workflow's frames are written in each streaming mode.

The comments that keep a silent event stream alive come through here as well, and not from a task beside it as
aiohttp-sse has one: so they wait for a slow client like everything else, and are counted like everything else.
"""

from collections.abc import AsyncGenerator, Callable, Sequence

import msgspec

from gateway.downstream.state import ErrorFrame as TellError
from gateway.errors import GatewayError
from gateway.projects.running import Run
from gateway.schema.error_bodies import problem
from gateway.schema.frames import DeltaFrame, ErrorFrame, Frame, ReplyFrame
from gateway.wire import sse
from gateway.wire.mode import StreamMode

PING = sse.encode(comment="ping")


def as_event(frame: Frame) -> bytes:
    """An event named by the frame's type."""
    return sse.encode(msgspec.json.encode(frame), event=str(frame.__struct_config__.tag))


def as_line(frame: Frame) -> bytes:
    """A line of JSON."""
    return msgspec.json.encode(frame) + b"\n"


def as_text(frame: Frame) -> bytes:
    """The text, if it is the answer's own."""
    return frame.text.encode() if isinstance(frame, DeltaFrame) and not frame.source else b""


WRITERS: dict[StreamMode, Callable[[Frame], bytes]] = {
    StreamMode.SSE: as_event,
    StreamMode.NDJSON: as_line,
    StreamMode.TEXT: as_text,
}


async def written(run: Run, opening: Sequence[Frame], mode: StreamMode, ping: float) -> AsyncGenerator[bytes, None]:
    """`opening` and what else comes from `run`; in an event stream, a comment for every `ping` seconds of silence."""
    write, silent = WRITERS[mode], True
    async for frame in _all(run, opening, ping if mode is StreamMode.SSE else None):
        if frame is None:
            yield PING
        elif piece := write(frame):
            silent = False
            yield piece
        elif silent and isinstance(frame, ReplyFrame):  # a workflow without a word: its reply is all there is
            yield msgspec.json.encode(frame.reply)


async def _all(run: Run, opening: Sequence[Frame], patience: float | None) -> AsyncGenerator[Frame | None, None]:
    for frame in opening or (None,):
        yield frame
    while not run.over:
        yield await run.next(patience)


def error_frame(mode: StreamMode, request_id: str, path: str) -> TellError:
    """What a running answer says of an error; nothing where it is bare text."""
    write = WRITERS[mode]

    def told(error: GatewayError) -> bytes:
        return write(ErrorFrame(problem(error, request_id, path)))

    return told

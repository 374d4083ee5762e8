"""A summary in two steps: one model finds the points, another writes them up."""

from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.projects import Chat, Endpoint, Operation, PromptTemplate

FIND_POINTS = PromptTemplate("demo.find_points", "List the main points of this text:\n\n{text}", version="1")
WRITE_UP = PromptTemplate("demo.write_up", "Write a summary of a text with these main points:\n\n{points}", version="1")


class SummaryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(description="The text to summarise.", min_length=1, max_length=20_000)]
    max_tokens: Annotated[int, Meta(description="Length of the summary.", ge=1, le=4096)] = 256


class Summary(msgspec.Struct, frozen=True):
    summary: Annotated[str, Meta(description="The summary.")]


async def summarise(chat: Chat, asked: SummaryRequest) -> AsyncGenerator[str | Summary, None]:
    points = await chat.complete("points", FIND_POINTS.fill(text=asked.text), max_tokens=512)
    written = []
    async with chat.stream("writer", WRITE_UP.fill(points=points), max_tokens=asked.max_tokens) as deltas:
        async for delta in deltas:
            written.append(delta)
            yield delta
    yield Summary("".join(written))


SUMMARY = Endpoint(
    Operation(
        "POST",
        "/summary",
        "Summarise a text",
        description="One model finds the main points, another writes the summary from them.",
        request=SummaryRequest,
        response=Summary,
        streams=True,
        examples={
            "A short text": SummaryRequest("The gateway checks a key, calls a provider and streams its answer back.")
        },
        reply=Summary("A gateway stands between clients and providers."),
    ),
    summarise,
)

"""Any number of projects, one for each name that is asked for: what `scripts/scale` lets a gateway serve."""

from collections.abc import AsyncGenerator

import msgspec

from gateway.projects import Chat, Endpoint, Operation, Project


class Asked(msgspec.Struct, frozen=True):
    text: str


class Said(msgspec.Struct, frozen=True):
    text: str


async def answer(chat: Chat, asked: Asked) -> AsyncGenerator[Said, None]:
    yield Said(await chat.complete("writer", asked.text))


def __getattr__(name: str) -> Project:
    operation = Operation("POST", "/answer", "Answer", request=Asked, response=Said)
    return Project(name, name, (Endpoint(operation, answer),), {"writer": "answers"})

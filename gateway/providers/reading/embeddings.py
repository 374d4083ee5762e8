"""OpenAI's embeddings."""

from collections.abc import Sequence
from typing import Final

from gateway.providers.reading import chat_completions
from gateway.providers.reading.content import texts
from gateway.providers.reading.lenient import Members, member
from gateway.telemetry.exchange import Content, Facts, Message

CLOSING: Final = ("model", "usage")


def asked(facts: Facts, path: str, request: Members) -> None:
    chat_completions.asked(facts, path, request)


def document(facts: Facts, answer: Members) -> None:
    chat_completions.opening(facts, answer)
    facts.usage = chat_completions.usage_of(answer)
    if facts.usage is not None and facts.usage.input_tokens is None:  # all that an embedding takes is input
        facts.usage.input_tokens = facts.usage.total_tokens


def opening(facts: Facts, event: Members) -> bool:
    return chat_completions.opening(facts, event)


def closing(facts: Facts, event: Members) -> bool:
    return chat_completions.closing(facts, event)


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    return ()


def said(content: Content, request: Members) -> None:
    content.embedding_texts = texts(member(request, "input"))


def answered(answer: Members) -> list[Message]:
    return []


def told(events: Sequence[Members]) -> list[Message]:
    return []

"""Google's embedContent and batchEmbedContents."""

from collections.abc import Sequence
from typing import Final

from gateway.providers.reading import generate_content
from gateway.providers.reading.content import MOST_MESSAGES, spoken
from gateway.providers.reading.lenient import Members, mapping, member, objects, text
from gateway.telemetry.exchange import Content, Facts, Message

CLOSING: Final = ("usageMetadata",)


def asked(facts: Facts, path: str, request: Members) -> None:
    facts.request_model = generate_content.model_in(path)


def document(facts: Facts, answer: Members) -> None:
    generate_content.document(facts, answer)


def opening(facts: Facts, event: Members) -> bool:
    return True


def closing(facts: Facts, event: Members) -> bool:
    return True


def progress(event: Members) -> Sequence[tuple[int, bool]]:
    return ()


def said(content: Content, request: Members) -> None:
    asked = objects(member(request, "requests")) or [{"content": member(request, "content")}]
    for item in asked[:MOST_MESSAGES]:
        parts = objects(mapping(item.get("content")).get("parts"))
        if said := spoken([text(part.get("text")) for part in parts]):
            content.embedding_texts.append(said)


def answered(answer: Members) -> list[Message]:
    return []


def told(events: Sequence[Members]) -> list[Message]:
    return []

"""Which API a path belongs to: told by how it ends, since any prefix may stand before it.

Most providers serve others' APIs as well (Google an OpenAI-compatible one, local servers `/v1/messages`), so that the
record and the end of a stream are read by path, whatever the provider's own dialect is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.errors import GatewayError
from gateway.providers import failures
from gateway.providers.reading import (
    chat_completions,
    embed_content,
    embeddings,
    generate_content,
    interactions,
    messages,
    responses,
)
from gateway.providers.reading.api import Bodies, Glance, Reading, read
from gateway.providers.reading.stream_end import End, Progress, StreamBody, by_member, judged
from gateway.telemetry.exchange import Facts


@dataclass(frozen=True, slots=True)
class Api:
    """One operation, what its bodies mean, and how its streams tell an error; None where it does not stream."""

    operation: str
    reading: Reading
    stream_error: Callable[[GatewayError, str], bytes] | None = None
    glance: Glance | None = None


CHAT_COMPLETIONS: Final = Api("chat", chat_completions, failures.openai_event, chat_completions.glance)
RESPONSES: Final = Api("chat", responses, failures.responses_event)
COMPLETIONS: Final = Api("text_completion", chat_completions, failures.openai_event, chat_completions.glance)
EMBEDDINGS: Final = Api("embeddings", embeddings)
MESSAGES: Final = Api("chat", messages, failures.anthropic_event)
GENERATE_CONTENT: Final = Api("generate_content", generate_content, failures.gemini_event)
INTERACTIONS: Final = Api("chat", interactions, failures.interactions_event)
EMBED_CONTENT: Final = Api("embeddings", embed_content)

_BY_ENDING: Final = (
    ("/chat/completions", CHAT_COMPLETIONS),
    ("/v1/messages", MESSAGES),
    ("/responses", RESPONSES),
    (":streamGenerateContent", GENERATE_CONTENT),
    (":generateContent", GENERATE_CONTENT),
    ("/embeddings", EMBEDDINGS),
    ("/agents/completions", CHAT_COMPLETIONS),
    ("/completions", COMPLETIONS),
    ("/interactions", INTERACTIONS),
    (":embedContent", EMBED_CONTENT),
    (":batchEmbedContents", EMBED_CONTENT),
)

_PROGRESS_BY_ENDING: Final = (
    ("/completion", chat_completions.progress),  # llama.cpp's own
    ("/infill", chat_completions.progress),
    ("/api/chat", by_member("done", True)),  # Ollama's own
    ("/api/generate", by_member("done", True)),
    ("/v2/chat", by_member("type", "message-end", "message-", "content-", "tool-", "citation-")),  # Cohere
    ("/v1/chat", by_member("event_type", "stream-end")),
    ("/images/generations", by_member("type", "image_generation.completed", "image_generation.")),
    ("/images/edits", by_member("type", "image_edit.completed", "image_edit.")),
    ("/audio/speech", by_member("type", "speech.audio.done", "speech.audio.")),
    ("/audio/transcriptions", by_member("type", "transcript.text.done", "transcript.")),
)
# A resource is streamed again below the path that made it; then its usage has been told before.
_PROGRESS_BELOW: Final = (("/responses", responses.progress), ("/interactions", interactions.progress))


@lru_cache(256)
def api_at(path: str) -> Api | None:
    """The API that a path without query belongs to, None if it is no known one."""
    if "%3" in path:
        path = path.replace("%3A", ":").replace("%3a", ":")
    for ending, api in _BY_ENDING:
        if path.endswith(ending):
            return api
    return None


@lru_cache(256)
def progress_at(path: str) -> Progress | None:
    """How far events tell that a stream is, on a path of which nothing else is read; None if it is no known one."""
    collection = path.rpartition("/")[0]
    found = [progress for ending, progress in _PROGRESS_BY_ENDING if path.endswith(ending)]
    found += [progress for ending, progress in _PROGRESS_BELOW if collection.endswith(ending)]
    return found[0] if found else None


def operation(api: Api | None) -> str:
    return "" if api is None else api.operation


def stream_end(api: Api | None, path: str, body: StreamBody) -> End | None:
    progress = progress_at(path) if api is None else api.reading.progress
    end = None if progress is None else judged(progress, body)
    # Google's streams have no other marker.
    return End.MARKED if end is End.FINISHED and api is GENERATE_CONTENT else end


def facts(api: Api | None, path: str, bodies: Bodies, content: bool, parameters: bool) -> Facts:
    """What a call's bodies tell, nothing if no known API was called."""
    if api is None:
        return Facts()
    return read(api.reading, api.operation, path, bodies, content, parameters, api.glance)

"""Which API a path belongs to: told by how it ends, since any prefix may stand before it.

Most providers serve others' APIs as well (Google an OpenAI-compatible one, local servers `/v1/messages`), so that the
record and the end of a stream are read by path, whatever the provider's own dialect is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.errors import GatewayError
from gateway.providers import failures
from gateway.providers.reading import (
    chat_completions,
    cohere,
    embed_content,
    embeddings,
    generate_content,
    interactions,
    messages,
    responses,
)
from gateway.providers.reading.allowance import Allowance
from gateway.providers.reading.api import Bodies, Glance, Reading, read
from gateway.providers.reading.lenient import Members
from gateway.providers.reading.parameters import ParameterScope
from gateway.providers.reading.stream_end import End, Progress, StreamBody, by_member, end_of
from gateway.telemetry.exchange import Facts
from gateway.wire import target


@dataclass(frozen=True, slots=True)
class Api:
    """One operation, what its bodies mean, and how its streams tell an error; None where it does not stream.

    `allowance` says where a request bounds the tokens of its answer; None where an answer has none. `generated` takes
    what a model wrote out of an event.
    """

    operation: str
    reading: Reading
    stream_error: Callable[[GatewayError, str], bytes] | None = None
    glance: Glance | None = None
    allowance: Allowance | None = None
    generated: Callable[[Members], object] | None = None


CHAT_COMPLETIONS: Final = Api(
    "chat",
    chat_completions,
    failures.openai_event,
    chat_completions.glance,
    Allowance(("max_tokens", "max_completion_tokens"), ("n",)),
    chat_completions.generated,
)
RESPONSES: Final = Api(
    "chat",
    responses,
    failures.responses_event,
    allowance=Allowance(("max_output_tokens",)),
    generated=responses.generated,
)
COMPLETIONS: Final = Api(
    "text_completion",
    chat_completions,
    failures.openai_event,
    chat_completions.glance,
    Allowance(("max_tokens",), ("n", "best_of")),
    chat_completions.generated,
)
EMBEDDINGS: Final = Api("embeddings", embeddings)
MESSAGES: Final = Api(
    "chat",
    messages,
    failures.anthropic_event,
    allowance=Allowance(("max_tokens",)),
    generated=messages.generated,
)
GENERATE_CONTENT: Final = Api(
    "generate_content",
    generate_content,
    failures.gemini_event,
    allowance=Allowance(
        ("maxOutputTokens", "max_output_tokens"),
        ("candidateCount", "candidate_count"),
        within=("generationConfig", "generation_config"),
    ),
    generated=generate_content.generated,
)
INTERACTIONS: Final = Api(
    "chat",
    interactions,
    failures.interactions_event,
    allowance=Allowance(("max_output_tokens", "maxOutputTokens"), within=("generation_config", "generationConfig")),
    generated=interactions.generated,
)
EMBED_CONTENT: Final = Api("embeddings", embed_content)
COHERE_CHAT: Final = Api("chat", cohere, allowance=Allowance(("max_tokens",)), generated=cohere.generated)
COHERE_EMBED: Final = Api("embeddings", cohere)

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
    ("/v2/chat", COHERE_CHAT),
    ("/v1/chat", COHERE_CHAT),
    ("/v2/embed", COHERE_EMBED),
    ("/v1/embed", COHERE_EMBED),
)

_PROGRESS_BY_ENDING: Final = (
    ("/completion", chat_completions.progress),  # llama.cpp's own
    ("/infill", chat_completions.progress),
    ("/api/chat", by_member("done", True)),  # Ollama's own
    ("/api/generate", by_member("done", True)),
    ("/images/generations", by_member("type", "image_generation.completed", "image_generation.")),
    ("/images/edits", by_member("type", "image_edit.completed", "image_edit.")),
    ("/audio/speech", by_member("type", "speech.audio.done", "speech.audio.")),
    ("/audio/transcriptions", by_member("type", "transcript.text.done", "transcript.")),
)
# A stored resource can be streamed again below the path that made it; its usage was counted the first time.
_PROGRESS_BELOW: Final = (("/responses", responses.progress), ("/interactions", interactions.progress))


ApiAt = Callable[[str], Api | None]


def finder(*more: tuple[str, Api]) -> tuple[ApiAt, Callable[[str], bool]]:
    """Two functions of a path without query: the API that it belongs to, None if unknown; and whether it is spelled so
    that a provider may find another API. `more` endings come before the common ones.

    A path is read as the most lenient server would read it.
    """
    endings = (*more, *_BY_ENDING)
    folded = tuple((ending.lower(), api) for ending, api in endings)

    @lru_cache(256)
    def api_at(path: str) -> Api | None:
        return _by_ending(folded, target.lenient(path).lower())

    @lru_cache(256)
    def is_ambiguous(path: str) -> bool:
        plain = target.plain(path)
        return "%25" in plain or _by_ending(endings, plain) is not api_at(path)

    return api_at, is_ambiguous


def _by_ending(endings: Sequence[tuple[str, Api]], path: str) -> Api | None:
    return next((api for ending, api in endings if path.endswith(ending)), None)


api_at, is_ambiguous = finder()


@lru_cache(256)
def progress_at(path: str) -> Progress | None:
    """Reads the progress of a stream off its events, at a path whose bodies are not read otherwise; None if unknown."""
    collection = path.rpartition("/")[0]
    found = [progress for ending, progress in _PROGRESS_BY_ENDING if path.endswith(ending)]
    found += [progress for ending, progress in _PROGRESS_BELOW if collection.endswith(ending)]
    return found[0] if found else None


def operation(api: Api | None) -> str:
    return "" if api is None else api.operation


def stream_end(api: Api | None, path: str, body: StreamBody) -> End | None:
    progress = progress_at(path) if api is None else api.reading.progress
    end = None if progress is None else end_of(progress, body)
    # Google's streams have no other marker.
    return End.MARKED if end is End.FINISHED and api is GENERATE_CONTENT else end


def facts(api: Api | None, path: str, bodies: Bodies, content: bool, parameters: ParameterScope) -> Facts:
    """What a call's bodies tell, nothing if no known API was called."""
    if api is None:
        return Facts()
    return read(api.reading, api.operation, path, bodies, content, parameters, api.glance)

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
    messages,
    responses,
)
from gateway.providers.reading.api import Bodies, Glance, Reading, read
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
    (":embedContent", EMBED_CONTENT),
    (":batchEmbedContents", EMBED_CONTENT),
)


@lru_cache(256)
def api_at(path: str) -> Api | None:
    """The API that a path without query belongs to, None if it is no known one."""
    if "%3" in path:
        path = path.replace("%3A", ":").replace("%3a", ":")
    for ending, api in _BY_ENDING:
        if path.endswith(ending):
            return api
    return None


def operation(api: Api | None) -> str:
    return "" if api is None else api.operation


def ended(api: Api | None, tail: bytes) -> bool:
    return api is None or api.reading.ended(tail)


def facts(api: Api | None, path: str, bodies: Bodies, content: bool, parameters: bool) -> Facts:
    """What a call's bodies tell, nothing if no known API was called."""
    if api is None:
        return Facts()
    return read(api.reading, api.operation, path, bodies, content, parameters, api.glance)

"""A path tells its API by how it ends, whoever's server it is at."""

import pytest

from gateway.providers import apis
from gateway.providers.apis import api_at


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", apis.CHAT_COMPLETIONS),
        ("/v1beta/openai/chat/completions", apis.CHAT_COMPLETIONS),
        ("/openai/v1/chat/completions", apis.CHAT_COMPLETIONS),
        ("/compatibility/v1/chat/completions", apis.CHAT_COMPLETIONS),
        ("/openai/deployments/gpt-4o/chat/completions", apis.CHAT_COMPLETIONS),
        ("/v1/agents/completions", apis.CHAT_COMPLETIONS),
        ("/v1/fim/completions", apis.COMPLETIONS),
        ("/v1/completions", apis.COMPLETIONS),
        ("/openai/v1/responses", apis.RESPONSES),
        ("/v1/embeddings", apis.EMBEDDINGS),
        ("/anthropic/v1/messages", apis.MESSAGES),
        ("/v1beta/models/g:generateContent", apis.GENERATE_CONTENT),
        ("/v1beta/models/g%3astreamGenerateContent", apis.GENERATE_CONTENT),
        ("/v1beta/models/g:batchEmbedContents", apis.EMBED_CONTENT),
        ("/v1beta/interactions", apis.INTERACTIONS),
        ("/v1/interactions", apis.INTERACTIONS),
        ("/v1beta/interactions/v1_abc", None),
        ("/v1/chat/completions/", None),
        ("/v1/chatcompletions", None),
        ("/v1/threads/t/messages", None),
        ("", None),
    ],
)
def test_the_api_of_a_path(path: str, api: apis.Api | None):
    assert api_at(path) is api


def test_an_api_that_does_not_stream_has_no_words_for_an_error_in_one():
    assert apis.EMBEDDINGS.stream_error is None
    assert apis.EMBED_CONTENT.stream_error is None

"""A path tells its API by how it ends, whoever's server it is at."""

import pytest

from gateway.providers import apis
from gateway.providers.anthropic import ANTHROPIC
from gateway.providers.apis import api_at
from gateway.providers.openai import OPENAI
from gateway.providers.reading import generate_content


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
        ("/v2/chat", apis.COHERE_CHAT),
        ("/v1/chat", apis.COHERE_CHAT),
        ("/v1/embed", apis.COHERE_EMBED),
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
        ("/v1/chat/completions/", apis.CHAT_COMPLETIONS),
        ("/v1/chat/completion%73", apis.CHAT_COMPLETIONS),
        ("/v1/chat//completions", apis.CHAT_COMPLETIONS),
        ("/v1/chat/completions;v=1", apis.CHAT_COMPLETIONS),
        ("/V1/Chat/Completions", apis.CHAT_COMPLETIONS),
        ("/v1/chat%2Fcompletions", apis.CHAT_COMPLETIONS),
        ("/v1/chat/completion%2573", apis.CHAT_COMPLETIONS),
        ("/v1/chat/completions%3Fa=1", apis.CHAT_COMPLETIONS),
        ("/v1/chat/completions%00.json", apis.CHAT_COMPLETIONS),
        ("/v1/responses%20", apis.RESPONSES),
        ("/v1beta/models/g:generate%43ontent", apis.GENERATE_CONTENT),
        ("/v1/responses/r_1", None),
        ("/v1/chatcompletions", None),
        ("/v1/threads/t/messages", None),
        ("", None),
    ],
)
def test_the_api_of_a_path(path: str, api: apis.Api | None):
    assert api_at(path) is api


@pytest.mark.parametrize(
    ("path", "ambiguous"),
    [
        ("/v1/chat/completions", False),
        ("/v1/chat/completions/", False),
        ("/v1/chat/completion%73", False),
        ("/v1/%63hat/completions", False),
        ("//v1/chat/completions", False),
        ("/v1beta/models/g%3AgenerateContent", False),
        ("/v1beta/models/org%2Fg:generateContent", False),
        ("/v1/models", False),
        ("/v1/Models", False),
        ("/v1/chat//completions", True),
        ("/v1/chat/completions//", True),
        ("/v1/chat/completions;v=1", True),
        ("/v1/chat/Completions", True),
        ("/v1/chat%2Fcompletions", True),
        ("/v1/chat/completion%2573", True),
        ("/v1beta/models/g%2541:generateContent", True),
        ("/v1/chat/completions%3F", True),
        ("/v1/chat/completions%09", True),
        ("/v1beta/models/g:GenerateContent", True),
    ],
)
def test_a_spelling_that_may_be_read_in_another_way_is_known(path: str, ambiguous: bool):
    assert apis.is_ambiguous(path) is ambiguous


def test_anthropics_messages_are_known_without_a_version():
    dialect = ANTHROPIC
    for path in ("/messages", "/message%73/", "/v1/messages"):
        assert (dialect.api(path), dialect.is_ambiguous(path)) == (apis.MESSAGES, False)
    for path in ("/Messages", "/messages;a"):
        assert (dialect.api(path), dialect.is_ambiguous(path)) == (apis.MESSAGES, True)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/g:generateContent", "g"),
        ("/v1beta/models/g%3AgenerateContent/", "g"),
        ("/v1beta/models/%67:generate%43ontent", "g"),
        ("/v1beta/models/org%2Fg:streamGenerateContent", "org/g"),
        ("/v1beta/models/g", None),
    ],
)
def test_a_path_names_its_model_however_it_is_spelled(path: str, model: str | None):
    assert generate_content.model_in(path) == model


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/deployments/gpt-4o/chat/completions", "gpt-4o"),
        ("/openai/Deployments/gpt%2D4o/chat/completions", "gpt-4o"),
        ("/v1/engines/davinci/completions", "davinci"),
        ("/v1/chat/completions", "cheap"),
    ],
)
def test_a_deployment_in_the_path_is_the_model_whatever_the_body_says(path: str, model: str):
    assert OPENAI.facts(path, b'{"model":"cheap"}', b"", b"", False).request_model == model


def test_an_api_that_does_not_stream_has_no_words_for_an_error_in_one():
    assert apis.EMBEDDINGS.stream_error is None
    assert apis.EMBED_CONTENT.stream_error is None

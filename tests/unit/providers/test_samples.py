"""The sample bodies are what the providers' own SDKs take for real, so that tests against them mean something."""

import pytest
from anthropic import types as anthropic_types
from google.genai import interactions as gemini_interactions
from google.genai import types as gemini_types
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.unit.providers import samples


@pytest.mark.parametrize(
    ("type_", "bodies"),
    [
        (ChatCompletion, [samples.CHAT_ANSWER]),
        (ChatCompletionChunk, samples.CHAT_EVENTS),
        (Completion, [samples.COMPLETION_ANSWER]),
        (CreateEmbeddingResponse, [samples.EMBEDDING_ANSWER]),
        (Response, [samples.RESPONSE]),
        (ResponseStreamEvent, samples.RESPONSES_EVENTS),
        (anthropic_types.Message, [samples.MESSAGES_ANSWER]),
        (
            anthropic_types.RawMessageStreamEvent,
            [event for event in samples.MESSAGES_EVENTS if event["type"] != "ping"],
        ),
        (gemini_types.GenerateContentResponse, [samples.GEMINI_ANSWER, *samples.GEMINI_EVENTS]),
        (gemini_interactions.CreateModelInteraction, [samples.INTERACTIONS_REQUEST]),
        (gemini_interactions.Interaction, [samples.INTERACTION]),
        (gemini_interactions.InteractionSSEEvent, [*samples.INTERACTIONS_EVENTS, samples.INTERACTIONS_ERROR]),
    ],
)
def test_a_sample_is_what_the_sdk_reads(type_, bodies):
    for body in bodies:
        read = TypeAdapter(type_).validate_python(body)
        assert not getattr(read, "is_unknown", False)

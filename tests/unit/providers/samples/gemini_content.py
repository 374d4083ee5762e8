"""generateContent and batchEmbedContents."""

import json

from tests.unit.providers.samples.wire import Json, event_stream

GEMINI_PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
GEMINI_STREAM_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
GEMINI_REQUEST: Json = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "What is it?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo" * 50}}],
        },
        {"role": "model", "parts": [{"functionCall": {"id": "f0", "name": "look", "args": {"at": "it"}}}]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "f0", "name": "look", "response": {"result": "a cat"}}}],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "look", "parameters": {"type": "OBJECT"}}]}],
    "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": 10}},
}
GEMINI_USAGE: Json = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 7,
    "totalTokenCount": 40,
    "cachedContentTokenCount": 6,
    "thoughtsTokenCount": 11,
    "toolUsePromptTokenCount": 2,
}
GEMINI_ANSWER: Json = {
    "candidates": [
        {
            "index": 0,
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Let me think.", "thought": True},
                    {"text": "A "},
                    {"text": "cat."},
                    {"functionCall": {"name": "look", "args": {"at": "tail"}}},
                ],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": GEMINI_USAGE,
    "modelVersion": "gemini-2.5-flash-001",
    "responseId": "resp-g1",
}


def gemini_event(parts: list[Json], *, finish: str | None = None, usage: Json | None = None) -> Json:
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": parts}}
    if finish:
        candidate["finishReason"] = finish
    usage = usage or {"promptTokenCount": 20, "totalTokenCount": 20}
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "resp-g1",
    }


GEMINI_EVENTS: list[Json] = [
    gemini_event([{"text": "Let me think.", "thought": True}]),
    gemini_event([{"text": "A "}]),
    gemini_event([{"text": "cat."}]),
    gemini_event([{"functionCall": {"name": "look", "args": {"at": "tail"}}}], finish="STOP", usage=GEMINI_USAGE),
]
GEMINI_STREAM = event_stream(GEMINI_EVENTS).replace(b"\n", b"\r\n")
GEMINI_ARRAY = b"[" + b"\n,\r\n".join(json.dumps(event, indent=2).encode() for event in GEMINI_EVENTS) + b"\n]\n"

GEMINI_EMBED_PATH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
GEMINI_EMBED_REQUEST: Json = {
    "requests": [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "one"}]}},
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "two"}]}},
    ]
}
GEMINI_EMBED_ANSWER: Json = {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, -1]}]}

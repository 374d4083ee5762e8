"""Finished exchanges with traces of their own, ending now: one of each kind that spans tell apart."""

import json
import time
from collections.abc import Callable
from typing import Any

from gateway.errors import IdleTimeout, UpstreamFailure, UpstreamRejected, UpstreamTimeout
from gateway.telemetry.exchange import (
    Content,
    Exchange,
    Facts,
    Fault,
    Message,
    Outcome,
    ProviderError,
    TemplateUse,
    ToolCall,
    UpstreamCall,
    Usage,
)
from gateway.telemetry.trace_context import Sampler, new_span_id, open_trace

MS = 1_000_000
ALWAYS = Sampler(1.0)
PROVIDERS = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
}
ANSWER = "Lisbon is sunny today."
QUESTION = "What is the weather in Lisbon?"


def opened(*, took: int = 120, **facts: Any) -> Exchange:
    """An exchange without calls that took `took` ms until now; `facts` are fields of the record."""
    known: dict[str, Any] = {
        "id": f"req_{time.time_ns():x}",
        "method": "POST",
        "path": "/provider/openai/v1/chat/completions",
        "trace": open_trace(None, None, ALWAYS),
        "route": "/provider/openai/{tail}",
        "client": "team-a",
        "provider": "openai",
        "session": "conversation-7",
        "host": "gateway.example:8080",
        "peer": "192.0.2.7",
        "user_agent": "OpenAI/Python 3.54.0",
        "status": 200,
    }
    made = Exchange(**{**known, **facts})
    made.started -= took * MS
    made.started_at -= took * MS
    made.admitted = made.started + MS
    made.ended = made.started + took * MS
    return made


def call(exchange: Exchange, facts: Facts, *, at: int = 2, took: int = 100, **known: Any) -> UpstreamCall:
    """Add a call that began `at` ms after the exchange and took `took` ms."""
    provider = known.pop("provider", "openai")
    begun = exchange.started + at * MS
    made = UpstreamCall(
        **{
            "provider": provider,
            "method": "POST",
            "path": "/v1/chat/completions",
            "span_id": new_span_id(exchange.trace),
            "server": PROVIDERS[provider],
            "port": 443,
            "status": 200,
            "request_id": "req_upstream",
            "started": begun,
            "first_byte": begun + 30 * MS,
            "ended": begun + took * MS,
            "facts": facts,
            **known,
        }
    )
    exchange.calls.append(made)
    return made


def chat_facts(**known: Any) -> Facts:
    """A chat call of gpt-4o with messages, as a dialect reads it where content is captured."""
    asked = {"model": "gpt-4o", "max_tokens": 64, "messages": [{"role": "user", "content": QUESTION}]}
    answered = {"choices": [{"message": {"role": "assistant", "content": ANSWER}}]}
    facts: dict[str, Any] = {
        "operation": "chat",
        "request_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "response_id": "chatcmpl-1",
        "finish_reasons": ["stop"],
        "usage": Usage(100, 20, 120, cache_read_tokens=40, cache_write_tokens=8, reasoning_tokens=5),
        "parameters": {
            "max_tokens": 64,
            "temperature": 0.5,
            "top_p": 1,
            "top_k": 5,
            "seed": 7,
            "n": 1,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "stop": ["END"],
        },
        "content": Content(
            [Message("system", "You are brief."), Message("user", QUESTION, name="ada")],
            [Message("assistant", ANSWER)],
            input_value=json.dumps(asked),
            output_value=json.dumps(answered),
        ),
    }
    return Facts(**{**facts, **known})


def unary() -> Exchange:
    exchange = opened()
    template = TemplateUse("What is the weather in {city}?", {"city": "Lisbon"}, "3", "weather")
    call(exchange, chat_facts(), template=template)
    return exchange


def streamed() -> Exchange:
    exchange = opened(stream_mode="sse", retry_count=1, ignored_headers=("x-gateway-prompt-variables",))
    call(exchange, chat_facts(streamed=True), attempt=1)
    return exchange


def estimated() -> Exchange:
    """A stream whose provider reported no usage."""
    exchange = streamed()
    exchange.calls[0].facts.usage = None
    exchange.calls[0].estimated_tokens = 640
    return exchange


def with_tools() -> Exchange:
    exchange = opened(provider="anthropic", path="/provider/anthropic/v1/messages", route="/provider/anthropic/{tail}")
    weather = '{"name":"weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}'
    content = Content(
        [
            Message("user", QUESTION),
            Message("assistant", tool_calls=[ToolCall("toolu_1", "weather", '{"city":"Lisbon"}')]),
            Message("tool", "sunny", name="weather", tool_call_id="toolu_1"),
        ],
        [
            Message(
                "assistant",
                "One moment.",
                tool_calls=[ToolCall("toolu_2", "wind", '{"city":"Lisbon"}')],
                name="claude",
                tool_call_id="none",
            )
        ],
        tools=[weather],
    )
    facts = chat_facts(
        request_model="claude-sonnet-4-5",
        response_model="claude-sonnet-4-5",
        finish_reasons=["tool_use"],
        content=content,
    )
    call(exchange, facts, provider="anthropic", path="/v1/messages")
    return exchange


def embeddings() -> Exchange:
    exchange = opened(path="/provider/openai/v1/embeddings")
    facts = Facts(
        "embeddings",
        "text-embedding-3-small",
        "text-embedding-3-small",
        "emb-1",
        usage=Usage(input_tokens=8, total_tokens=8),
        parameters={"dimensions": 256},
        content=Content(
            embedding_texts=["first text", "second text"], input_value='{"input":["first text","second text"]}'
        ),
    )
    call(exchange, facts, path="/v1/embeddings")
    return exchange


def legacy_completion() -> Exchange:
    exchange = opened(path="/provider/openai/v1/completions")
    content = Content([Message("user", "Once upon a time")], [Message("assistant", " there was a gateway.")])
    call(exchange, chat_facts(operation="text_completion", content=content), path="/v1/completions")
    return exchange


def files() -> Exchange:
    exchange = opened(method="GET", path="/provider/openai/v1/files", session=None)
    call(exchange, Facts(), method="GET", path="/v1/files")
    return exchange


def project() -> Exchange:
    """Two calls in a chain, the second streamed."""
    exchange = opened(
        took=300,
        path="/projects/demo/summary",
        route="/projects/demo/summary",
        project="demo",
        provider=None,
        content=Content(input_value='{"text":"A long story."}', output_value="A short story."),
    )
    exchange.workflow_span_id = new_span_id(exchange.trace)
    first = TemplateUse(
        "List the main points of this text:\n\n{text}", {"text": "A long story."}, "1", "demo.find_points"
    )
    call(exchange, chat_facts(), step="points", template=first)
    call(exchange, chat_facts(streamed=True), at=110, took=180, step="writer", provider="gemini")
    return exchange


def refused() -> Exchange:
    """No valid key: no call at all."""
    return opened(took=1, status=401, outcome=Outcome.REFUSED, error="invalid_api_key", fault=Fault.CALLER, client=None)


def relayed_refusal() -> Exchange:
    """The provider's own 429, relayed as it came."""
    exchange = opened(status=429)
    facts = chat_facts(response_model=None, usage=None, finish_reasons=[], content=None)
    facts.provider_error = ProviderError("rate_limit_error", "rate_limit_exceeded", "Too fast.")
    call(exchange, facts, status=429)
    return exchange


def timed_out() -> Exchange:
    exchange = opened(status=504)
    failed = call(exchange, chat_facts(usage=None, content=None), status=None, first_byte=None)
    failed.failed(UpstreamTimeout("sk-upstream-said-this", failure=UpstreamFailure.FIRST_BYTE_TIMEOUT))
    exchange.failed(UpstreamTimeout("sk-upstream-said-this"))
    return exchange


def cut() -> Exchange:
    """A stream that fell silent after its head had been sent: the status is 200 all the same."""
    exchange = opened()
    call(exchange, chat_facts(streamed=True, usage=None)).failed(IdleTimeout())
    exchange.failed(IdleTimeout())
    return exchange


def cancelled() -> Exchange:
    """The client left in the middle of a stream."""
    exchange = opened()
    call(exchange, chat_facts(streamed=True, usage=None), outcome=Outcome.CLIENT_GONE)
    exchange.client_left()
    return exchange


def rejected_in_workflow() -> Exchange:
    exchange = project()
    exchange.status = 502
    del exchange.calls[1:]
    exchange.calls[0].status = 500
    exchange.calls[0].failed(UpstreamRejected())
    exchange.failed(UpstreamRejected())
    return exchange


def odd_request() -> Exchange:
    return opened(took=1, method="BREW", route="unmatched", path="/coffee", status=405, outcome=Outcome.REFUSED)


EVERY_KIND: tuple[Callable[[], Exchange], ...] = (
    unary,
    streamed,
    estimated,
    with_tools,
    embeddings,
    legacy_completion,
    files,
    project,
    refused,
    relayed_refusal,
    timed_out,
    cut,
    cancelled,
    rejected_in_workflow,
    odd_request,
)

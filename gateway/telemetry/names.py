"""What spans, their attributes and their events are called: OpenInference beside GenAI and HTTP, one table.

Rule 1: a name is written here and nowhere else; `docs/tracing.md` shows the same table.
Rule 2: N and K in a name stand for indexes from 0; `numbered` puts them in.

Sources: OpenInference's semantic conventions (the names Phoenix reads); OpenTelemetry semantic conventions 1.41
(GenAI is still in development there; HTTP is stable).
"""

from dataclasses import dataclass

SERVER, WORKFLOW, CALL, LLM, EMBEDDING = "server", "workflow", "call", "LLM", "embedding"


@dataclass(frozen=True, slots=True)
class Attribute:
    """`on` tells which spans have it: the server's, a workflow's, every call's, or only LLM or embedding calls'."""

    name: str
    on: tuple[str, ...]
    about: str


ATTRIBUTES: list[Attribute] = []


def _name(name: str, on: tuple[str, ...], about: str) -> str:
    ATTRIBUTES.append(Attribute(name, on, about))
    return name


def numbered(name: str, number: int, inner: int = 0) -> str:
    """`name` with its indexes in place of N and K."""
    return name.replace(".N.", f".{number}.").replace(".K.", f".{inner}.")


_ALL = (SERVER, WORKFLOW, CALL)

SPAN_KIND = _name("openinference.span.kind", _ALL, "`LLM`, `EMBEDDING`, or `CHAIN` for every other span")
USER_ID = _name("user.id", _ALL, "Id of the gateway key, never the key")
SESSION_ID = _name("session.id", _ALL, "The client's conversation, from its session header")
METADATA = _name("metadata", _ALL, "JSON: the facts of the next table")
INPUT_VALUE = _name("input.value", _ALL, "The request body; on server and workflow spans the last user message")
INPUT_MIME_TYPE = _name("input.mime_type", _ALL, "`application/json`, or `text/plain`")
OUTPUT_VALUE = _name("output.value", _ALL, "The response body; on server and workflow spans the answer's text")
OUTPUT_MIME_TYPE = _name("output.mime_type", _ALL, "`application/json`, or `text/plain`")
ERROR_TYPE = _name("error.type", _ALL, "The gateway's error code, or the status, on spans whose status is Error")

HTTP_METHOD = _name("http.request.method", (SERVER, CALL), "Method; `_OTHER` for one that HTTP does not know")
HTTP_METHOD_ORIGINAL = _name("http.request.method_original", (SERVER,), "The method, where it is `_OTHER`")
HTTP_STATUS = _name("http.response.status_code", (SERVER, CALL), "Status")
HTTP_RESENDS = _name("http.request.resend_count", (CALL,), "Which repetition of the call this is, from 1")
HTTP_ROUTE = _name("http.route", (SERVER,), "Route template")
HTTP_VERSION = _name("network.protocol.version", (SERVER,), "HTTP version")
URL_PATH = _name("url.path", (SERVER, CALL), "Path without query; on calls, below the provider's base URL")
URL_SCHEME = _name("url.scheme", (SERVER,), "Scheme")
SERVER_ADDRESS = _name("server.address", (SERVER, CALL), "Host that was asked: the gateway's, the provider's")
SERVER_PORT = _name("server.port", (SERVER, CALL), "Port that was asked")
CLIENT_ADDRESS = _name("client.address", (SERVER,), "The client's address")
USER_AGENT = _name("user_agent.original", (SERVER,), "The client's User-Agent")

LLM_PROVIDER = _name("llm.provider", (LLM,), "Who hosts the model")
LLM_SYSTEM = _name("llm.system", (LLM,), "Whose model it is, where the provider tells")
LLM_MODEL = _name("llm.model_name", (LLM,), "The model that answered, else the one asked for")
LLM_REQUEST_MODEL = _name("llm.request.model_name", (LLM,), "The model asked for, where another answered")
LLM_RESPONSE_MODEL = _name("llm.response.model_name", (LLM,), "The model that answered, where another was asked for")
LLM_FINISH_REASON = _name("llm.finish_reason", (LLM,), "Why the model stopped")
LLM_PARAMETERS = _name("llm.invocation_parameters", (LLM,), "JSON: the [parameters](#parameters)")
LLM_MAX_TOKENS = _name("llm.parameters.max_tokens", (LLM,), "The limit on output tokens, whatever the API calls it")
LLM_TOOL = _name("llm.tools.N.tool.json_schema", (LLM,), "A tool offered to the model")
LLM_PROMPT = _name("llm.prompts.N.prompt.text", (LLM,), "A prompt of the legacy completions API")
LLM_CHOICE = _name("llm.choices.N.completion.text", (LLM,), "An answer of the legacy completions API")

TOKENS_IN = _name("llm.token_count.prompt", (LLM, EMBEDDING), "Input tokens, cached ones included")
TOKENS_OUT = _name("llm.token_count.completion", (LLM,), "Output tokens, reasoning included")
TOKENS_TOTAL = _name("llm.token_count.total", (LLM, EMBEDDING), "Both together")
ESTIMATED_TOKENS = _name(
    "gateway.estimated_tokens", (CALL,), "Tokens charged to limits by estimate, where usage was not reported in full"
)
TOKENS_CACHE_READ = _name("llm.token_count.prompt_details.cache_read", (LLM,), "Input tokens read from a cache")
TOKENS_CACHE_WRITE = _name("llm.token_count.prompt_details.cache_write", (LLM,), "Input tokens written to a cache")
TOKENS_REASONING = _name("llm.token_count.completion_details.reasoning", (LLM,), "Output tokens spent on reasoning")

TEMPLATE = _name("llm.prompt_template.template", (LLM,), "The prompt template, where content is captured")
TEMPLATE_VARIABLES = _name(
    "llm.prompt_template.variables", (LLM,), "JSON: what was filled in, where content is captured"
)
TEMPLATE_VERSION = _name("llm.prompt_template.version", (LLM,), "The template's version")
TEMPLATE_ID = _name("prompt.id", (LLM,), "The template's name")

EMBEDDING_MODEL = _name("embedding.model_name", (EMBEDDING,), "The model that answered, else the one asked for")
EMBEDDING_PARAMETERS = _name("embedding.invocation_parameters", (EMBEDDING,), "JSON: the [parameters](#parameters)")
EMBEDDING_TEXT = _name("embedding.embeddings.N.embedding.text", (EMBEDDING,), "A text that was embedded")

_MODEL = (LLM, EMBEDDING)
GEN_AI_OPERATION = _name("gen_ai.operation.name", _MODEL, "`chat`, `embeddings` and the like")
GEN_AI_PROVIDER = _name("gen_ai.provider.name", _MODEL, "Who hosts the model")
GEN_AI_REQUEST_MODEL = _name("gen_ai.request.model", _MODEL, "The model asked for")
GEN_AI_STREAM = _name("gen_ai.request.stream", (LLM,), "True where the answer was streamed")
GEN_AI_RESPONSE_MODEL = _name("gen_ai.response.model", _MODEL, "The model that answered")
GEN_AI_RESPONSE_ID = _name("gen_ai.response.id", _MODEL, "The answer's own id")
GEN_AI_FINISH_REASONS = _name("gen_ai.response.finish_reasons", (LLM,), "Why the model stopped, for each choice")
GEN_AI_FIRST_CHUNK = _name(
    "gen_ai.response.time_to_first_chunk", (LLM,), "Seconds from the call's start to its first body byte, streams only"
)
GEN_AI_CONVERSATION = _name("gen_ai.conversation.id", _MODEL, "The same as `session.id`")
GEN_AI_TOKENS_IN = _name("gen_ai.usage.input_tokens", _MODEL, "Input tokens, cached ones included")
GEN_AI_TOKENS_OUT = _name("gen_ai.usage.output_tokens", (LLM,), "Output tokens, reasoning included")
GEN_AI_CACHE_READ = _name("gen_ai.usage.cache_read.input_tokens", (LLM,), "Input tokens read from a cache")
GEN_AI_CACHE_WRITE = _name("gen_ai.usage.cache_creation.input_tokens", (LLM,), "Input tokens written to a cache")
GEN_AI_REASONING = _name("gen_ai.usage.reasoning.output_tokens", (LLM,), "Output tokens spent on reasoning")


@dataclass(frozen=True, slots=True)
class MessageNames:
    """The attributes of a message; each has an N, those of its tool calls a K too."""

    role: str
    content: str
    name: str
    tool_call_id: str
    tool_call: str
    function: str
    arguments: str


def _message_names(prefix: str, whose: str) -> MessageNames:
    def name(suffix: str, about: str) -> str:
        return _name(f"{prefix}.N.message.{suffix}", (LLM,), f"{about} of a message {whose} the model")

    return MessageNames(
        role=name("role", "Role"),
        content=name("content", "Text"),
        name=name("name", "Author"),
        tool_call_id=name("tool_call_id", "Id of the tool call answered, of the author"),
        tool_call=name("tool_calls.K.tool_call.id", "Id of a tool call"),
        function=name("tool_calls.K.tool_call.function.name", "Function of a tool call"),
        arguments=name("tool_calls.K.tool_call.function.arguments", "JSON arguments of a tool call"),
    )


INPUT_MESSAGE = _message_names("llm.input_messages", "to")
OUTPUT_MESSAGE = _message_names("llm.output_messages", "from")

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "max_tokens_to_sample")
GEN_AI_MAX_TOKENS = _name("gen_ai.request.max_tokens", (LLM,), "The same as `llm.parameters.max_tokens`")


@dataclass(frozen=True, slots=True)
class Parameter:
    """An attribute for an invocation parameter, by the names that APIs give it, if its value is of that kind."""

    attribute: str
    spellings: tuple[str, ...]
    kind: type[int | float | tuple[str, ...]]


# `llm.invocation_parameters` holds them all; these have names of their own besides.
PARAMETERS = (
    Parameter(LLM_MAX_TOKENS, _TOKEN_LIMITS, int),
    Parameter(GEN_AI_MAX_TOKENS, _TOKEN_LIMITS, int),
    Parameter(_name("gen_ai.request.temperature", (LLM,), "Temperature"), ("temperature",), float),
    Parameter(_name("gen_ai.request.top_p", (LLM,), "Top p"), ("top_p", "topP"), float),
    Parameter(_name("gen_ai.request.top_k", (LLM,), "Top k"), ("top_k", "topK"), int),
    Parameter(
        _name("gen_ai.request.frequency_penalty", (LLM,), "Frequency penalty"),
        ("frequency_penalty", "frequencyPenalty"),
        float,
    ),
    Parameter(
        _name("gen_ai.request.presence_penalty", (LLM,), "Presence penalty"),
        ("presence_penalty", "presencePenalty"),
        float,
    ),
    Parameter(_name("gen_ai.request.seed", (LLM,), "Seed"), ("seed",), int),
    Parameter(_name("gen_ai.request.choice.count", (LLM,), "Answers asked for"), ("n", "candidateCount"), int),
    Parameter(
        _name("gen_ai.request.stop_sequences", (LLM,), "Where the model was to stop, where content is `on`"),
        ("stop", "stop_sequences", "stopSequences"),
        tuple,
    ),
)

FIRST_CHUNK_EVENT = "First Token Stream Event"  # as OpenInference's own instrumentations call it
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"

SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"
SERVICE_INSTANCE = "service.instance.id"
SDK_LANGUAGE = "telemetry.sdk.language"
SDK_NAME = "telemetry.sdk.name"
SDK_VERSION = "telemetry.sdk.version"
PHOENIX_PROJECT = "openinference.project.name"

# Keys of the JSON object in `metadata`, and the spans that have them.
FACTS: dict[str, tuple[tuple[str, ...], str]] = {
    "request_id": (_ALL, "The gateway's own id of the request, as in the log and in `x-gateway-request-id`"),
    "project": (_ALL, "The gateway project"),
    "provider": ((SERVER, CALL), "The configured provider"),
    "outcome": (_ALL, "How the exchange, or the call, really ended"),
    "error": (_ALL, "The gateway's error code"),
    "fault": ((SERVER,), "Whose doing the failure was"),
    "stream_mode": ((SERVER,), "The stream mode asked for"),
    "sdk_retry": ((SERVER,), "Which retry of its SDK the client says this is, from 1"),
    "ignored_headers": ((SERVER,), "Tracing headers of the client that could not be read"),
    "failure": ((CALL,), "Why there was no answer, as `upstream_failure` in the log"),
    "step": ((CALL,), "The workflow's own name for the call"),
    "upstream_error_type": ((CALL,), "What the provider calls its 4xx or 5xx, if that is one word"),
    "upstream_error_code": ((CALL,), "The provider's code for it, likewise"),
    "upstream_error_message": ((CALL,), "Its message, where `GATEWAY_PROVIDER_ERROR_MESSAGES` is set"),
    "upstream_request_id": ((CALL,), "The provider's own id of the request"),
}

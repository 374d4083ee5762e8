"""The parameters that are known by name, of all APIs, and the words that their values may be.

A member without members of its own is a number, a boolean, or one or several of `WORDS`. What a client may word itself
(stop strings, schemas, ids, labels, cache keys, the names of tools, voices and files) does not belong here.

Sources: the API references of OpenAI, Anthropic, Google, Mistral, Cohere, Groq, xAI, DeepSeek, OpenRouter, Perplexity
and Alibaba; vLLM's and llama.cpp's own additions to OpenAI's API.
"""

from collections.abc import Mapping
from typing import Any, Final

_KIND: Final = {"type": None, "strict": None}
_TOOL_CHOICE: Final = {"type": None, "mode": None, "disable_parallel_tool_use": None}
_CALLING: Final = {"mode": None, "streamFunctionCallArguments": None}
_THINKING_CONFIG: Final = {
    **dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel")),
    **dict.fromkeys(("include_thoughts", "thinking_budget", "thinking_level")),
}
_GENERATION_CONFIG: Final = {
    **dict.fromkeys(("temperature", "topP", "topK", "seed", "maxOutputTokens", "candidateCount", "presencePenalty")),
    **dict.fromkeys(("frequencyPenalty", "responseLogprobs", "logprobs", "responseMimeType", "responseModalities")),
    **dict.fromkeys(("mediaResolution", "enableEnhancedCivicAnswers", "audioTimestamp")),
    **dict.fromkeys(("top_p", "top_k", "max_output_tokens", "candidate_count", "presence_penalty")),
    **dict.fromkeys(("frequency_penalty", "response_logprobs", "response_mime_type", "response_modalities")),
    **dict.fromkeys(("media_resolution", "thinking_level", "thinking_summaries", "tool_choice")),
    "thinkingConfig": _THINKING_CONFIG,
    "thinking_config": _THINKING_CONFIG,
}
_SAMPLING: Final = (
    *("temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "p", "k", "n", "seed", "random_seed", "best_of"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "repeat_penalty", "repeat_last_n"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "tfs_z", "dynatemp_range", "dynatemp_exponent", "length_penalty"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "xtc_probability", "xtc_threshold"),
    *("use_beam_search", "num_generations", "min_keep"),
)
_LENGTHS: Final = (
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "min_tokens", "n_predict"),
    *("max_tool_calls", "max_input_tokens", "thinking_budget", "dimensions", "output_dimension", "output_dtype"),
    *("outputDimensionality", "truncate_prompt_tokens", "truncation", "truncate", "autoTruncate"),
)
_ANSWER: Final = (
    *("stream", "echo", "logprobs", "top_logprobs", "prompt_logprobs", "n_probs", "return_likelihoods", "modalities"),
    *("encoding_format", "embedding_types", "input_type", "taskType", "task_type", "response_mime_type", "include"),
    *("response_modalities", "verbosity", "return_images", "return_related_questions", "include_reasoning"),
    *("reasoning_format", "return_tokens_as_token_ids", "skip_special_tokens", "spaces_between_special_tokens"),
    *("include_stop_str_in_output", "citation_quality", "transforms"),
)
_WAYS: Final = (
    *("reasoning_effort", "enable_thinking", "prompt_mode", "safety_mode", "safe_prompt", "moderation", "speed"),
    *("parallel_tool_calls", "function_call", "strict_tools", "raw_prompting", "add_generation_prompt", "priority"),
    *("continue_final_message", "ignore_eos", "cache_prompt", "enable_search", "search_mode", "inference_geo"),
    *("search_recency_filter", "disable_search", "prompt_truncation", "prompt_cache_retention"),
    *("service_tier", "store", "background", "deferred"),
)

KNOWN: Final[Mapping[str, Mapping[str, Any] | None]] = {
    **dict.fromkeys((*_SAMPLING, *_LENGTHS, *_ANSWER, *_WAYS)),
    "audio": {"format": None},
    "cache_control": {"type": None, "ttl": None},
    "chat_template_kwargs": {"enable_thinking": None, "thinking": None, "reasoning_effort": None},
    "citation_options": {"mode": None},
    "generationConfig": _GENERATION_CONFIG,
    "generation_config": _GENERATION_CONFIG,
    "output_config": {"effort": None, "format": _KIND},
    "provider": dict.fromkeys(("allow_fallbacks", "require_parameters", "data_collection", "sort", "zdr")),
    "reasoning": dict.fromkeys(("effort", "summary", "generate_summary", "max_tokens", "exclude", "enabled")),
    "response_format": _KIND,
    "search_parameters": dict.fromkeys(("mode", "max_search_results", "return_citations")),
    "stream_options": dict.fromkeys(("include_usage", "include_obfuscation", "continuous_usage_stats")),
    "text": {"verbosity": None, "format": _KIND},
    "thinking": dict.fromkeys(("type", "budget_tokens", "token_budget", "display")),
    "tool_choice": _TOOL_CHOICE,
    "toolConfig": {"functionCallingConfig": _CALLING, "includeServerSideToolInvocations": None},
    "tool_config": {"function_calling_config": _CALLING},
    "usage": {"include": None},
    "web_search_options": {"search_context_size": None},
}

# In lower case; Google writes its own in capitals.
WORDS: Final = frozenset(
    (
        *("auto", "none", "any", "all", "required", "validated", "tool", "tools", "function", "custom"),
        *("allowed_tools", "contextual", "strict", "accurate", "fast", "start", "end", "middle-out"),
        *("mcp", "file_search", "web_search_preview", "computer_use_preview", "code_interpreter", "image_generation"),
        *("minimal", "low", "medium", "high", "xhigh", "max", "off", "on", "concise", "detailed", "default"),
        *("enabled", "disabled", "adaptive", "summarized", "omitted", "parsed", "raw", "hidden", "reasoning"),
        *("flex", "priority", "scale", "batch", "standard", "standard_only", "on_demand", "performance"),
        *("text", "json", "json_object", "json_schema", "grammar", "regex", "structural_tag", "audio", "image"),
        *("application/json", "text/plain", "text/x.enum", "float", "float16", "base64", "base64_float", "binary"),
        *("int8", "uint8", "ubinary", "wav", "mp3", "flac", "opus", "aac", "pcm16", "pcm", "ephemeral", "in_memory"),
        *("5m", "1h", "24h", "in-memory", "global", "us", "eu", "allow", "deny", "price", "throughput", "latency"),
        *("generation", "likelihoods", "web", "academic", "sec", "hour", "day", "week", "month", "year"),
        *("search_document", "search_query", "classification", "clustering", "document", "query", "passage"),
        *("retrieval_query", "retrieval_document", "semantic_similarity", "question_answering", "fact_verification"),
        *("code_retrieval_query", "task_type_unspecified", "modality_unspecified", "mode_unspecified"),
        *("thinking_level_unspecified", "media_resolution_unspecified", "media_resolution_low"),
        *("media_resolution_medium", "media_resolution_high", "media_resolution_ultra_high"),
        *("reasoning.encrypted_content", "message.output_text.logprobs", "message.input_image.image_url"),
        *("file_search_call.results", "web_search_call.action.sources", "web_search_call.results"),
        *("code_interpreter_call.outputs", "computer_call_output.output.image_url"),
    )
)

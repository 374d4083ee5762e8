"""Every metric, told once: name, kind, meaning, labels, unit, buckets.

The registry is built from `TABLE`, `docs/metrics.md` is compared with it, and the rules and dashboards in `monitoring/`
may name nothing else.

Rule 1: every label value comes from a closed set: route templates, configured providers, models and projects, outcomes,
error codes. What is outside counts as `_other`, what is missing as `_none`; a client can create no label value.
Rule 2: `http_*` and `gen_ai_*` are OpenTelemetry's names, dots as underscores, the unit spelt out; `process_*` and
`python_*` are those of every Prometheus client; all else is ours and begins with `gateway_`.
"""

from dataclasses import dataclass
from enum import StrEnum

OTHER = "_other"
NONE = "_none"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"  # a gauge that is always 1; the facts are its labels


class Merge(StrEnum):
    """What several workers' gauges are together. Counters and histograms are always summed."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `buckets` are upper bounds, without the last, infinite one."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    merge: Merge = Merge.SUM
    exemplars: bool = False


def _counter(name: str, about: str, *labels: str, unit: str = "", exemplars: bool = False) -> Metric:
    return Metric(name, Kind.COUNTER, about, labels, unit, exemplars=exemplars)


def _gauge(name: str, about: str, *labels: str, unit: str = "", merge: Merge = Merge.SUM) -> Metric:
    return Metric(name, Kind.GAUGE, about, labels, unit, merge=merge)


def _seconds(
    name: str, about: str, *labels: str, buckets: tuple[float, ...] | None = None, exemplars: bool = False
) -> Metric:
    return Metric(name, Kind.HISTOGRAM, about, labels, "seconds", buckets or HTTP_SECONDS, exemplars=exemplars)


# OpenTelemetry's bounds for http.server.request.duration, carried on to the longest a model may think.
HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300, 600)
# Its bounds for gen_ai.client.operation.*, and for gen_ai.client.token.usage.
GEN_AI_SECONDS = tuple(round(0.01 * 2**power, 2) for power in range(14))
GEN_AI_TOKENS = tuple(4**power for power in range(14))
# A provider's chunks come closer together than the first of those bounds can tell.
CHUNK_SECONDS = (0.001, 0.0025, 0.005, *GEN_AI_SECONDS)
# What a gateway takes for itself is told in fractions of a millisecond.
OWN_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
POOL_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# Exchanges: a client's request and all that was done about it

REQUESTS = _counter(
    "gateway_requests_total",
    "Finished exchanges, by how they ended.",
    *("route", "provider", "project", "status_class", "outcome"),
    exemplars=True,
)
REQUEST_DURATION = _seconds(
    "http_server_request_duration_seconds",
    "From a request's head to the last byte of its response.",
    *("http_request_method", "http_route", "http_response_status_code", "error_type"),
    exemplars=True,
)
ACTIVE_REQUESTS = _gauge("http_server_active_requests", "Exchanges that are open now.", "http_request_method")
TIME_TO_FIRST_BYTE = _seconds(
    "gateway_time_to_first_byte_seconds",
    "From a request's head to the first byte of the response body handed to the client.",
    *("route", "provider"),
    exemplars=True,
)
OVERHEAD = _seconds(
    "gateway_overhead_seconds",
    "An exchange's time in which the gateway waited neither for an upstream nor for the client.",
    *("route", "provider"),
    buckets=OWN_SECONDS,
    exemplars=True,
)
BODY_BYTES = _counter(
    "gateway_body_bytes_total",
    "Bytes of request bodies taken from clients (in) and of response bodies handed to them (out).",
    *("route", "provider", "direction"),
    unit="bytes",
)
ERRORS = _counter("gateway_errors_total", "Exchanges that ended in an error of the gateway's own.", "code", "fault")
LIMIT_REFUSALS = _counter(
    "gateway_limit_refusals_total", "Exchanges refused by a limit: rate, budget, size or load.", "provider", "code"
)
LIMIT_POLICY_REFUSALS = _counter(
    "gateway_limit_policy_refusals_total",
    "Times that a rate limit or budget had no room, by its policy, as RateLimit-Policy names it.",
    "policy",
)
LIMITS_UNDECIDED = _counter(
    "gateway_limits_undecided_total",
    "Requests that GATEWAY_RATE_LIMIT_ON_FAILURE decided about, since nobody who keeps the limits could be asked.",
)
CLIENT_RETRIES = _counter(
    "gateway_client_retries_total", "Exchanges that, as the client's SDK says, repeat an earlier one.", "provider"
)
MALFORMED_REQUESTS = _counter("gateway_malformed_requests_total", "Requests refused as not being proper HTTP.")

# Calls: one request to one upstream

UPSTREAM_CALLS = _counter(
    "gateway_upstream_calls_total", "Finished upstream calls.", "provider", "status_class", "outcome"
)
UPSTREAM_FAILURES = _counter(
    "gateway_upstream_failures_total",
    "Upstream calls that failed, by why there was no answer, the gateway's error code, or the upstream's own status.",
    *("provider", "cause"),
)
UPSTREAM_RETRIES = _counter(
    "gateway_upstream_retries_total", "Upstream calls that repeat one which failed before.", "provider"
)
UPSTREAM_DURATION = _seconds(
    "gateway_upstream_duration_seconds",
    "From the decision to call an upstream to the last byte of its response.",
    *("provider", "outcome"),
    exemplars=True,
)
UPSTREAM_TIME_TO_HEAD = _seconds(
    "gateway_upstream_time_to_head_seconds",
    "From the decision to call an upstream to the head of its response.",
    "provider",
)
UPSTREAM_IN_FLIGHT = _gauge("gateway_upstream_calls_in_flight", "Upstream calls that are open now.", "provider")
UPSTREAM_CONNECTIONS = _counter(
    "gateway_upstream_connections_total", "Connections that calls were given: new or reused.", "provider", "kind"
)
UPSTREAM_ROADS = _counter(
    "gateway_upstream_roads_total", "Upstream calls by the road they took: direct or session.", "provider", "road"
)
POOL_CONNECTIONS = _gauge(
    "gateway_pool_connections", "Connections to an upstream: in_use or idle.", "provider", "state"
)
POOL_WAITING = _gauge("gateway_pool_waiting", "Calls that wait for a connection now.", "provider")
POOL_WAIT = _seconds(
    "gateway_pool_wait_seconds",
    "Time a call waited because all connections to its upstream were in use.",
    "provider",
    buckets=POOL_SECONDS,
)
CIRCUITS = _gauge(
    "gateway_upstream_circuits",
    "Circuits of an upstream that are closed, open or half_open now; each worker has one.",
    *("provider", "state"),
)
CIRCUIT_OPENINGS = _counter(
    "gateway_upstream_circuit_openings_total", "Times an upstream kept failing and was left alone.", "provider"
)
PROJECT_CALL_DURATION = _seconds(
    "gateway_project_call_duration_seconds",
    "Upstream calls made by a project's workflow, by the workflow's name for the step.",
    *("project", "step", "provider"),
    exemplars=True,
)

# What models did.

TOKENS = _counter(
    "gateway_tokens_total",
    "Tokens as the upstream counted them: input (cached ones included), output, or total where it reported no parts.",
    *("provider", "model", "project", "type"),
    unit="tokens",
)
TOKEN_DETAILS = _counter(
    "gateway_token_details_total",
    "Parts of gateway_tokens_total: cache_read and cache_write of the input, reasoning of the output.",
    *("provider", "model", "type"),
)
USAGE_ERRORS = _counter(
    "gateway_usage_errors_total",
    "Answers whose usage was not used: content_coding (the body could not be decoded) or implausible.",
    *("provider", "reason"),
)
ESTIMATED_TOKENS = _counter(
    "gateway_estimated_tokens_total",
    "Tokens charged to limits by estimate, where a provider did not report the usage in full.",
    "provider",
    unit="tokens",
)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
TOKEN_USAGE = Metric(
    "gen_ai_client_token_usage",
    Kind.HISTOGRAM,
    "Tokens of one call, input and output apart.",
    (*_GEN_AI, "gen_ai_token_type"),
    buckets=GEN_AI_TOKENS,
)
OPERATION_DURATION = _seconds(
    "gen_ai_client_operation_duration_seconds",
    "A model's whole answer, from the call to its last byte.",
    *(*_GEN_AI, "error_type"),
    buckets=GEN_AI_SECONDS,
    exemplars=True,
)
TIME_TO_FIRST_CHUNK = _seconds(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "Of a streamed answer: from the call to the first byte of the body.",
    *_GEN_AI,
    buckets=GEN_AI_SECONDS,
    exemplars=True,
)
TIME_PER_CHUNK = _seconds(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "Of a streamed answer: time between two chunks, each counted with its stream's mean.",
    *_GEN_AI,
    buckets=CHUNK_SECONDS,
)

# The gateway itself.

SPANS = _counter(
    "gateway_spans_total", "Spans for Phoenix: sent, failed (to be sent) or dropped (queue full).", "result"
)
LOG_LINES_LOST = _counter("gateway_log_lines_lost_total", "Log lines that could not be written.")
LOG_LINES_OMITTED = _counter(
    "gateway_log_lines_omitted_total", "Log lines of requests without an accepted key, above the configured rate."
)
FALLBACKS = _counter(
    "gateway_recognition_fallbacks_total",
    "Messages that a parser read because recognizing them raised an exception, which is a bug.",
)
VIEW_FAILURES = _counter("gateway_view_failures_total", "Finished exchanges that a view failed to show.")
OVERFLOWS = _counter(
    "gateway_metric_overflows_total", "Label sets that found their metric full and were counted as _other.", "metric"
)
READ_FAILURES = _counter("gateway_metric_read_failures_total", "Figures that could not be read for a scrape.")
EVENT_LOOP_LAG = _seconds(
    "gateway_event_loop_lag_seconds", "How late the event loop ran a timer, ten times a second.", buckets=OWN_SECONDS
)
WORKERS = _gauge("gateway_workers", "Processes that serve.")
WORKER_DEATHS = _counter("gateway_worker_deaths_total", "Workers that ended unasked; each is replaced.")
LATE_FIGURES = _counter(
    "gateway_worker_late_figures_total", "Workers' figures that came too late and were told as they last were."
)
BUILD_INFO = Metric(
    "gateway_build_info",
    Kind.INFO,
    "What is running: version, commit or build number, Python.",
    ("version", "commit", "python"),
    merge=Merge.MAX,
)

CPU_SECONDS = _counter("process_cpu_seconds_total", "User and system CPU time spent.", unit="seconds")
RESIDENT_MEMORY = _gauge("process_resident_memory_bytes", "Resident memory.", unit="bytes")
VIRTUAL_MEMORY = _gauge("process_virtual_memory_bytes", "Virtual memory.", unit="bytes")
OPEN_FDS = _gauge("process_open_fds", "Open file descriptors.")
MAX_FDS = _gauge("process_max_fds", "Limit of open file descriptors.")
THREADS = _gauge("process_threads", "Threads.")
START_TIME = _gauge(
    "process_start_time_seconds", "Start, in Unix time; of several workers the latest.", unit="seconds", merge=Merge.MAX
)
GC_COLLECTIONS = _counter("python_gc_collections_total", "Runs of the garbage collector.", "generation")
GC_COLLECTED = _counter("python_gc_objects_collected_total", "Objects freed by the garbage collector.", "generation")

TABLE: tuple[Metric, ...] = tuple(value for value in tuple(globals().values()) if isinstance(value, Metric))

"""What OpenAPI has no words for. Runs in the environment of schemathesis, not in the suite's."""

from typing import Any

import schemathesis

PARAMETER, HEADER = "stream_mode", "X-Stream-Mode"
DEADLINE, SOON = "X-Gateway-Deadline", 5.0  # seconds


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out what is refused though each part of it is right: two different stream modes (400), and deadlines that
    pass before anybody could answer (504)."""
    headers = case.headers or {}
    in_query, in_header = (case.query or {}).get(PARAMETER), headers.get(HEADER)
    return (in_query is None or in_header is None or in_query == in_header) and not _is_soon(headers.get(DEADLINE))


def _is_soon(deadline: Any) -> bool:
    try:
        return deadline is not None and float(deadline) < SOON
    except ValueError:
        return False

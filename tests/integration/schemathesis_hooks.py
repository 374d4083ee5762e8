"""What OpenAPI has no words for. Runs in the environment of schemathesis, not in the suite's."""

from typing import Any

import schemathesis

PARAMETER, HEADER = "stream_mode", "X-Stream-Mode"


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out requests that ask for two different stream modes: a 400, though either alone is right."""
    in_query, in_header = (case.query or {}).get(PARAMETER), (case.headers or {}).get(HEADER)
    return in_query is None or in_header is None or in_query == in_header

"""Counts the messages that went to a parser because recognizing them raised an exception: each is a bug of the gateway.

The first exception of each kind is logged, by its type and place alone: its text may quote a client or a provider.
"""

import logging
from traceback import extract_tb

logger = logging.getLogger("gateway")


class Fallbacks:
    """How often a parser had to step in. `count` is for metrics."""

    def __init__(self) -> None:
        self.count = 0
        self._logged: set[tuple[str, str, int | None]] = set()

    def failed(self, error: Exception) -> None:
        """Count `error`, and log it unless the same was logged before."""
        self.count += 1
        frame = extract_tb(error.__traceback__)[-1]
        place = (type(error).__name__, frame.filename, frame.lineno)
        if place not in self._logged:
            self._logged.add(place)
            logger.error(
                "recognizing a message failed, a parser read it; further ones are only counted: %s, %s:%s", *place
            )

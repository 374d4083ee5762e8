"""An answer that is an error: raised anywhere, written in one place, in the words of the API that was called."""

from __future__ import annotations


class Refusal(Exception):
    """Answer with `status` and `message`; `retry_after` is told in seconds where it is given."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after

"""What the three APIs differ in on every route: where a key arrives, what stands in the head, how an error looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.mock_upstream.answers import Json


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API's habits. A field of `credentials` that is not the dialect's own must not hold anything."""

    name: str
    credentials: Mapping[str, str]
    """Where this API takes its key: field name (lower case) and what stands before the key in it."""
    head: Callable[[str], Mapping[str, str]]
    """The fields of every answer, from the request's id."""
    error: Callable[[int, str, str], Json]
    """An error's body, from the status, a message and the request's id."""
    model: Callable[[str], Json]
    """What is told of the model of that name; the mock has every model there may be."""
    models: Callable[[], Json]
    """The list of models."""


CREDENTIAL_FIELDS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


def objection(dialect: Dialect, headers: Mapping[str, str], key: str) -> str | None:
    """What is wrong with the credentials of a request that should hold `key` and no other; None when nothing is."""
    present = {name: value for name in CREDENTIAL_FIELDS if (value := headers.get(name)) is not None}
    if not present:
        return f"No credential arrived. Expected one in: {', '.join(dialect.credentials)}."
    for name, value in present.items():
        if name not in dialect.credentials:
            return f"A credential arrived in {name}, where this API takes none."
        if value != dialect.credentials[name] + key:
            return f"The credential in {name} is wrong."
    return None

"""What a project is: a name, the roles it wants models for, and endpoints, each a contract and a workflow."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.errors import (
    CircuitOpen,
    DeadlineExceeded,
    GatewayError,
    IdleTimeout,
    UpstreamError,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from gateway.schema.frames import DeltaFrame
from gateway.schema.operation import Operation
from gateway.upstream.chat import Chat

Delta = DeltaFrame
"""A piece of text with a `source`, where several speak; a workflow yields a plain `str` for the answer's own text."""

Workflow = Callable[[Chat, Any], AsyncGenerator[Any, None]]
"""Gets the models and the checked request; yields text as it is written and, last of all, its reply."""

WORKFLOW_ERRORS: tuple[type[GatewayError], ...] = (
    UpstreamError,
    UpstreamRejected,
    UpstreamTruncated,
    UpstreamUnreachable,
    UpstreamTimeout,
    IdleTimeout,
    DeadlineExceeded,
    CircuitOpen,
)
"""What any workflow can fail at, as it calls models."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of a project: its contract, the workflow that keeps it, and the seconds that may take."""

    operation: Operation
    workflow: Workflow
    deadline: float = 120.0


@dataclass(frozen=True, slots=True)
class Project:
    """A package of endpoints, served below `/projects/<name>`.

    `roles` are the models its workflows ask for, each by a name of the project's own and with a few words on what it
    does; settings bind them to real ones: `GATEWAY_PROJECT_<NAME>_ROLE_<ROLE>=provider/model`.
    """

    name: str
    title: str
    endpoints: tuple[Endpoint, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    description: str = ""

    @property
    def prefix(self) -> str:
        """Where the project is served."""
        return f"/projects/{self.name}"

    def contract(self, endpoint: Endpoint) -> Operation:
        """An endpoint's operation with what it has in common with every workflow's."""
        own = endpoint.operation
        return replace(own, tags=(self.name, *own.tags), errors=(*WORKFLOW_ERRORS, *own.errors))

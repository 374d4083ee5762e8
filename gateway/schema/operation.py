"""An endpoint as data. Routes are mounted from Operations, and the OpenAPI document is rendered from the same ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal

from gateway.errors import (
    Draining,
    Forbidden,
    GatewayError,
    InternalFault,
    InvalidRequest,
    MalformedRequest,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    RequestTimeout,
    Unauthenticated,
    UnsupportedMediaType,
)
from gateway.schema.error_bodies import PROBLEM, ErrorStyle

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something a request carries beside its body; `schema` is a JSON Schema."""

    name: str
    where: Literal["query", "header", "path"]
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A response besides the usual 200 and the errors; `contract` None is a body that the gateway does not know.

    `status` None stands for every status that is not listed by itself.
    """

    status: int | None
    description: str
    contract: Any = None
    media_type: str = JSON


@dataclass(frozen=True, slots=True)
class Operation:
    """What can be asked of one route, and what may come back.

    `path` may hold parts in braces, with a pattern as the router knows them: `/v1/{path:.*}`. The method `*` stands for
    all of them. `request` and `response` are msgspec Structs: they check the body, and they are the contract in the
    document. An operation that `streams` also offers the streaming modes. `examples` are requests, each under a title,
    and `reply` is a response to the first. `errors` are those beyond `every_error`.
    """

    method: str
    path: str
    summary: str
    description: str = ""
    tags: tuple[str, ...] = ()
    request: Any = None
    response: Any = None
    media_type: str = JSON  # of the response
    streams: bool = False
    public: bool = False  # no key needed
    errors: tuple[type[GatewayError], ...] = ()
    error_style: ErrorStyle = PROBLEM
    responses: tuple[Response, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    reply: Any = None

    def under(self, prefix: str) -> "Operation":
        """The same operation, seen from further up."""
        return replace(self, path=prefix + self.path)

    @property
    def every_error(self) -> tuple[type[GatewayError], ...]:
        """What can go wrong, in the order of the statuses: what any such operation can meet, and its own."""
        usual: tuple[type[GatewayError], ...] = (MalformedRequest, InternalFault)
        if not self.public:
            usual += (Unauthenticated, Forbidden, RateLimited, Overloaded, Draining)
        if self.request is not None or self.streams:
            usual += (InvalidRequest,)
        if self.request is not None:
            usual += (PayloadTooLarge, UnsupportedMediaType, RequestTimeout)
        distinct = dict.fromkeys((*usual, *self.errors))
        return tuple(sorted(distinct, key=lambda error: (error.status, error.code)))


def phrase(status: int) -> str:
    """The customary words for a status."""
    return HTTPStatus(status).phrase

"""How much a client may ask of one connection, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """How much, and for how many seconds, a client may ask of a connection. `max_target_bytes` and `max_field_bytes`
    must differ: by them the parser's one error for both is told apart."""

    head_timeout: float = 15.0  # a whole request head, from its first byte; a new connection's first byte
    keepalive_timeout: float = 75.0  # between two requests
    body_timeout: float = 30.0  # without a byte, while a handler waits for one; and a slow body's head start
    min_body_rate: float = 500.0  # bytes that earn a body one more second of waiting
    send_timeout: float = 300.0  # without taking a byte of a response
    linger: float = 5.0  # for the client to take an answer, and what it still sends meanwhile is dropped
    linger_bytes: int = 64 * 2**20
    max_head_bytes: int = 64 * 2**10
    max_target_bytes: int = 8 * 2**10
    max_field_bytes: int = 16 * 2**10
    max_fields: int = 128
    max_pipelined: int = 2  # requests that wait, parsed, behind the one being answered
    max_connections: int = 10_000  # more, up to twice as many, are answered 503; yet more are dropped

    def __post_init__(self) -> None:
        if self.max_target_bytes == self.max_field_bytes:
            raise ValueError("max_target_bytes and max_field_bytes must differ")

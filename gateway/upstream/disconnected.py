"""A connection that ends before an answer: whether the request is sent once more, and whether the provider failed.

A provider may close a connection that was idle for long while a request is on its way. RFC 9112, section
9.3.1, lets a request be sent again that may come twice; RFC 9110, section 9.2.2, forbids a proxy to do that with any
other. Only safe methods are sent again: of idempotent ones (PUT, DELETE) the second answer may differ from the first.
"""

from typing import Final

from gateway.errors import UpstreamDisconnected, UpstreamError, UpstreamFailure
from gateway.telemetry.exchange import UpstreamCall
from gateway.upstream.protocol import UpstreamProtocol
from gateway.upstream.transport import Outgoing

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "QUERY"))


def may_be_sent_again(request: Outgoing, call: UpstreamCall, protocol: UpstreamProtocol) -> bool:
    """Whether `request` met a connection that had been used before and ended without a byte of an answer."""
    return (
        call.reused_connection
        and protocol.silent
        and protocol.failure is None
        and request.method in SAFE
        and (request.body is None or isinstance(request.body, bytes))
    )


def disconnected(call: UpstreamCall, protocol: UpstreamProtocol, *, is_sent: bool) -> UpstreamError:
    """The failure; one that counts against the provider only if nothing else can explain it."""
    text = f"{call.provider} broke off before it answered."
    if call.reused_connection or protocol.unsent or not is_sent:
        return UpstreamError(text, failure=UpstreamFailure.DISCONNECTED)
    return UpstreamDisconnected(text, failure=UpstreamFailure.DISCONNECTED)

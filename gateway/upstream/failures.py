"""Maps aiohttp's exceptions to why a provider could not be reached, or why its answer could not be read.

Their texts are not passed on: they name addresses, and quote certificates.
"""

from typing import Final

import aiohttp
from aiohttp.http_exceptions import BadStatusLine, InvalidHeader, LineTooLong, TransferEncodingError

from gateway.errors import GatewayError, PoolTimeout, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.errors import UpstreamFailure as Failure

_SENTENCES: Final = {
    Failure.DNS: "The host name of {} could not be resolved.",
    Failure.CONNECTION_REFUSED: "{} refused the connection.",
    Failure.CONNECTION_RESET: "{} closed the connection while it was being set up.",
    Failure.UNREACHABLE: "{} could not be reached.",
    Failure.TLS_CERTIFICATE: "The TLS certificate of {} could not be verified.",
    Failure.TLS_PROTOCOL: "No TLS connection to {} could be set up.",
    Failure.MALFORMED_STATUS_LINE: "{} sent a malformed response: its status line.",
    Failure.MALFORMED_FIELD: "{} sent a malformed response: a header field.",
    Failure.MALFORMED_CONTENT_LENGTH: "{} sent a malformed response: its Content-Length.",
    Failure.MALFORMED_TRANSFER_ENCODING: "{} sent a malformed response: its transfer coding.",
    Failure.MALFORMED_HEAD: "{} sent a malformed response.",
    Failure.HEAD_TOO_LARGE: "{} sent a malformed response: its head is too large.",
}


def not_connected(provider: str, error: Exception, *, pool_was_full: bool = False) -> GatewayError:
    """The failure for an `error` of aiohttp's connector."""
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientConnectorError):
        if pool_was_full:
            return PoolTimeout(f"No connection to {provider} was free in time.", failure=Failure.POOL_TIMEOUT)
        text = f"No connection to {provider} within its connect timeout."
        return UpstreamTimeout(text, failure=Failure.CONNECT_TIMEOUT)
    failure = _why_not_connected(error)
    return UpstreamUnreachable(_SENTENCES[failure].format(provider), failure=failure)


def malformed(provider: str, failure: Failure) -> UpstreamError:
    return UpstreamError(_SENTENCES[failure].format(provider), failure=failure)


def unreadable(provider: str, error: BaseException | None) -> UpstreamError:
    """The failure for an `error` of aiohttp's parser, or for one that it was raised from."""
    while error is not None:
        failure = _broken_rule(error)
        if failure is not Failure.MALFORMED_HEAD:
            return malformed(provider, failure)
        error = error.__cause__
    return malformed(provider, Failure.MALFORMED_HEAD)


def _why_not_connected(error: Exception) -> Failure:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure.DNS
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure.TLS_CERTIFICATE
    if isinstance(error, aiohttp.ClientSSLError):
        return Failure.TLS_PROTOCOL
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ConnectionRefusedError):
        return Failure.CONNECTION_REFUSED
    if isinstance(cause, ConnectionError):
        return Failure.CONNECTION_RESET
    return Failure.UNREACHABLE


def _broken_rule(error: BaseException) -> Failure:
    if isinstance(error, BadStatusLine):
        return Failure.MALFORMED_STATUS_LINE
    if isinstance(error, LineTooLong):
        return Failure.HEAD_TOO_LARGE
    if isinstance(error, TransferEncodingError):
        return Failure.MALFORMED_TRANSFER_ENCODING
    if isinstance(error, InvalidHeader):
        return Failure.MALFORMED_FIELD
    # The parser raises one exception for most rules; only its message distinguishes them.
    words = str(getattr(error, "message", "")).lower()
    return next((failure for part, failure in _RULES if part in words), Failure.MALFORMED_HEAD)


_RULES: Final = (
    ("too many headers", Failure.HEAD_TOO_LARGE),
    ("got more than", Failure.HEAD_TOO_LARGE),
    ("content-length", Failure.MALFORMED_CONTENT_LENGTH),
    ("transfer-encoding", Failure.MALFORMED_TRANSFER_ENCODING),
    ("chunk", Failure.MALFORMED_TRANSFER_ENCODING),
    ("header", Failure.MALFORMED_FIELD),
    ("status", Failure.MALFORMED_STATUS_LINE),
    ("http/", Failure.MALFORMED_STATUS_LINE),
)

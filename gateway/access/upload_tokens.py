"""Upload tokens authenticate uploads for which Google's SDK sends no key.

The SDK starts an upload with its key, and sends the parts without one to the URL that it got in return: that URL is the
credential. So the gateway's URL for the upload carries a token, bound to the client and to the target, good for a day.
"""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

PARAMETER: Final = "gateway_upload"
SECONDS: Final = 24 * 3600

_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 32
_PURPOSE: Final = b"gateway upload 1\0"


class UploadTokens:
    """Signs and verifies tokens. Processes that accept each other's tokens share a secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def signed(self, target: str, client_id: str, now: float) -> str:
        """`target`, path and query, with a token for the client behind it, good from `now` on, in Unix seconds."""
        head = int(now + SECONDS).to_bytes(_TIME_BYTES, "big") + client_id.encode()
        target += "&" if "?" in target else "?"
        token = urlsafe_b64encode(head + self._signature(head, target)).rstrip(b"=").decode("ascii")
        return f"{target}{PARAMETER}={token}"

    def client_id(self, target: str, now: float) -> str | None:
        """The client of the token at the end of `target`; None if there is no valid one."""
        unsigned, _, token = target.rpartition(f"{PARAMETER}=")
        raw = _decoded(token)
        head, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
        if len(head) <= _TIME_BYTES or not hmac.compare_digest(signature, self._signature(head, unsigned)):
            return None
        return head[_TIME_BYTES:].decode() if now < int.from_bytes(head[:_TIME_BYTES], "big") else None

    def __repr__(self) -> str:
        return "UploadTokens()"

    def _signature(self, head: bytes, target: str) -> bytes:
        message = b"%b%b\0%b" % (_PURPOSE, head, target.encode("utf-8", "surrogateescape"))
        return hmac.digest(self._secret, message, "sha256")


def _decoded(token: str) -> bytes:
    """The token's bytes; b"" if it is malformed."""
    try:
        return urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return b""

"""The `stream` member of a JSON request body: read it, or set it with the least change to the client's bytes."""

import re
from itertools import islice
from typing import Final

from gateway.errors import InvalidRequest
from gateway.providers.reading.lenient import member, opened

NO_STREAM: Final = "Stream modes are not available at this path."
"""What is said where there is nothing to ask a stream of."""

_PARAM: Final = "stream"
_BLANK: Final = b" \t\r\n"
_NULL: Final = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*(null)')


def asks_for_stream(body: bytes) -> bool:
    """Whether a body says `"stream": true`."""
    if b'"stream"' not in body and b"\\u" not in body:
        return False
    return member(opened(body), _PARAM) is True


def with_stream(body: bytes, stream: bool) -> bytes:
    """`body` asking for a stream, or for one document, every other byte as it was.

    InvalidRequest if it says the opposite, or is no JSON object.
    """
    start = len(body) - len(body.lstrip(_BLANK))
    members = opened(body)
    is_empty = body[start + 1 : start + 64].strip(_BLANK) == b"}"
    if body[start : start + 1] != b"{" or not (members or is_empty):
        raise InvalidRequest("A stream mode needs a JSON object as the request's body.")
    said = member(members, _PARAM)
    if said is stream or (said is None and not stream):
        return body
    if isinstance(said, bool):
        wanted, flag = ("a stream", "false") if stream else ("one document", "true")
        raise InvalidRequest(f"The stream mode asks for {wanted}, but `stream` is {flag} in the body.", param=_PARAM)
    if _PARAM in members:
        return _in_place_of_null(body)
    return body[: start + 1] + (b'"stream":true' if is_empty else b'"stream":true,') + body[start + 1 :]


def _in_place_of_null(body: bytes) -> bytes:
    """A null means nothing was asked. Which of several is the body's own, and not nested, shows by trying."""
    for found in islice(_NULL.finditer(body), 8):
        changed = body[: found.start(1)] + b"true" + body[found.end(1) :]
        if member(opened(changed), _PARAM) is True:
            return changed
    raise InvalidRequest("`stream` is neither true nor false in the body.", param=_PARAM)

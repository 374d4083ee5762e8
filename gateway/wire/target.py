"""Request targets, byte for byte: what stands below a prefix, and whether it stays there.

Targets are the request line's own text, bytes that are no UTF-8 as surrogate escapes. Nothing is normalised: what
cannot be passed on as it is, is refused.
"""

import re
from urllib.parse import unquote

from gateway.errors import InvalidRequest

_SUSPECT = re.compile(r"\.|%2e|%25", re.IGNORECASE)
_UNWRITABLE = re.compile(r"[\x00-\x20\x7f#\\]")
_ROUNDS = 4


def below(target: str, prefix: str) -> str:
    """Path and query of `target` after `prefix`, verbatim, at least `/`. InvalidRequest if it leads elsewhere."""
    if not target.startswith(prefix):
        raise InvalidRequest("The path must not be percent-encoded up to the provider's name.")
    rest = target[len(prefix) :]
    if not rest or rest.startswith("?"):
        rest = f"/{rest}"
    path = rest.partition("?")[0]
    if not path.startswith("/") or _UNWRITABLE.search(path) or climbs(path):
        raise InvalidRequest("The path must not contain dot segments, backslashes, blanks or control characters.")
    return rest


def climbs(path: str) -> bool:
    """Whether a segment of `path`, in any spelling a lenient server may undo, is `.` or `..`."""
    if not _SUSPECT.search(path):
        return False
    for _ in range(_ROUNDS):
        if any(segment.partition(";")[0] in (".", "..") for segment in re.split(r"[/\\]", path)):
            return True
        decoded = unquote(path, errors="surrogateescape")
        if decoded == path:
            return False
        path = decoded
    return True


def plain(path: str) -> str:
    """`path` as every server reads it: without encoding where there need be none (RFC 3986, section 6.2.2.2), and
    without a slash at its end.
    """
    if "%" in path:
        path = _UNRESERVED.sub(lambda found: unquote(found.group()), path)
    return path.removesuffix("/")


def lenient(path: str) -> str:
    """`path` as the most lenient server reads it: decoded again and again, without parameters and empty segments, and
    cut off where a decoded byte is no part of a path.
    """
    for _ in range(_ROUNDS):
        decoded = unquote(path, errors="surrogateescape")
        if decoded == path:
            break
        path = decoded
    segments = re.split(r"[/\\]", _NO_PATH.split(path, 1)[0])
    return "/" + "/".join([name for segment in segments if (name := segment.partition(";")[0])])


_UNRESERVED = re.compile("%(?:2[DE]|3[0-9A]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)  # and the colon
_NO_PATH = re.compile(r"[\x00-\x20\x7f?#]")


def parameter(query: str, name: str) -> str:
    """The value of the first parameter called `name` in a raw query, decoded; "" if there is none."""
    for each in query.split("&"):
        key, _, value = each.partition("=")
        if key == name:
            return unquote(value)
    return ""


def has_parameter(query: str, name: str) -> bool:
    """Whether a raw query has a parameter called exactly `name`."""
    return any(each.partition("=")[0] == name for each in query.split("&"))


def without_parameter(query: str, name: str) -> str:
    """A raw query without the parameters called `name`; every other byte as it was."""
    return "&".join(each for each in query.split("&") if each.partition("=")[0] != name)

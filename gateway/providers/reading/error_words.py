"""What a provider calls its own error: words of letters, digits, `_`, `-` and `.`, never its message."""

from typing import Any

from gateway.providers.reading.lenient import mapping, member, objects, opened, parsed, word


def error_words(body: bytes) -> tuple[str | None, str | None] | None:
    """The type and the code in an error of OpenAI's, Anthropic's or Google's form, or of RFC 9457; None without."""
    answer = opened(body)
    if not answer:  # Google's streams are arrays
        answer = next(iter(objects(parsed(body))), {})
    error = mapping(member(answer, "error"))
    if error:
        reasons = [_word(detail.get("reason")) for detail in objects(error.get("details"))]
        kind = _word(error.get("type")) or _word(error.get("status"))
        code = next(filter(None, reasons), None) or _word(error.get("code"))
    else:
        kind, code = _last_segment(member(answer, "type")), _word(member(answer, "code"))
    return (kind, code) if kind or code else None


def _word(value: Any) -> str | None:
    return word(str(value) if type(value) is int else value)


def _last_segment(value: Any) -> str | None:
    """A problem's type is a URI, `about:blank` where it says no more than the status."""
    return word(value.rstrip("/").rpartition("/")[2]) if isinstance(value, str) else None

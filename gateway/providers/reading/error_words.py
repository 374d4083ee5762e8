"""Reads the error that a provider answered: the words it uses for it and, where that is wanted, its message."""

from typing import Any, Final

from gateway.providers.reading.lenient import mapping, member, objects, opened, parsed, word
from gateway.telemetry.exchange import ProviderError

MAX_MESSAGE: Final = 500  # characters


def provider_error(body: bytes, *, message: bool) -> ProviderError | None:
    """The error in OpenAI's, Anthropic's or Google's form, or that of RFC 9457; None where there is none.

    Type and code are words of letters, digits, `_`, `-` and `.`. The message may quote the prompt.
    """
    answer = opened(body)
    if not answer:  # Google's streams are arrays
        answer = next(iter(objects(parsed(body))), {})
    error = mapping(member(answer, "error"))
    if error:
        reasons = [_word(detail.get("reason")) for detail in objects(error.get("details"))]
        kind = _word(error.get("type")) or _word(error.get("status"))
        code = next(filter(None, reasons), None) or _word(error.get("code"))
        text = error.get("message")
    else:
        kind, code = _last_segment(member(answer, "type")), _word(member(answer, "code"))
        text = member(answer, "detail") or member(answer, "title") or member(answer, "error")
    shown = text[:MAX_MESSAGE] if message and isinstance(text, str) else None
    return ProviderError(kind, code, shown) if kind or code or shown else None


def _word(value: Any) -> str | None:
    return word(str(value) if type(value) is int else value)


def _last_segment(value: Any) -> str | None:
    """A problem's type is a URI, `about:blank` where it says no more than the status."""
    return word(value.rstrip("/").rpartition("/")[2]) if isinstance(value, str) else None

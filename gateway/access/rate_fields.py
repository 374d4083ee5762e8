"""Header fields that tell a client where it stands, all from one verdict: the IETF's, and those of each API.

IETF: draft-ietf-httpapi-ratelimit-headers, `RateLimit-Policy` and `RateLimit`. What it has no word for is counted in
tokens, and in millionths of a dollar. `t` is the time until a bucket is whole again; where the request was refused,
only what refused it is told, and `t` is the time until it would be let in, never later than `Retry-After`.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from typing import Final

from gateway.access.rate import ROUNDING, Verdict
from gateway.settings.limits import Unit

MILLION: Final = 1_000_000

Fields = dict[str, str]


def ietf(verdict: Verdict) -> Fields:
    """`RateLimit-Policy` and `RateLimit`; none where nobody could be asked."""
    positions = verdict.violated or range(len(verdict.buckets))
    policies, standings = [], []
    for position in positions:
        bucket, scale = verdict.buckets[position], MILLION if verdict.buckets[position].unit is Unit.COST else 1
        window = f";w={bucket.seconds:.0f}" if bucket.seconds else ""
        policies.append(f'"{bucket.policy}";q={floor(bucket.most * scale)}{window};qu="{_QUOTA_UNITS[bucket.unit]}"')
        left = f'"{bucket.policy}";r={_whole(verdict.remaining[position] * scale)}'
        if verdict.violated:
            left += f";t={_seconds(verdict.wait(position))}"
        elif bucket.seconds:
            left += f";t={_seconds(_until_whole(verdict, position))}"
        standings.append(left)
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(standings)} if policies else {}


def openai(verdict: Verdict, now: datetime) -> Fields:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; a reset is a duration as Go writes it."""
    fields: Fields = {}
    for unit, name in _OPENAI.items():
        if (position := _tightest(verdict, unit)) is not None:
            fields[f"x-ratelimit-limit-{name}"] = f"{verdict.buckets[position].most:.0f}"
            fields[f"x-ratelimit-remaining-{name}"] = str(_whole(verdict.remaining[position]))
            fields[f"x-ratelimit-reset-{name}"] = go_duration(_until_whole(verdict, position))
    return fields


def anthropic(verdict: Verdict, now: datetime) -> Fields:
    """`anthropic-ratelimit-{...}-{limit,remaining,reset}`; a reset is an instant as in RFC 3339."""
    fields: Fields = {}
    full_second = now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=bool(now.microsecond))
    for unit, name in _ANTHROPIC.items():
        if (position := _tightest(verdict, unit)) is not None:
            whole = full_second + timedelta(seconds=_seconds(_until_whole(verdict, position)))
            fields[f"anthropic-ratelimit-{name}-limit"] = f"{verdict.buckets[position].most:.0f}"
            fields[f"anthropic-ratelimit-{name}-remaining"] = str(_whole(verdict.remaining[position]))
            fields[f"anthropic-ratelimit-{name}-reset"] = whole.isoformat().replace("+00:00", "Z")
    return fields


BY_DIALECT: Final[Mapping[str, tuple[str, Callable[[Verdict, datetime], Fields]]]] = {
    "openai": ("x-ratelimit-", openai),
    "anthropic": ("anthropic-ratelimit-", anthropic),
}
"""The fields of each dialect that has some, and what all of its fields begin with."""


def go_duration(seconds: float) -> str:
    """`0s`, `12ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = ceil(seconds * 1000 - ROUNDING)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    lead = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{lead}{rest / 1000:g}s"


def _tightest(verdict: Verdict, unit: Unit) -> int | None:
    """The bucket of `unit` that a client should look at: one that refused, else the one that holds least."""
    positions = [position for position, bucket in enumerate(verdict.buckets) if bucket.unit is unit]
    refusing = [position for position in positions if position in verdict.violated]
    return min(refusing or positions, key=verdict.remaining.__getitem__, default=None)


def _until_whole(verdict: Verdict, position: int) -> float:
    bucket = verdict.buckets[position]
    return max(0.0, bucket.most - verdict.remaining[position]) / bucket.rate if bucket.rate else 0.0


def _whole(remaining: float) -> int:
    return max(0, floor(remaining + ROUNDING))


def _seconds(seconds: float) -> int:
    return ceil(seconds - ROUNDING)


_QUOTA_UNITS: Final = {
    Unit.REQUESTS: "requests",
    Unit.CONCURRENT: "concurrent-requests",
    Unit.TOKENS: "tokens",
    Unit.INPUT_TOKENS: "input-tokens",
    Unit.OUTPUT_TOKENS: "output-tokens",
    Unit.COST: "microdollars",
}
_OPENAI: Final = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}
_ANTHROPIC: Final = {
    Unit.REQUESTS: "requests",
    Unit.TOKENS: "tokens",
    Unit.INPUT_TOKENS: "input-tokens",
    Unit.OUTPUT_TOKENS: "output-tokens",
}

"""What a limited key's call took: the usage that the provider reports, or an estimate from the answer that came."""

from typing import Final

from gateway.access.gate import NO_TOKENS, Tokens
from gateway.providers.reading.generated import BYTES_PER_TOKEN, streamed_tokens
from gateway.settings.prices import Prices
from gateway.telemetry.exchange import Outcome, UpstreamCall, Usage
from gateway.upstream.limited_request import Estimate
from gateway.upstream.response import UpstreamResponse

_NO_USAGE: Final = Usage()


def charge(estimate: Estimate, call: UpstreamCall, response: UpstreamResponse | None, prices: Prices) -> Tokens:
    """What `call` took, now that it has ended; an estimate is noted on its record."""
    call.learn()
    usage, is_complete = call.facts.usage, call.outcome is Outcome.COMPLETE
    if not is_complete and not call.facts.streamed:  # a document that is cut has not come to its usage
        usage = None
    if estimate.api is None or (usage is None and is_unbilled(call)):
        return NO_TOKENS
    reported = None
    if usage is not None and is_complete:
        reported = _reported(usage, generates=estimate.tokens.output > 0)
    if reported is None:
        reported = _estimated(estimate, call, response, usage or _NO_USAGE)
        call.estimated_tokens = round(sum(reported))
    inward, outward = reported
    price = estimate.price or prices.of(call.facts.response_model)
    cached = (usage or _NO_USAGE).cache_read_tokens or 0
    return Tokens(inward, outward, price.of(inward, outward, cached) if price else 0.0)


def is_unbilled(call: UpstreamCall) -> bool:
    """Whether the provider was not reached, or ran no model."""
    return call.connected is None or (call.status or 0) >= 300


def _reported(usage: Usage, *, generates: bool) -> tuple[float, float] | None:
    """Input and output tokens, None if they are not known, or all zero. Tokens in the total alone were generated."""
    inward, outward, total = usage.input_tokens, usage.output_tokens, usage.total_tokens
    if inward is None or (generates and outward is None and total is None):
        return None
    outward = max(outward or 0, (total or 0) - inward)
    return (inward, outward) if inward or outward else None


def _estimated(
    estimate: Estimate, call: UpstreamCall, response: UpstreamResponse | None, usage: Usage
) -> tuple[float, float]:
    inward = estimate.tokens.input if not usage.input_tokens else float(usage.input_tokens)
    outward = max(usage.output_tokens or 0, _output(estimate, call, response))
    if usage.input_tokens is None and usage.total_tokens:  # which is both
        inward = min(inward, usage.total_tokens)
        outward = usage.total_tokens - inward
    return inward, outward


def _output(estimate: Estimate, call: UpstreamCall, response: UpstreamResponse | None) -> float:
    """The output tokens, estimated from the answer that came."""
    api, reserved = estimate.api, estimate.tokens.output
    if api is None or not reserved:
        return 0.0
    if response is None:
        return reserved
    head, tail, _ = response.ends()
    if not response.is_readable:
        return max(reserved, float(call.bytes_received))
    if call.facts.streamed:
        came = streamed_tokens(api.generated, head, tail, response.size)
    else:
        came = response.size / BYTES_PER_TOKEN
    # Of a document, and before the first word of a stream, more was generated than the client waited for.
    left_early = call.outcome is Outcome.CLIENT_GONE and (not came or not call.facts.streamed)
    return max(reserved, came) if left_early else came

"""The one way out, within limits: a call is let in by what it will take about, and settled with what it took.

The estimate: a token of input for every 4 bytes of the request's body, and as many of output as the request allows, or
`OUTPUT_TOKENS` where it does not say. What the provider tells at the end takes its place. What it does not tell, since
it was not asked to, or the client or the provider left in the middle, is charged as far as it can be known:

- Nothing, if the provider was not reached, or refused with an error status.
- The estimate, if nothing of an answer came: the provider may have been at work, and may bill it.
- Else the input, as told or estimated, and a token of output for every 4 bytes of the answer, or every 16 bytes of an
  event stream, which are mostly wrapping; but no more than the estimate.

Only calls of APIs that are known by their path (chat, completions, embeddings and the like) take tokens and cost.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.access.gate import NO_TOKENS, Admission, Gate, Tokens
from gateway.errors import Forbidden, InvalidRequest
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.providers.reading.lenient import count, member, named, opened
from gateway.settings.limits import Unit
from gateway.settings.prices import Price, Prices
from gateway.telemetry.exchange import Exchange, Facts, Outcome, UpstreamCall, Usage
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.retries import Upstream

BYTES_PER_TOKEN: Final = 4
STREAMED_BYTES_PER_TOKEN: Final = 16
OUTPUT_TOKENS: Final = 1000
PARSED_ON_THE_LOOP: Final = 1 << 20  # bytes

UNREAD: Final = "A limit of this key depends on the model: name it in a JSON body without a content coding."
UNPRICED: Final = "A limit of cost holds for this key, and the gateway knows no price for this model."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request's body tells beforehand; `known` if its path belongs to an API that takes tokens."""

    model: str | None = None
    known: bool = False
    tokens: Tokens = NO_TOKENS
    price: Price | None = None


NOTHING_ASKED: Final = Asked()


class LimitedUpstream:
    """Lets calls through to `upstream` while limits allow. Raises RateLimited, BudgetExhausted, and what it raises.

    `prices` may be replaced at any time.
    """

    def __init__(self, upstream: Upstream, gate: Gate, prices: Prices) -> None:
        self._upstream = upstream
        self._gate = gate
        self.prices = prices

    def call(
        self, exchange: Exchange, provider: Provider, request: UpstreamRequest, call: UpstreamCall
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        admission = self._gate.admission_of(exchange)
        if admission is None:
            return self._upstream.call(exchange, provider, request, call)
        return self._limited(admission, exchange, provider, request, call)

    @asynccontextmanager
    async def _limited(
        self,
        admission: Admission,
        exchange: Exchange,
        provider: Provider,
        request: UpstreamRequest,
        call: UpstreamCall,
    ) -> AsyncIterator[UpstreamResponse]:
        asked = await self._asked(admission, provider, request, call.path)
        hold = await admission.enter_call(provider.name, asked.model, asked.tokens)
        try:
            async with self._upstream.call(exchange, provider, request, call) as response:
                yield response
        finally:
            admission.leave_call(hold, spent(asked, call, self.prices))

    async def _asked(self, admission: Admission, provider: Provider, request: UpstreamRequest, path: str) -> Asked:
        """What has to be known. Raises InvalidRequest for a body that hides it, Forbidden for a model without price."""
        plan = admission.plan(provider.name)
        if not plan.needs_body:
            return NOTHING_ASKED
        if request.method != "POST":  # no API runs a model otherwise
            return NOTHING_ASKED
        body, length = (request.body, 0) if isinstance(request.body, bytes) else (b"", request.length or 0)
        if len(body) <= PARSED_ON_THE_LOOP:
            asked = read(provider, path, body, self.prices, length)
        else:
            asked = await asyncio.to_thread(read, provider, path, body, self.prices)
        if plan.needs_model and asked.known and asked.model is None:
            raise InvalidRequest(UNREAD, param="model")
        if asked.known and asked.price is None and any(bucket.unit is Unit.COST for bucket in plan.buckets):
            raise Forbidden(UNPRICED, param="model")
        return asked


def read(provider: Provider, path: str, body: bytes, prices: Prices, length: int = 0) -> Asked:
    """What `body` asks for; of one that is streamed, and cannot be read, the `length` has to do."""
    facts = provider.dialect.facts(path, body, b"", b"", content=False)
    model = facts.request_model or named(member(opened(body), "model"))
    if not facts.operation:
        return Asked(model)
    inward, outward = (len(body) or length) / BYTES_PER_TOKEN, _output(facts)
    price = prices.of(model)
    return Asked(model, True, Tokens(inward, outward, price.of(inward, outward) if price else 0.0), price)


def _output(facts: Facts) -> float:
    if facts.operation == "embeddings":
        return 0.0
    said = facts.parameters
    return _most(said, _OUTPUT_LIMITS, OUTPUT_TOKENS) * max(1.0, _most(said, _CHOICES, 1))


def _most(parameters: Mapping[str, Any], names: tuple[str, ...], otherwise: float) -> float:
    return max((number for name in names if (number := count(parameters.get(name))) is not None), default=otherwise)


def spent(asked: Asked, call: UpstreamCall, prices: Prices) -> Tokens:
    """What `call` took, now that it has ended."""
    call.learn()
    usage = call.facts.usage or _NO_USAGE
    unbilled = call.connected is None or (call.status or 0) >= 400
    if not asked.known or (unbilled and call.facts.usage is None):
        return NO_TOKENS
    inward = asked.tokens.input if usage.input_tokens is None else float(usage.input_tokens)
    outward = _spent_output(asked, call, usage)
    price = asked.price or prices.of(call.facts.response_model)
    cost = price.of(inward, outward, usage.cache_read_tokens or 0) if price else 0.0
    return Tokens(inward, outward, cost)


def _spent_output(asked: Asked, call: UpstreamCall, usage: Usage) -> float:
    if usage.output_tokens is not None and call.outcome is Outcome.COMPLETE:
        return float(usage.output_tokens)
    if call.status is None:
        return asked.tokens.output
    size = STREAMED_BYTES_PER_TOKEN if call.facts.streamed else BYTES_PER_TOKEN
    return max(float(usage.output_tokens or 0), min(asked.tokens.output, call.bytes_received / size))


_NO_USAGE: Final = Usage()
_OUTPUT_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_CHOICES: Final = ("n", "candidateCount")

"""The one way out, within limits: a call is let in by what it will take about, and settled with what it took.

Before a call its tokens are estimated and reserved: of input one for every 4 bytes of the request's body, of output as
many as the request allows in the API's own member. When it has ended it is charged what the provider reported, or an
estimate from the answer that came (`charge.py`). The request's own bound does not cap the charge.

Only calls of APIs that are known by their path (chat, completions, embeddings and the like) take tokens and cost.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from gateway.access.budgets import Plan
from gateway.access.gate import Admission, Gate
from gateway.errors import Forbidden, InvalidRequest
from gateway.providers.provider import Provider, UpstreamRequest
from gateway.settings.limits import Unit
from gateway.settings.prices import Prices
from gateway.telemetry.exchange import Exchange, UpstreamCall
from gateway.upstream.charge import charge
from gateway.upstream.limited_request import NO_ESTIMATE, Estimate, estimated, readable_answers
from gateway.upstream.response import UpstreamResponse
from gateway.upstream.retries import Upstream

UNNAMED: Final = "A limit of this key depends on the model: name it in the request's body."
UNPRICED: Final = "A limit of cost holds for this key, and the gateway knows no price for this model."
BACKGROUND: Final = "A limit of this key counts tokens, and those of a response in the background are not known."


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
        estimate = NO_ESTIMATE
        if admission.plan(provider.name).needs_body:
            estimate = await estimated(provider, request, call.path, self.prices)
            plan = admission.plan(provider.name, estimate.model)
            if estimate.api is not None:
                _check(estimate, plan)
                request = request if plan.counted else readable_answers(request)
        hold = await admission.enter_call(provider.name, estimate.model, estimate.tokens)
        answered: UpstreamResponse | None = None
        try:
            async with self._upstream.call(exchange, provider, request, call) as response:
                answered = response
                yield response
        finally:
            admission.leave_call(hold, charge(estimate, call, answered, self.prices))


def _check(estimate: Estimate, plan: Plan) -> None:
    """Raise InvalidRequest for what the limits of `plan` cannot count, Forbidden for a model without a price."""
    if plan.needs_model and estimate.model is None:
        raise InvalidRequest(UNNAMED, param="model")
    if estimate.price is None and any(bucket.unit is Unit.COST for bucket in plan.buckets):
        raise Forbidden(UNPRICED, param="model")
    if estimate.in_background and not plan.counted:
        raise InvalidRequest(BACKGROUND, param="background")

"""Which buckets a request draws on: the rules and a key's own bounds, made into buckets of one subject.

A request counts when it comes in, against its key and its project. A call counts when it goes out, against its provider
and model; and it alone takes tokens and cost, whoever's they are. A workflow's request makes several calls.

Rule: of several rules about the same dimensions, the most specific one holds for each unit it bounds; a key's own
bounds are more specific than any rule.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from gateway.access.clients import Client
from gateway.access.rate import Amounts, Bucket, Buckets, bucket
from gateway.settings.limits import Bound, Rule, Unit

COUNTED: Final = frozenset({Unit.REQUESTS, Unit.CONCURRENT})
"""What is taken one by one, whatever is asked."""

MOST_MODELS: Final = 64
OTHER_MODELS: Final = "_other"
"""A key that names more models than `MOST_MODELS` has one bucket for all further ones, or it could make any number."""

MOST_PLANS: Final = 1024

Subject = dict[str, str | None]
Who = tuple[tuple[str, str], ...]
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Plan:
    """The buckets of one subject. `ones` is what is taken of them where each is `counted`.

    A plan `needs_model` if another would be drawn on, or another price paid, for another model.
    """

    buckets: Buckets = ()
    needs_model: bool = False
    counted: bool = True
    ones: Amounts = ()

    def __bool__(self) -> bool:
        return bool(self.buckets) or self.needs_model

    @property
    def needs_body(self) -> bool:
        return self.needs_model or not self.counted


NO_PLAN: Final = Plan()


@dataclass(slots=True)
class Drawn:
    """What is known of one client: whether it has bounds of its own, its plans, and the models it named."""

    client: Client
    is_bounded: bool
    requests: dict[str | None, Plan] = field(default_factory=dict)
    calls: dict[tuple[str | None, str, str | None], Plan] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)


class Budgets:
    """The rules that hold, applied to whoever comes."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = tuple(map(_folded, rules))
        self._drawn: dict[str, Drawn] = {}

    def replace(self, rules: Sequence[Rule]) -> None:
        """Other rules hold from now on; whoever is in keeps the buckets that he came in with."""
        self._rules = tuple(map(_folded, rules))
        self._drawn.clear()

    def concern(self, client: Client) -> bool:
        """Whether anything may be bounded for this client."""
        if self._rules:
            return True
        known = self._drawn.get(client.id)
        return self._known(client).is_bounded if known is None or known.client is not client else known.is_bounded

    def of_request(self, client: Client, project: str | None) -> Plan:
        """What a request draws on when it comes in."""
        known = self._known(client)
        plan = known.requests.get(project)
        if plan is None:
            plan = self._plan(client, {"key": client.id, "project": project}, calls=False)
            plan = _kept(known.requests, project, plan)
        return plan

    def of_call(self, client: Client, project: str | None, provider: str, model: str | None) -> Plan:
        """What a call draws on when it goes out. The case of a model's name makes no difference."""
        known = self._known(client)
        model = None if model is None else model.lower()
        place = (project, provider, model)
        plan = known.calls.get(place)
        if plan is None:
            subject: Subject = {"key": client.id, "project": project, "provider": provider, "model": model}
            plan = self._plan(client, subject, calls=True)
            plan = _kept(known.calls, place, plan)
        return plan

    def _known(self, client: Client) -> Drawn:
        known = self._drawn.get(client.id)
        if known is None or known.client is not client:  # its scopes may be others after a reload
            known = self._drawn[client.id] = Drawn(client, any(_own(client)))
        return known

    def _plan(self, client: Client, subject: Subject, *, calls: bool) -> Plan:
        buckets = tuple(
            self._bucket(client, who, bound, subject)
            for who, bound in self._holding(client, subject)
            if _is_of_call(who, bound) is calls
        )
        return Plan(
            buckets,
            needs_model=calls and self._needs_model(client, subject, buckets),
            counted=all(bucket.unit in COUNTED for bucket in buckets),
            ones=(1.0,) * len(buckets),
        )

    def _holding(self, client: Client, subject: Subject) -> Iterator[tuple[Who, Bound]]:
        """The bounds that hold, each with the rule's `who` that it comes from."""
        chosen: dict[tuple[tuple[str, ...], Unit], Rule] = {}
        own = Rule((("key", client.id),), tuple(_own(client)))
        # The most specific comes first, and nothing takes its place.
        for rule in (own, *sorted(self._rules, key=_specificity, reverse=True)):
            if _fits(rule.who, subject):
                dimensions = tuple(dimension for dimension, _ in rule.who)
                for unit in {bound.unit for bound in rule.bounds}:
                    chosen.setdefault((dimensions, unit), rule)
        for (_, unit), rule in sorted(chosen.items()):
            yield from ((rule.who, bound) for bound in rule.bounds if bound.unit is unit)

    def _needs_model(self, client: Client, subject: Subject, buckets: Buckets) -> bool:
        any_model = {**subject, "model": None}
        return any(bucket.unit is Unit.COST for bucket in buckets) or any(
            _fits(tuple(pair for pair in rule.who if pair[0] != "model"), any_model)
            for rule in self._rules
            if any(dimension == "model" for dimension, _ in rule.who)
        )

    def _bucket(self, client: Client, who: Who, bound: Bound, subject: Subject) -> Bucket:
        dimensions = [dimension for dimension, _ in who]
        policy = "-".join(filter(None, (*dimensions, bound.unit.replace("_", "-"), bound.window)))
        parts = [
            (name or self._model(client, subject["model"])) if dimension == "model" else subject[dimension]
            for dimension, name in who
        ]
        whose = " and ".join(dimensions)
        per = f" per {bound.window}" if bound.window else ""
        about = f"{bound.most:,.10g} {_WORDS[bound.unit]}{per} for this {whose}"
        return bucket(":".join([policy, *map(str, parts)]), policy, bound.unit, bound.most, bound.seconds, about)

    def _model(self, client: Client, model: str | None) -> str:
        named = self._known(client).models
        if model is None or (model not in named and len(named) >= MOST_MODELS):
            return OTHER_MODELS
        named.add(model)
        return model


def _folded(rule: Rule) -> Rule:
    """`rule`, its models in lower case: to many a provider they are the same in any."""
    return replace(rule, who=tuple((word, name.lower() if word == "model" else name) for word, name in rule.who))


def _own(client: Client) -> Iterator[Bound]:
    for unit in Unit:
        yield from getattr(client, unit) or ()


def _is_of_call(who: Who, bound: Bound) -> bool:
    return bound.unit not in COUNTED or any(dimension in ("provider", "model") for dimension, _ in who)


def _fits(who: Who, subject: Subject) -> bool:
    return all((value := subject.get(dimension)) is not None and _is_named(name, value) for dimension, name in who)


def _is_named(name: str, value: str) -> bool:
    return not name or name == value or (name.endswith("*") and value.startswith(name[:-1]))


def _specificity(rule: Rule) -> tuple[int, ...]:
    """For each name: none is less than a beginning, that is less than a longer one, and a whole name is most."""
    return tuple(len(name) if name.endswith("*") else 1000 * bool(name) for _, name in rule.who)


def _kept(plans: dict[Place, Plan], place: Place, plan: Plan) -> Plan:
    if len(plans) >= MOST_PLANS:  # a client that makes up names; plans are soon made again
        plans.clear()
    plans[place] = plan
    return plan


_WORDS: Final = {
    Unit.REQUESTS: "requests",
    Unit.TOKENS: "tokens",
    Unit.INPUT_TOKENS: "input tokens",
    Unit.OUTPUT_TOKENS: "output tokens",
    Unit.COST: "US dollars",
    Unit.CONCURRENT: "concurrent requests",
}

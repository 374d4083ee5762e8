"""Which buckets a request draws on."""

import pytest

from gateway.access.budgets import MOST_MODELS, Budgets
from gateway.access.clients import Client
from gateway.access.keys import parse
from gateway.settings.limits import parse_rules

SECRET = "pZ1xH2vQm8rT5yWc0KfLsJ7dNbGa3uEi"
ALICE = Client("alice")


def budgets(rules: str) -> Budgets:
    found, problems = parse_rules(rules)
    assert not problems
    return Budgets(found)


def ids(plan: object) -> list[str]:
    return [f"{bucket.id}={bucket.most:g}" for bucket in plan.buckets]  # type: ignore[attr-defined]


def with_scopes(scopes: str) -> Client:
    [key], problems = parse(f"alice={SECRET};{scopes}")
    assert not problems
    return key.client


def test_without_rules_nothing_concerns_anybody() -> None:
    assert not budgets("").concern(ALICE)
    assert not budgets("").of_request(ALICE, "demo")
    assert not budgets("").of_call(ALICE, None, "openai", "m")


def test_each_key_has_buckets_of_its_own() -> None:
    rules = budgets("key: 10 requests/minute, 2 concurrent")
    assert ids(rules.of_request(ALICE, None)) == ["key-concurrent:alice=2", "key-requests-minute:alice=10"]
    assert ids(rules.of_request(Client("bob"), None)) == ["key-concurrent:bob=2", "key-requests-minute:bob=10"]


def test_a_request_counts_for_its_key_and_its_project_and_a_call_for_its_provider_and_model() -> None:
    rules = budgets(
        "key: 1 requests/m; project demo: 2 requests/m; provider: 3 requests/m; key model m: 4 requests/m;"
        "key provider openai: 5 concurrent"
    )
    assert ids(rules.of_request(ALICE, "demo")) == ["key-requests-minute:alice=1", "project-requests-minute:demo=2"]
    assert ids(rules.of_call(ALICE, "demo", "openai", "m")) == [
        "key-model-requests-minute:alice:m=4",
        "key-provider-concurrent:alice:openai=5",
        "provider-requests-minute:openai=3",
    ]


def test_tokens_and_cost_are_taken_by_calls_whoever_they_are() -> None:
    rules = budgets("key: 1000 tokens/m, 100 output_tokens/m; project: 5 usd/day")
    assert ids(rules.of_request(ALICE, "demo")) == []
    assert ids(rules.of_call(ALICE, "demo", "openai", None)) == [
        "key-output-tokens-minute:alice=100",
        "key-tokens-minute:alice=1000",
        "project-cost-day:demo=5",
    ]


def test_a_project_has_nothing_to_do_with_requests_to_providers() -> None:
    rules = budgets("project: 1 requests/m, 1 usd/day")
    assert ids(rules.of_request(ALICE, None)) == []
    assert ids(rules.of_call(ALICE, None, "openai", "m")) == []


@pytest.mark.parametrize(
    ("key", "most"),
    [("alice", 1000), ("bob", 10)],
)
def test_a_named_rule_takes_the_place_of_the_general_one_for_each_unit_it_bounds(key: str, most: int) -> None:
    rules = budgets("key: 10 requests/m, 2 concurrent; key alice: 1000 requests/m")
    assert ids(rules.of_request(Client(key), None)) == [f"key-concurrent:{key}=2", f"key-requests-minute:{key}={most}"]


def test_a_keys_own_bounds_take_the_place_of_every_rule_about_keys() -> None:
    rules = budgets("key: 10 requests/m, 2 concurrent; key alice: 20 requests/m; key model m: 3 requests/m")
    client = with_scopes("requests=30/minute|500/day;cost=5/day")
    assert ids(rules.of_request(client, None)) == [
        "key-concurrent:alice=2",
        "key-requests-minute:alice=30",
        "key-requests-day:alice=500",
    ]
    assert ids(rules.of_call(client, None, "openai", "m")) == [
        "key-cost-day:alice=5",
        "key-model-requests-minute:alice:m=3",
    ]


def test_a_key_may_be_bounded_though_no_rule_is_there() -> None:
    assert budgets("").concern(with_scopes("concurrent=3"))
    assert ids(budgets("").of_request(with_scopes("concurrent=3"), None)) == ["key-concurrent:alice=3"]


@pytest.mark.parametrize(
    ("model", "bucket"),
    [
        ("gpt-4o", "key-model-requests-minute:alice:gpt-4o=3"),
        ("gpt-4o-mini", "key-model-requests-minute:alice:gpt-4o*=2"),
        ("gpt-4-turbo", "key-model-requests-minute:alice:gpt-4*=1"),
        ("claude", "key-model-requests-minute:alice:claude=9"),
    ],
)
def test_the_most_specific_rule_about_a_model_holds(model: str, bucket: str) -> None:
    rules = budgets(
        "key model: 9 requests/m; key model gpt-4*: 1 requests/m; key model gpt-4o*: 2 requests/m;"
        "key model gpt-4o: 3 requests/m"
    )
    assert ids(rules.of_call(ALICE, None, "openai", model)) == [bucket]


def test_the_case_of_a_model_makes_no_difference() -> None:
    rules = budgets("key model GPT-4*: 1 requests/m; key model: 2 requests/m")
    plans = [rules.of_call(ALICE, None, "openai", model) for model in ("gpt-4o", "GPT-4o", "Gpt-4O")]
    assert {tuple(ids(plan)) for plan in plans} == {("key-model-requests-minute:alice:gpt-4*=1",)}
    assert ids(rules.of_call(ALICE, None, "openai", "O3")) == ids(rules.of_call(ALICE, None, "openai", "o3"))


def test_keys_count_before_models_when_rules_are_compared() -> None:
    rules = budgets("key alice model: 1 requests/m; key model gpt-4o: 2 requests/m")
    assert ids(rules.of_call(ALICE, None, "openai", "gpt-4o")) == ["key-model-requests-minute:alice:gpt-4o=1"]


def test_models_that_a_rule_names_together_share_a_bucket() -> None:
    rules = budgets("key model gpt-4*: 1 requests/m")
    assert ids(rules.of_call(ALICE, None, "p", "gpt-4o")) == ids(rules.of_call(ALICE, None, "p", "gpt-4.1"))


def test_a_key_that_makes_up_models_gets_no_bucket_for_each() -> None:
    rules = budgets("key model: 1 requests/m")
    made = {ids(rules.of_call(ALICE, None, "p", f"m{number}"))[0] for number in range(5000)}
    assert len(made) == MOST_MODELS + 1
    assert "key-model-requests-minute:alice:_other=1" in made
    assert ids(rules.of_call(ALICE, None, "p", "m0")) == ["key-model-requests-minute:alice:m0=1"]
    assert ids(rules.of_call(Client("bob"), None, "p", "m4999")) == ["key-model-requests-minute:bob:m4999=1"]


@pytest.mark.parametrize(
    ("rules", "needs_model", "needs_body"),
    [
        ("key: 1 requests/m; provider: 1 concurrent", False, False),
        ("key: 1 tokens/m", False, True),
        ("key: 1 usd/m", True, True),
        ("key model m: 1 requests/m", True, True),
        ("provider openai model m: 1 requests/m", True, True),
        ("provider other model m: 1 requests/m", False, False),
        ("key bob model m: 1 requests/m", False, False),
        ("project model m: 1 requests/m", False, False),
    ],
)
def test_a_plan_tells_what_has_to_be_known_of_a_body(rules: str, needs_model: bool, needs_body: bool) -> None:
    plan = budgets(rules).of_call(ALICE, None, "openai", None)
    assert (plan.needs_model, plan.needs_body) == (needs_model, needs_body)


def test_new_scopes_of_a_key_hold_at_once() -> None:
    rules = budgets("")
    assert ids(rules.of_request(with_scopes("requests=1/m"), None)) == ["key-requests-minute:alice=1"]
    assert ids(rules.of_request(with_scopes("requests=2/m"), None)) == ["key-requests-minute:alice=2"]


def test_new_rules_hold_at_once() -> None:
    rules = budgets("key: 10 requests/minute")
    assert ids(rules.of_request(ALICE, None)) == ["key-requests-minute:alice=10"]
    rules.replace(parse_rules("key: 20 requests/minute")[0])
    assert ids(rules.of_request(ALICE, None)) == ["key-requests-minute:alice=20"]
    rules.replace(())
    assert not rules.concern(ALICE)


def test_a_bucket_says_for_people_what_is_bounded() -> None:
    rules = budgets("key: 200000 output_tokens/minute; key model: 2.5 usd/15m")
    about = {bucket.about for bucket in rules.of_call(ALICE, None, "p", "m").buckets}
    assert about == {"200,000 output tokens per minute for this key", "2.5 US dollars per 15m for this key and model"}

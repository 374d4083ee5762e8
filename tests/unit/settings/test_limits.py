"""Rules as an operator writes them."""

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.limits import Bound, Bounds, RateSettings, Rule, Unit, parse_rules, read_rates, scope


def read(**names: str) -> RateSettings:
    reader = Reader(names)
    rates = read_rates(reader)
    reader.finish()
    return rates


def only(text: str) -> Rule:
    [rule] = read(GATEWAY_RATE_LIMITS=text).rules
    return rule


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(GATEWAY_RATE_LIMITS=text)
    return list(caught.value.problems)


def test_nothing_is_bounded_unless_it_is_said() -> None:
    assert read() == RateSettings(rules=(), open_on_failure=True, lease=30.0)


def test_a_rule_is_whom_it_is_for_and_bounds() -> None:
    assert only("key: 100 requests/minute, 200_000 tokens/hour, 2.50 usd/day, 10 concurrent") == Rule(
        (("key", ""),),
        (
            Bound(Unit.REQUESTS, 100, 60),
            Bound(Unit.TOKENS, 200_000, 3600),
            Bound(Unit.COST, 2.5, 86_400),
            Bound(Unit.CONCURRENT, 10),
        ),
    )


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("key", (("key", ""),)),
        ("key alice", (("key", "alice"),)),
        ("key key", (("key", "key"),)),
        ("project demo", (("project", "demo"),)),
        ("provider openai", (("provider", "openai"),)),
        ("key model", (("key", ""), ("model", ""))),
        ("key model gpt-4*", (("key", ""), ("model", "gpt-4*"))),
        ("key alice model llama3.1:8b", (("key", "alice"), ("model", "llama3.1:8b"))),
        ("model *", (("model", "*"),)),
        ("model m provider p", (("provider", "p"), ("model", "m"))),
    ],
)
def test_a_rule_is_for_any_of_four_dimensions_with_a_name_or_without(who: str, told: object) -> None:
    assert only(f"{who}: 1 concurrent").who == told


def test_rules_stand_apart_by_semicolons_or_line_ends() -> None:
    rules, problems = parse_rules("# by day\nkey: 1 requests/day;\n\nproject: 1 concurrent; provider: 2 concurrent\r\n")
    assert not problems
    assert [rule.who for rule in rules] == [(("key", ""),), (("project", ""),), (("provider", ""),)]


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        ("second", 1),
        ("minute", 60),
        ("Hour", 3600),
        ("day", 86_400),
        ("30s", 30),
        ("15m", 900),
        ("6h", 21_600),
        ("7d", 604_800),
        ("m", 60),
    ],
)
def test_a_window_is_a_word_or_a_number_of_them(window: str, seconds: float) -> None:
    [bound] = only(f"key: 5 requests/{window}").bounds
    assert bound.seconds == seconds


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("100 requests/minute", "must be WHO: BOUND"),
        (": 1 concurrent", "begins with whom it is for"),
        ("alice: 1 concurrent", "begins with whom it is for"),
        ("key alice bob: 1 concurrent", "begins with whom it is for"),
        ("key a/b: 1 concurrent", "a key is a name of A-Z"),
        ("model a*b: 1 concurrent", "a model is a name, or the beginning of one"),
        ("key:", "a bound is a number and requests"),
        ("key: 100/minute", "a bound is a number and requests"),
        ("key: 100 apples/minute", "a bound is a number and requests"),
        ("key: many requests/minute", "`many` must be a whole number above 0"),
        ("key: 1.5 requests/minute", "`1.5` must be a whole number above 0"),
        ("key: 0 requests/minute", "`0` must be a whole number above 0"),
        ("key: 0.0 usd/day", "`0.0` must be a number of dollars above 0"),
        ("key: 1 requests/fortnight", "`fortnight` must be second, minute, hour, day"),
        ("key: 1 requests/0m", "`0m` must be second"),
        ("key: 1 requests/366d", "`366d` must be second"),
        ("key: 1 requests", "`1` lacks a window"),
        ("key: 1 concurrent/minute", "must be a number alone"),
        ("key: 1 requests/m, 2 requests/minute", "bounds the same in the same window twice"),
    ],
)
def test_a_rule_that_is_none_is_a_problem_that_says_what_would_be_right(entry: str, told: str) -> None:
    [problem] = problems_of(entry)
    assert problem.startswith(f"GATEWAY_RATE_LIMITS: rule 1 ({entry}): ")
    assert told in problem


def test_all_problems_are_told_at_once() -> None:
    problems = problems_of("key: none; project: 1 concurrent; project: 2 concurrent; provider: 1 requests")
    assert [problem.partition(" (")[0] for problem in problems] == [
        "GATEWAY_RATE_LIMITS: rule 1",
        "GATEWAY_RATE_LIMITS: rule 3",
        "GATEWAY_RATE_LIMITS: rule 4",
    ]


def test_who_decides_when_nobody_can_be_asked() -> None:
    assert read(GATEWAY_RATE_LIMIT_ON_FAILURE="closed").open_on_failure is False
    assert read(GATEWAY_RATE_LIMIT_ON_FAILURE="open").open_on_failure is True


@pytest.mark.parametrize(
    ("unit", "text", "bounds"),
    [
        (Unit.REQUESTS, "100/minute", (Bound(Unit.REQUESTS, 100, 60),)),
        (Unit.REQUESTS, "100/m | 5000/day", (Bound(Unit.REQUESTS, 100, 60), Bound(Unit.REQUESTS, 5000, 86_400))),
        (Unit.COST, "0.5/day", (Bound(Unit.COST, 0.5, 86_400),)),
        (Unit.CONCURRENT, "10", (Bound(Unit.CONCURRENT, 10),)),
    ],
)
def test_a_scope_says_the_same_for_one_key(unit: Unit, text: str, bounds: tuple[Bound, ...]) -> None:
    assert scope(unit)(text) == Bounds(bounds)


@pytest.mark.parametrize("text", ["", "100", "100/minute|200/minute", "gw_secret", "100/minute|"])
def test_a_scope_that_is_none_says_what_would_be_right_and_shows_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be such as 100/minute, or 100/minute\|5000/day$"):
        scope(Unit.REQUESTS)(text)


def test_bounds_print_as_they_are_written() -> None:
    assert str(scope(Unit.REQUESTS)("100/minute|5000/86400s|7/90s")) == "100/minute|5000/day|7/90s"
    assert str(scope(Unit.COST)("2.50/15m")) == "2.5/15m"
    assert str(scope(Unit.CONCURRENT)("10")) == "10"

"""What tokens cost."""

import pytest

from gateway.settings import Reader, SettingsError
from gateway.settings.prices import Price, Prices, read_prices


def read(text: str) -> Prices:
    reader = Reader({"GATEWAY_PRICES": text})
    prices = read_prices(reader)
    reader.finish()
    return prices


def test_a_price_is_for_a_million_tokens_in_and_out() -> None:
    price = read("gpt-4o=2.50/10").of("gpt-4o")
    assert price is not None
    assert price.of(1_000_000, 0) == 2.5
    assert price.of(0, 1_000_000) == 10
    assert price.of(1_000, 500) == pytest.approx(0.0075)


def test_cached_input_has_a_price_of_its_own_or_that_of_input() -> None:
    prices = read("a=2/10/0.5, b=2/10")
    a, b = prices.of("a"), prices.of("b")
    assert a is not None
    assert b is not None
    assert a.of(1_000_000, 0, 600_000) == pytest.approx(0.4 * 2 + 0.6 * 0.5)
    assert b.of(1_000_000, 0, 600_000) == 2
    assert a.of(1_000, 0, 5_000) == pytest.approx(0.0005)  # never more cached than there are


def test_the_longest_beginning_counts() -> None:
    prices = read("gpt-4o=1/1\n# the small one\ngpt-4o-mini=2/2, *=3/3")
    assert prices.of("gpt-4o-2024-08-06") == Price(1, 1, 1)
    assert prices.of("gpt-4o-mini-2024-07-18") == Price(2, 2, 2)
    assert prices.of("claude") == prices.of(None) == Price(3, 3, 3)


def test_the_case_of_a_model_makes_no_difference() -> None:
    prices = read("GPT-4o=1/2, gpt-4o-Mini=3/4")
    assert prices.of("gpt-4O") == prices.of("GPT-4O-2024") == Price(1, 2, 1)
    assert prices.of("GPT-4o-MINI") == Price(3, 4, 3)


def test_without_a_price_for_any_there_are_models_without() -> None:
    prices = read("gpt-*=1/1")
    assert prices.of("gpt-5") == Price(1, 1, 1)
    assert prices.of("claude") is None
    assert prices.of(None) is None


@pytest.mark.parametrize("entry", ["gpt", "gpt=", "gpt=1", "=1/2", "gpt=a/b", "gpt=1/2/3/4", "gpt=-1/2", "g*t=1/2"])
def test_an_entry_that_is_none_is_a_problem(entry: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"ok=1/2,{entry}")
    [problem] = caught.value.problems
    assert problem.startswith(f"GATEWAY_PRICES: entry 2 ({entry}): must be MODEL=INPUT/OUTPUT")


def test_a_price_is_given_once() -> None:
    with pytest.raises(SettingsError, match="there is a price for gpt\\* before it"):
        read("gpt=1/2,gpt*=1/2")

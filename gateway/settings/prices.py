"""What tokens cost: a price for each model, by the beginning of its name, in US dollars for a million tokens."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.settings.reader import Reader

NAME = "GATEWAY_PRICES"
ABOUT = (
    "US dollars for a million tokens, for limits of cost, separated by commas or line ends: `MODEL=INPUT/OUTPUT`, "
    "or `MODEL=INPUT/OUTPUT/CACHED`. The longest beginning of a model's name counts; * is any model"
)
MILLION = 1_000_000
ANY = "*"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens; `cached` are input tokens read from the provider's cache."""

    input: float
    output: float
    cached: float

    def of(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """US dollars for so many tokens; the cached ones are among the input."""
        cached = min(cached_tokens, input_tokens)
        return ((input_tokens - cached) * self.input + cached * self.cached + output_tokens * self.output) / MILLION


@dataclass(frozen=True, slots=True)
class Prices:
    """`by_beginning` of a model's name in lower case, "" for any; the longest that fits counts."""

    by_beginning: dict[str, Price] = field(default_factory=dict)

    def of(self, model: str | None) -> Price | None:
        """The price of a model, None if there is none. A model that is not known has the price of any."""
        found = self.by_beginning
        if model is None:
            return found.get("")
        name = model.lower()
        beginnings = (beginning for beginning in found if name.startswith(beginning))
        longest = max(beginnings, key=len, default=None)
        return None if longest is None else found[longest]

    def __bool__(self) -> bool:
        return bool(self.by_beginning)


def read_prices(reader: Reader) -> Prices:
    """The prices; every entry that is none is a problem."""
    reader.chapter("Rate limits")
    prices, problems = parse_prices(reader.text(NAME, "", ABOUT))
    for problem in problems:
        reader.problem(NAME, problem)
    return prices


def parse_prices(text: str) -> tuple[Prices, list[str]]:
    """The prices in `text`, and what is wrong with the entries that are none."""
    found: dict[str, Price] = {}
    problems = []
    for position, entry in enumerate(_entries(text), start=1):
        model, _, price = (part.strip() for part in entry.rpartition("="))
        fits = _PRICE.fullmatch(price)
        beginning = model.removesuffix(ANY).lower()
        if not model or not fits or ANY in beginning:
            problems.append(f"entry {position} ({entry}): must be MODEL=INPUT/OUTPUT, such as gpt-4o=2.5/10")
        elif beginning in found:
            problems.append(f"entry {position} ({entry}): there is a price for {model} before it")
        else:
            inward, outward = float(fits[1]), float(fits[2])
            found[beginning] = Price(inward, outward, float(fits[3]) if fits[3] else inward)
    return Prices(found), problems


def _entries(text: str) -> Iterator[str]:
    for line in re.split(r"[\r\n]+", text):
        if not line.lstrip().startswith("#"):
            yield from (entry.strip() for entry in line.split(",") if entry.strip())


_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_PRICE = re.compile(rf"{_NUMBER}\s*/\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?")

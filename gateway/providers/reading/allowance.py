"""How many tokens a request allows its answer, in the members of the API that it calls and in no others."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.providers.reading.lenient import Members, count, mapping, member

MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Allowance:
    """The members that bound an answer's tokens, those that ask for several answers, and where both stand."""

    limits: tuple[str, ...]
    choices: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All members by name."""
        return (*self.limits, *self.choices, *self.within)

    def of(self, request: Members, otherwise: float) -> float:
        """The most that `request` allows; `otherwise` where it has no usable bound."""
        places = [mapping(member(request, name)) for name in self.within] if self.within else [request]
        return _most(places, self.limits, otherwise) * _most(places, self.choices, 1)


NO_ALLOWANCE: Final = Allowance(())


def _most(places: Iterable[Members], names: Iterable[str], otherwise: float) -> float:
    numbers = [_number(member(place, name)) for place in places for name in names]
    return max([number for number in numbers if number is not None], default=otherwise)


def _number(value: Any) -> int | None:
    """A number from 1 on, as a lenient server takes it: digits in a string are one."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) <= MAX_DIGITS:
        value = int(value)
    return count(value) or None

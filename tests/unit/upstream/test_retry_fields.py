"""What clients and providers say about calling again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from multidict import CIMultiDict

from gateway.errors import InvalidRequest
from gateway.upstream.retry_fields import Wish, patience_of, retry_after, wish_of


class Told:
    """A provider's answer with these fields, which lowers their values as responses do."""

    def __init__(self, **fields: str) -> None:
        self._fields = {name.replace("_", "-").encode(): value.lower().encode() for name, value in fields.items()}

    def field(self, name: bytes) -> bytes:
        return self._fields.get(name, b"")


@pytest.mark.parametrize(("told", "seconds"), [("1e-05", 1e-05), ("2.5e2", 250.0), ("0.333333333333", 0.333333333333)])
def test_a_number_may_be_written_as_programs_write_it(told: str, seconds: float) -> None:
    assert wish_of(CIMultiDict({"x-gateway-deadline": told})) == Wish(None, None, seconds)


def test_no_field_is_no_wish() -> None:
    assert wish_of(CIMultiDict({"x-stainless-read-timeout": "600"})) is None


def test_a_wish_is_read_whatever_its_names_case() -> None:
    fields = CIMultiDict({"X-GATEWAY-RETRIES": "2", "X-Gateway-Deadline": "1.5", "X-Stainless-Read-Timeout": "600.0"})
    assert wish_of(fields) == Wish(2, 600.0, 1.5)
    assert wish_of(CIMultiDict({"x-gateway-retries": "0"})) == Wish(0, None, None)


@pytest.mark.parametrize("told", ["", "x", "-1", "0x1", "nan", "inf", "1_0", "\u0661", "1" * 4000])
def test_an_sdks_word_that_cannot_be_read_is_none(told: str) -> None:
    assert patience_of(CIMultiDict({"x-stainless-read-timeout": told})) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [("x-gateway-retries", told) for told in ("", "-1", "1.0", " 1", "\u0661", "1000")]
    + [("x-gateway-deadline", told) for told in ("", "0", "0.0", "-1", "inf", "1e10", "1e", "soon")],
)
def test_a_wish_that_cannot_be_read_is_told(name: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wish_of(CIMultiDict({name: told}))
    assert caught.value.param == name
    assert told not in caught.value.message or len(told) < 2


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 0.0),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "soon"}, 0.0),
        ({"retry_after": "Mon, 01 Jan 0001 00:00:00 GMT"}, 0.0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "Wed, 99 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry_after": "1" * 400}, 0.0),
    ],
)
def test_how_long_a_provider_asks_to_be_left_alone(fields: dict[str, str], seconds: float) -> None:
    assert retry_after(Told(**fields)) == seconds


def test_a_date_is_understood_as_well() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after(Told(retry_after=then)) <= 30

"""What does not keep to its contract is told with the field and the reason, and nothing breaks the decoder."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gateway.downstream.contract_body import checked
from gateway.errors import InvalidRequest


class Place(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    tags: list[str] = []


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, Meta(max_length=5)]
    place: Place | None = None
    counts: dict[str, int] = {}
    limit: Annotated[int, Meta(ge=1)] | None = None
    weight: float = 1.0


DECODER = msgspec.json.Decoder(Asked)


def objection(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(InvalidRequest) as raised:
        checked(DECODER, body)
    return raised.value.message, raised.value.param


def test_what_keeps_to_the_contract_is_decoded() -> None:
    assert checked(DECODER, b'{"text":"abc","place":{"name":"x"}}') == Asked("abc", Place("x"))


@pytest.mark.parametrize(
    ("body", "means"),
    [
        (b'{"text":"a","limit":2.0}', Asked("a", limit=2)),
        (b'{"text":"a","limit":2e0,"weight":3.0}', Asked("a", limit=2, weight=3.0)),
        (b'{"text":"a","counts":{"a":1.0,"b":2}}', Asked("a", counts={"a": 1, "b": 2})),
    ],
)
def test_a_number_without_a_fraction_is_whole_however_it_is_written(body: bytes, means: Asked) -> None:
    assert checked(DECODER, body) == means


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"text":"abcdef"}', ("`text`: expected `str` of length <= 5.", "text")),
        (b'{"text":"a","place":{}}', ("Object missing required field `name`.", "place.name")),
        (b'{"text":"a","place":{"name":1}}', ("`place.name`: expected `str`, got `int`.", "place.name")),
        (b'{"text":"a","place":{"name":"x","nme":1}}', ("Object contains unknown field `nme`.", "place.nme")),
        (
            b'{"text":"a","place":{"name":"x","tags":[1]}}',
            ("`place.tags[0]`: expected `str`, got `int`.", "place.tags[0]"),
        ),
        (b'{"text":"a","counts":{"a":"b"}}', ("`counts[...]`: expected `int`, got `str`.", "counts[...]")),
        (b'{"text":"a","limit":2.5}', ("`limit`: expected `int | null`, got `float`.", "limit")),
        (b'{"text":"a","limit":0.0}', ("`limit`: expected `int` >= 1.", "limit")),
        (b"7", ("Expected `object`, got `int`.", None)),
        (b"null", ("Expected `object`, got `null`.", None)),
    ],
)
def test_the_field_is_named_with_what_is_wrong(body: bytes, told: tuple[str, str | None]) -> None:
    assert objection(body) == told


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text":"\\ud800"}',
        b'{"text":"\xff"}',
        b'{"text":NaN}',
        b'\xef\xbb\xbf{"text":"a"}',
        b'{"text":"a"} {}',
        b'{"text":"a"' + b" " * 10,
    ],
)
def test_what_is_no_json_is_told_as_such(body: bytes) -> None:
    assert objection(body) == ("The body is not valid JSON.", None)


def test_an_empty_body_is_told_as_such() -> None:
    assert objection(b"") == ("A JSON body is needed.", None)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"text":"a","counts":' + b'{"a":' * 200_000, b'{"place":{"tags":['])
def test_deep_and_broken_bodies_do_no_harm(body: bytes) -> None:
    objection(body)

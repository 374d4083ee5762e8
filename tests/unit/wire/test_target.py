"""What stands below a prefix stays there, byte for byte, or is refused."""

import pytest

from gateway.errors import InvalidRequest
from gateway.wire.target import below, has_parameter, parameter, without_parameter

PREFIX = "/provider/x"


@pytest.mark.parametrize(
    "rest",
    [
        "/",
        "/v1/models?",
        "/v1/models?a=..&b=/../",
        "/v1//a%2Fb;c=1?x=%20+",
        "/v1/..hidden/a..b/...",
        "/v1/%E4%BD%A0",
        "/v1beta/models/gemini-2.0-flash:generateContent",
        "/@host/x",
        "//host/x",
    ],
)
def test_what_stays_below_is_taken_verbatim(rest: str) -> None:
    assert below(PREFIX + rest, PREFIX) == rest


def test_the_bare_prefix_is_its_root() -> None:
    assert below(PREFIX, PREFIX) == "/"
    assert below(f"{PREFIX}?a=1", PREFIX) == "/?a=1"


@pytest.mark.parametrize(
    "rest",
    [
        "/..",
        "/../y",
        "/a/../../y",
        "/.",
        "/%2e%2e/y",
        "/%2E./y",
        "/.%2e",
        "/%252e%252e/y",
        "/%25252e%25252e/y",
        "/..%2fy",
        "/..%5cy",
        "/a\\..\\y",
        "/..;x=1/y",
        "/a b",
        "/a\x00",
        "/a#b",
        "y",
    ],
)
def test_what_leads_elsewhere_is_refused(rest: str) -> None:
    with pytest.raises(InvalidRequest):
        below(PREFIX + rest, PREFIX)


def test_another_spelling_of_the_prefix_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        below("/provider/%78/v1", PREFIX)


@pytest.mark.parametrize(
    ("query", "has"),
    [
        *(("ticket=", True), ("ticket", True), ("a=1&ticket=x&b", True)),
        *(("", False), ("parking_ticket=3", False), ("a=ticket=3", False), ("ticket%3D3", False), ("Ticket=3", False)),
    ],
)
def test_a_parameter_is_told_by_its_whole_name(query: str, has: bool) -> None:
    assert has_parameter(query, "ticket") is has


def test_a_parameter_is_found_and_taken_out_and_the_rest_stays_as_it_was() -> None:
    query = "a=1&ticket=x%2Dy&&b=%20+&ticket=z"
    assert parameter(query, "ticket") == "x-y"
    assert parameter(query, "tick") == ""
    assert without_parameter(query, "ticket") == "a=1&&b=%20+"

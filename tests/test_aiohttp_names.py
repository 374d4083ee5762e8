"""Whatever of aiohttp is used without being promised is listed, for either side of the gateway, in one test."""

import re

import aiohttp
import pytest

from tests.aiohttp_names import WRITTEN_AGAINST, files, private_in_aiohttp, private_names_used
from tests.needing import ROOT
from tests.unit.downstream import test_connection
from tests.unit.upstream import test_names_of_aiohttp

LISTED = {
    "downstream": (test_connection, "tests/unit/downstream/test_connection.py"),
    "upstream": (test_names_of_aiohttp, "tests/unit/upstream/test_names_of_aiohttp.py"),
}
OURS = {
    "gateway/downstream/connection.py": {"_finished", "_last", "_server"},
    "gateway/downstream/cors.py": {"_app"},
    "gateway/downstream/relayed.py": {"_length", "_lines", "_writer"},
    "gateway/downstream/runner.py": {"_timer"},
}
"""Names of our own that some class of aiohttp has too, but none that these derive from."""

USED = {path: set(private_names_used(ROOT / path, private_in_aiohttp())) - OURS.get(path, set()) for path in files()}


def listed(side: str) -> set[str]:
    tables = vars(LISTED[side][0])
    names = {name for _, name, *_ in tables["CALLED_OR_OVERRIDDEN"]}
    for table in ("HELD", "SET_BY_INIT"):
        names |= {name for _, held in tables.get(table, ()) for name in held.split()}
    # The error that a broken request is told by is listed with how it is made.
    return names | {getattr(owner, "__name__", "") for owner, *_ in tables["CALLED_OR_OVERRIDDEN"]}


@pytest.mark.parametrize("side", LISTED)
def test_what_aiohttp_does_not_promise_is_used_only_where_a_test_notices_that_it_moved(side: str) -> None:
    unlisted = {
        path: sorted(names - listed(side))
        for path, names in USED.items()
        if path.startswith(f"gateway/{side}/") and names - listed(side)
    }
    assert unlisted == {}, f"list these names in {LISTED[side][1]}, or do without them"


def test_nothing_else_in_the_gateway_leans_on_what_aiohttp_does_not_promise() -> None:
    sides = tuple(f"gateway/{side}/" for side in LISTED)
    assert {path: names for path, names in USED.items() if names and not path.startswith(sides)} == {}


@pytest.mark.parametrize("path", OURS)
def test_what_is_taken_for_ours_is_still_there(path: str) -> None:
    used = set(private_names_used(ROOT / path, private_in_aiohttp()))
    assert OURS[path] <= used, "a name that is gone need not be excused"


def test_aiohttp_is_pinned_to_the_minor_version_that_was_read() -> None:
    pins = re.findall(r"^aiohttp==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pins == [aiohttp.__version__]
    assert pins[0].startswith(f"{WRITTEN_AGAINST}."), (
        f"aiohttp {pins[0]}: the gateway was written against {WRITTEN_AGAINST}. Read anew what it leans on, as "
        f"{' and '.join(path for _, path in LISTED.values())} list it; then raise WRITTEN_AGAINST"
    )

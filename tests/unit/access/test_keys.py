"""Keys as an operator writes them."""

import dataclasses
import secrets
import uuid
from base64 import b32encode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.access import keys
from gateway.access.clients import Client, Clients
from gateway.access.keys import bits, digest_of, entry_for, new_key, parse, read_clients
from gateway.settings import Reader, SettingsError

SECRET = "pZ1xH2vQm8rT5yWc0KfLsJ7dNbGa3uEi"
OTHER = "Xk29sLwQ0vBnM4cRz7TyUjH8dFgPa1eS"


def read(text: str) -> Clients:
    reader = Reader({"GATEWAY_API_KEYS": text})
    clients = read_clients(reader)
    reader.finish()
    return clients


def problem_of(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(text)
    [problem] = caught.value.problems
    return problem


def test_entries_stand_apart_by_commas_or_line_ends() -> None:
    clients = read(f"\n# the team, and others\n a = {SECRET} \r\n\nb=sha256:{digest_of(OTHER).hex().upper()},")
    assert clients.find(SECRET.encode()) == Client("a")
    assert clients.find(OTHER.encode()) == Client("b")


def test_each_scope_is_read() -> None:
    client = read(f"a={SECRET};providers=openai|mock; projects = demo ;expires=2027-01-31").named("a")
    assert client == Client(
        "a",
        providers=frozenset({"openai", "mock"}),
        projects=frozenset({"demo"}),
        expires=datetime(2027, 2, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("scopes", "providers", "projects"),
    [
        ("", None, None),
        (";expires=2999-01-01;requests=5/minute", None, None),
        (";providers=openai", {"openai"}, set()),
        (";projects=demo", set(), {"demo"}),
        (";providers=openai;projects=*", {"openai"}, None),
        (";providers=*;projects=demo", None, {"demo"}),
        (";providers=*", None, set()),
        (";providers=none", set(), set()),
        (";providers=none;projects=none", set(), set()),
    ],
)
def test_a_key_that_names_what_it_may_use_has_nothing_else(
    scopes: str, providers: set[str] | None, projects: set[str] | None
) -> None:
    client = read(f"a={SECRET}{scopes}").named("a")
    assert client is not None
    assert (client.providers, client.projects) == (providers, projects)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2027-12-31", datetime(2028, 1, 1, tzinfo=UTC)),
        ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ("2027-01-31t12:00:00.5z", datetime(2027, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_key_expires_at_the_end_of_a_day_or_at_an_instant(text: str, instant: datetime) -> None:
    client = read(f"a={SECRET};expires={text}").named("a")
    assert client is not None
    assert client.expires == instant


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2027-02-30", "20270131", "2027-W05", "2027-01-31T12:00:00", "2027-01-31T25:00:00Z", "9999-12-31"],
)
def test_an_expiry_that_is_no_instant_is_a_problem(text: str) -> None:
    assert "entry 1 (a): scope expires must be a date such as 2027-01-31" in problem_of(f"a={SECRET};expires={text}")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (f"{SECRET}", "entry 1: must be id=secret or id=sha256:HEX"),
        (f"={SECRET}", "entry 1: must be id=secret"),
        (f"a b={SECRET}", "entry 1: must be id=secret"),
        (f"{'i' * 65}={SECRET}", "entry 1: must be id=secret"),
        ("a=", "entry 1 (a): the secret must be 1 to 512 visible ASCII characters"),
        (f"a={SECRET} {SECRET}", "entry 1 (a): the secret must be 1 to 512 visible ASCII characters"),
        (f"a={SECRET}é", "entry 1 (a): the secret must be 1 to 512 visible ASCII characters"),
        (f"a={new_key() * 12}", "entry 1 (a): the secret must be 1 to 512 visible ASCII characters"),
        ("a=sha256:abc", "entry 1 (a): sha256: must be followed by 64 hexadecimal digits"),
        (f"a={SECRET};", "entry 1 (a): scope 1 has no known name; there are concurrent, cost, expires, "),
        (f"a={SECRET};admin=yes", "entry 1 (a): scope 1 has no known name"),
        (f"a={SECRET};providers=", "entry 1 (a): scope providers must be names separated by |, or * for all, or none"),
        (f"a={SECRET};providers=openai||mock", "entry 1 (a): scope providers must be names separated by |"),
        (f"a={SECRET};providers=openai|none", "entry 1 (a): scope providers must be names separated by |"),
        (f"a={SECRET};projects=demo|*", "entry 1 (a): scope projects must be names separated by |"),
        (f"a={SECRET};projects=x;projects=y", "entry 1 (a): scope projects is given twice"),
    ],
)
def test_an_entry_that_is_none_is_a_problem_that_says_what_would_be_right(entry: str, told: str) -> None:
    problem = problem_of(entry)
    assert problem.startswith(f"GATEWAY_API_KEYS: {told}")
    assert SECRET not in problem


@pytest.mark.parametrize(
    "secret",
    [
        "short",
        "a" * 40,
        "abcd" * 10,
        "31415926535897932384626433832795",
        "a1b2c3d4" * 3,
        "my-team-key-for-gateway",
        "75994c7bd39e650360d200ee6afaa1",
        "E88LmLgIdTDWIySOsq3l",
        "changeme-changeme-1234567890-abcdefgh",
        "Please-Change-Me-In-Production-0123456789",
        "<your-api-key-here-0123456789-xyz>",
    ],
)
def test_a_secret_under_128_bits_is_refused_and_not_shown(secret: str) -> None:
    problem = problem_of(f"a={secret}")
    assert problem.startswith("GATEWAY_API_KEYS: entry 1 (a): the secret is a placeholder or has less than 128 bits")
    assert secret not in problem


@pytest.mark.parametrize(
    "make",
    [
        new_key,
        lambda: secrets.token_hex(16),
        lambda: secrets.token_hex(16).upper(),
        lambda: secrets.token_urlsafe(17),
        lambda: secrets.token_urlsafe(32),
        lambda: b32encode(secrets.token_bytes(20)).decode(),
        lambda: str(uuid.uuid4()),
    ],
)
def test_a_random_secret_is_never_refused_whoever_made_it(make) -> None:  # type: ignore[no-untyped-def]
    assert all(bits(make()) >= 128 for _ in range(500))


def test_a_new_key_has_256_bits_and_is_another_each_time() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {len("gw_") + 43}
    assert all(key.startswith("gw_") for key in made)


def test_the_entry_for_a_key_lets_it_in_without_telling_it() -> None:
    secret = new_key()
    entry = entry_for("team-a", secret)
    assert secret not in entry
    assert read(entry).find(secret.encode()) == Client("team-a")


def test_ids_and_secrets_are_given_once() -> None:
    _, problems = parse(f"a={SECRET}\na={OTHER}\nb={SECRET}\nc=sha256:{digest_of(SECRET).hex()}")
    assert problems == [
        "entry 2 (a): this id is taken by an entry before it",
        "entry 3 (b): this secret is the same as that of an entry before it",
        "entry 4 (c): this secret is the same as that of an entry before it",
    ]


def test_a_secret_in_the_place_of_an_id_is_not_shown() -> None:
    problem = problem_of(f"{SECRET}=team-a")
    assert problem.startswith("GATEWAY_API_KEYS: entry 1: the secret is a placeholder")
    assert SECRET not in problem


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"a=weak,nonsense,b={SECRET},c={OTHER};nope=1")
    assert [problem.partition("(")[0].partition(": m")[0] for problem in caught.value.problems] == [
        "GATEWAY_API_KEYS: entry 1 ",
        "GATEWAY_API_KEYS: entry 2",
        "GATEWAY_API_KEYS: entry 4 ",
    ]


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since January\na={SECRET};projects=demo\n\n  # the other, too\nb={OTHER}\n")
    reader = Reader({"GATEWAY_API_KEYS_FILE": str(file)})
    assert [client.id for client in read_clients(reader)] == ["a", "b"]
    reader.finish()


@pytest.mark.parametrize("text", ["# nothing yet", ",", "\n,\n"])
def test_a_variable_without_an_entry_is_a_problem(text: str) -> None:
    assert problem_of(text).startswith("GATEWAY_API_KEYS: holds no entry")


def test_what_keys_may_use_can_be_left_unbounded_for_all_of_them_at_once() -> None:
    entry = f"alice={SECRET};providers=openai;projects=demo;expires=2027-01-31;requests=5/minute"
    [scoped] = read_clients(Reader({"GATEWAY_API_KEYS": entry}))
    [free] = read_clients(Reader({"GATEWAY_API_KEYS": entry, "GATEWAY_KEY_SCOPES": "off"}))
    assert not scoped.may_use_project("other") and not scoped.may_use_provider("other")
    assert free.may_use_project("other") and free.may_use_provider("other")
    assert (free.expires, free.requests) == (scoped.expires, scoped.requests)


def test_each_scope_is_a_bound_that_a_client_may_have() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(Client)}
    assert {fields[scope] for scope in keys.SCOPES} == {None}
    assert {"providers", "projects", "expires"} <= set(keys.SCOPES)

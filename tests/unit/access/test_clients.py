"""Clients by the digests of their keys."""

import dataclasses
from datetime import UTC, datetime

import pytest

from gateway.access.clients import Client, Clients, Key
from gateway.access.keys import digest_of

SECRET = "gw_pZ1xH2vQm8rT5yWc0KfLsJ7dNbGa3uEi6oXAqVh4RtY"
OTHER = "gw_Xk29sLwQ0vBnM4cRz7TyUjH8dFgPa1eSo3iKq5hVxNE"


def clients(*pairs: tuple[str, Client]) -> Clients:
    return Clients(Key(digest_of(secret), client) for secret, client in pairs)


def test_a_client_is_found_by_its_key_alone() -> None:
    known = clients((SECRET, Client("team-a")), (OTHER, Client("team-b")))
    assert known.find(SECRET.encode()) == Client("team-a")
    assert known.find(OTHER.encode()) == Client("team-b")
    for wrong in (b"", SECRET[:-1].encode(), SECRET.encode() + b" ", SECRET.lower().encode(), digest_of(SECRET)):
        assert known.find(wrong) is None


def test_a_client_is_known_by_its_id_as_long_as_it_is_one() -> None:
    known = clients((SECRET, Client("team-a")))
    assert known.named("team-a") == Client("team-a")
    assert known.named("team-b") is None


def test_new_clients_take_the_place_of_the_old_ones_at_once() -> None:
    known = clients((SECRET, Client("team-a")))
    known.replace(clients((OTHER, Client("team-b"))))
    assert known.find(SECRET.encode()) is None
    assert known.find(OTHER.encode()) == Client("team-b")
    assert known.named("team-a") is None
    assert [client.id for client in known] == ["team-b"]
    assert len(known) == 1


def test_a_client_without_scopes_may_use_everything() -> None:
    client = Client("a")
    assert client.may_use_provider("openai")
    assert client.may_use_project("demo")
    assert not client.expired(4e9)


def test_a_client_with_scopes_may_use_what_they_name() -> None:
    client = Client("a", providers=frozenset({"openai"}), projects=frozenset())
    assert client.may_use_provider("openai")
    assert not client.may_use_provider("mock")
    assert not client.may_use_project("demo")


def test_a_key_is_good_until_the_instant_it_expires() -> None:
    client = Client("a", expires=datetime(2027, 2, 1, tzinfo=UTC))
    assert not client.expired(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    assert client.expired(datetime(2027, 2, 1, tzinfo=UTC).timestamp())


def test_neither_a_secret_nor_a_digest_is_ever_shown() -> None:
    known = clients((SECRET, Client("team-a")))
    key = Key(digest_of(SECRET), Client("team-a"))
    shown = f"{known!r} {known} {key!r} {list(known)!r}"
    assert SECRET not in shown
    assert digest_of(SECRET).hex() not in shown
    assert repr(digest_of(SECRET)) not in shown


def test_a_client_cannot_be_changed_by_who_is_given_it() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Client("a").id = "b"  # type: ignore[misc]

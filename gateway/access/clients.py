"""Who may call: clients, known by the digests of their keys.

Rule 1: a key is looked at once, to take its digest; no key is kept, and no digest is shown.
Rule 2: what a key may do is a field of its `Client`, None where there is no bound.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest

from gateway.settings.limits import Bounds


@dataclass(frozen=True, slots=True)
class Client:
    """The holder of a key. `expires` is the first instant at which the key is no longer good."""

    id: str
    providers: frozenset[str] | None = None
    projects: frozenset[str] | None = None
    expires: datetime | None = None
    requests: Bounds | None = None
    tokens: Bounds | None = None
    input_tokens: Bounds | None = None
    output_tokens: Bounds | None = None
    cost: Bounds | None = None
    concurrent: Bounds | None = None

    def may_use_provider(self, name: str) -> bool:
        return self.providers is None or name in self.providers

    def may_use_project(self, name: str) -> bool:
        return self.projects is None or name in self.projects

    def expired(self, now: float) -> bool:
        """Whether the key is no longer good at `now`, in Unix seconds."""
        return self.expires is not None and now >= self.expires.timestamp()


@dataclass(frozen=True, slots=True)
class Key:
    """The SHA-256 of a secret, and whose it is."""

    digest: bytes = field(repr=False)
    client: Client


class Clients:
    """All clients there are; replaceable as a whole while requests are served, which makes a new `generation`."""

    __slots__ = ("_by_digest", "_by_id", "generation")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.generation = object()
        self._by_digest = {key.digest: key for key in keys}
        self._by_id = {key.client.id: key.client for key in self._by_digest.values()}

    def find(self, secret: bytes) -> Client | None:
        """The client whose key is `secret`, expired or not.

        The time a look-up takes depends on the secret's digest alone, which a caller cannot steer towards one that is
        known; the comparison that decides takes the same time for all.
        """
        digest = sha256(secret).digest()
        key = self._by_digest.get(digest)
        if key is None or not compare_digest(key.digest, digest):
            return None
        return key.client

    def named(self, client_id: str) -> Client | None:
        """The client with that id, if there is one (still)."""
        return self._by_id.get(client_id)

    def replace(self, others: "Clients") -> None:
        """From now on `others` are the clients. Requests that are known already go on."""
        self._by_digest, self._by_id = others._by_digest, others._by_id
        self.generation = object()

    def __iter__(self) -> Iterator[Client]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"Clients({len(self)})"

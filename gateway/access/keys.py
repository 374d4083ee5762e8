"""Keys as an operator writes them: `id=secret` or `id=sha256:HEX`, then `;name=value` for each scope.

Entries are separated by commas or line ends; blank lines and lines that begin with `#` are ignored. A scope is a field
of `Client` and a line in `SCOPES`. A key that names `providers` or `projects` may use only what it names.

Rule: a problem names the entry by its position and id, never by anything that might be a secret.
"""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from math import log2
from typing import Any

from gateway.access.clients import Client, Clients, Key
from gateway.settings import Reader
from gateway.settings.limits import Unit, scope

NAME = "GATEWAY_API_KEYS"
ABOUT = (
    "Comma- or newline-separated client keys: `id=secret` or `id=sha256:HEX`, then scopes, such as "
    "`;providers=openai|mock;projects=demo;expires=2027-01-31;requests=100/minute`. A key that names `providers` or "
    "`projects` may use only what it names; `*` is all, `none` is none. `python -m gateway keys new ID` makes one"
)
ABOUT_SCOPES = "Hold keys to their scopes `providers` and `projects`; false: every key may use all that is served"

RESOURCE_SCOPES = ("providers", "projects")  # of which a key that names either has only what it names
ALL = "*"
NONE = "none"

PREFIX = "gw_"
LEAST_BITS = 128
LEAST_LENGTH = 22  # of 6 bits each
LEAST_DISTINCT = 5
LONGEST = 512
PLACEHOLDERS = ("changeme", "changethis", "replaceme", "placeholder", "yourkey", "yourapikey", "yoursecret")

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VISIBLE = re.compile(r"[!-~]+")
_HEX_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_TOO_WEAK = f"the secret is a placeholder or has less than {LEAST_BITS} bits; `python -m gateway keys new ID` makes one"


def read_clients(reader: Reader) -> Clients:
    """The clients of GATEWAY_API_KEYS; none if it is not set."""
    reader.chapter("Clients")
    configured = reader.secret(NAME, ABOUT)
    scoped = reader.flag("GATEWAY_KEY_SCOPES", True, ABOUT_SCOPES)
    if configured is None:
        return Clients()
    keys, problems = parse(configured.reveal())
    if not keys and not problems:
        problems.append("holds no entry; one is id=secret or id=sha256:HEX")
    for problem in problems:
        reader.problem(NAME, problem)
    return Clients(keys if scoped else map(_unscoped, keys))


def new_key() -> str:
    """A secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    return sha256(secret.encode("utf-8")).digest()


def entry_for(client_id: str, secret: str) -> str:
    """The entry that lets `secret` in without telling it."""
    return f"{client_id}=sha256:{digest_of(secret).hex()}"


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def parse(text: str) -> tuple[list[Key], list[str]]:
    """The keys in `text`, and what is wrong with the entries that give none."""
    keys: dict[bytes, Key] = {}
    ids: set[str] = set()
    problems = []
    for position, entry in enumerate(_entries(text), start=1):
        label = f"entry {position}"
        try:
            client_id, has_secret, rest = (part.strip() for part in entry.partition("="))
            if not has_secret or not is_id(client_id):
                raise ValueError("must be id=secret or id=sha256:HEX, the id 1 to 64 of A-Z a-z 0-9 . _ -")
            if len(client_id) < LEAST_LENGTH or bits(client_id) < LEAST_BITS:  # else a secret in the wrong place
                label = f"entry {position} ({client_id})"
            key = _key(client_id, rest)
            if client_id in ids:
                raise ValueError("this id is taken by an entry before it")
            if key.digest in keys:
                raise ValueError("this secret is the same as that of an entry before it")
        except ValueError as error:
            problems.append(f"{label}: {error}")
        else:
            ids.add(client_id)
            keys[key.digest] = key
    return list(keys.values()), problems


def bits(secret: str) -> float:
    """How many random bits `secret` may hold at most, judged by its length and its alphabet.

    Digits alone count log2(10) each, hexadecimal digits of one case 4, characters of one case log2(36), and mixed case
    6; fewer than five different ones count nothing. It is an upper bound: whether characters were chosen at random
    cannot be seen, and to guess at it would refuse random keys now and then.
    """
    if len(set(secret)) < LEAST_DISTINCT:
        return 0.0
    if secret.lower() != secret and secret.upper() != secret:
        return 6.0 * len(secret)
    letters = re.sub(r"[^0-9a-z]", "", secret.lower())
    if letters.isdigit():
        return log2(10) * len(letters)
    if not letters.strip("0123456789abcdef"):
        return 4.0 * len(letters)
    return log2(36) * len(secret)


def _entries(text: str) -> Iterator[str]:
    for line in re.split(r"[\r\n]+", text):
        if not line.lstrip().startswith("#"):
            yield from (entry.strip() for entry in line.split(",") if entry.strip())


def _key(client_id: str, rest: str) -> Key:
    """Raises ValueError with what would be right."""
    secret, *scopes = (part.strip() for part in rest.split(";"))
    return Key(_digest(secret), Client(client_id, **_scopes(scopes)))


def _unscoped(key: Key) -> Key:
    return replace(key, client=replace(key.client, providers=None, projects=None))


def _digest(secret: str) -> bytes:
    algorithm, is_digest, digest = secret.partition(":")
    if is_digest and algorithm.lower() == "sha256":
        if not _HEX_DIGEST.fullmatch(digest):
            raise ValueError("sha256: must be followed by 64 hexadecimal digits")
        return bytes.fromhex(digest)
    if not _VISIBLE.fullmatch(secret) or len(secret) > LONGEST:
        raise ValueError(f"the secret must be 1 to {LONGEST} visible ASCII characters, none of them , or ;")
    plain = re.sub(r"[^a-z]", "", secret.lower())
    if bits(secret) < LEAST_BITS or any(placeholder in plain for placeholder in PLACEHOLDERS):
        raise ValueError(_TOO_WEAK)
    return digest_of(secret)


def _scopes(parts: list[str]) -> dict[str, Any]:
    scopes: dict[str, Any] = {}
    for position, part in enumerate(parts, start=1):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in SCOPES:  # not shown: it may be the rest of a secret
            raise ValueError(f"scope {position} has no known name; there are {', '.join(sorted(SCOPES))}")
        if name in scopes:
            raise ValueError(f"scope {name} is given twice")
        try:
            scopes[name] = SCOPES[name](value)
        except ValueError as error:
            raise ValueError(f"scope {name} {error}") from None
    if not scopes.keys().isdisjoint(RESOURCE_SCOPES):
        scopes = dict.fromkeys(RESOURCE_SCOPES, frozenset[str]()) | scopes
    return scopes


def _names(text: str) -> frozenset[str] | None:
    """The names in `text`; None for all there are."""
    if text == ALL:
        return None
    names = [name.strip() for name in text.split("|")]
    if names == [NONE]:
        return frozenset()
    if not all(is_id(name) and name != NONE for name in names):
        raise ValueError(f"must be names separated by |, or {ALL} for all, or {NONE}")
    return frozenset(names)


def _instant(text: str) -> datetime:
    try:
        if _DATE.fullmatch(text):  # good until the day's end
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
        if _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a date such as 2027-01-31 (its end, UTC) or an instant such as 2027-01-31T12:00:00Z")


SCOPES: Mapping[str, Callable[[str], Any]] = {
    "providers": _names,
    "projects": _names,
    "expires": _instant,
    **{unit.value: scope(unit) for unit in Unit},
}
"""Each scope's name, and what reads its value: ValueError, with what would be right, if it is none."""

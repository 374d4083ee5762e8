"""Reads the fields that an operator sets on every request to a provider: the one with its key, and further ones."""

import re
from dataclasses import replace

from gateway.providers.provider import Credential, Provider
from gateway.settings import Reader, Secret
from gateway.wire.headers import CREDENTIALS, reaches_a_provider

SUFFIXES = ("_CREDENTIAL_FIELD", "_FIELDS", "_FIELDS_FILE")

ABOUT_CREDENTIAL = (
    "Field that carries a provider's key, such as `xi-api-key`, or with a template in which {} is the key: "
    "`Authorization: Token {}`; not set: the provider's own"
)
ABOUT_FIELDS = (
    "Further fields of every request to a provider, replacing the client's, separated by `;` or line ends: "
    "`X-Team=search;X-Tier=batch`"
)
WRONG_CREDENTIAL = "must be the name of a field that can hold a key, or `name: template` with one {} for the key"
WRONG_FIELDS = (
    "must be fields as name=value, separated by ; or line ends; none that belongs to the connection (Host), to the "
    "body (Content-Type) or to the gateway, and none that holds a key"
)

_TEMPLATE = re.compile(r"[ -z|~]*\{\}[ -z|~]*")
_VALUE = re.compile(r"[!-~]+(?:[ \t]+[!-~]+)*")
_COOKIES = frozenset({b"cookie", b"cookie2"})
_OF_THE_MESSAGE = frozenset({b"via", b"accept-encoding"})


def with_own_fields(reader: Reader, provider: Provider, prefix: str, family: str) -> Provider:
    """The provider with the fields that the variables beginning with `prefix` configure."""
    credential = _credential(reader, provider.credential, f"{prefix}_CREDENTIAL_FIELD", f"{family}_CREDENTIAL_FIELD")
    fields = _fields(reader, f"{prefix}_FIELDS", f"{family}_FIELDS")
    if credential is not None and credential.header.lower() in [name.lower() for name, _ in fields]:
        reader.problem(f"{prefix}_FIELDS", WRONG_FIELDS)
    return replace(provider, credential=credential, fields=fields)


def _credential(reader: Reader, credential: Credential | None, name: str, family: str) -> Credential | None:
    value = reader.text(name, "", ABOUT_CREDENTIAL, as_name=family)
    if not value:
        return credential
    header, colon, template = (part.strip() for part in value.partition(":"))
    template = template if colon else "{}"
    if not _may_hold_a_key(header) or not _TEMPLATE.fullmatch(template):
        reader.problem(name, WRONG_CREDENTIAL)
        reader.values[name] = "(not usable)"  # the key itself may stand there
        return credential
    return replace(credential or Credential(header), header=header, template=template, bearer_below="")


def _fields(reader: Reader, name: str, family: str) -> tuple[tuple[str, Secret], ...]:
    given = reader.secret(name, ABOUT_FIELDS, as_name=family)
    entries = [] if given is None else [entry.strip() for entry in re.split("[;\n]", given.reveal())]
    fields = []
    for entry in filter(None, entries):
        field, _, value = (part.strip() for part in entry.partition("="))
        if not _may_be_set(field) or not _VALUE.fullmatch(value):
            reader.problem(name, WRONG_FIELDS)
            return ()
        fields.append((field, Secret(value)))
    if fields:
        reader.values[name] = "; ".join(f"{field}=***" for field, _ in fields)
    return tuple(fields)


def _may_hold_a_key(name: str) -> bool:
    lower = name.lower().encode("utf-8")
    return lower in CREDENTIALS - _COOKIES or _may_be_set(name)


def _may_be_set(name: str) -> bool:
    lower = name.lower().encode("utf-8")
    return reaches_a_provider(lower) and lower not in _OF_THE_MESSAGE and not lower.startswith(b"content-")

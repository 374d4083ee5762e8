"""What a person at a terminal is told: the resolved configuration, and the first steps with the embedded default.

Rule: everything here may be shown to anyone who looks over a shoulder, but for the demo key, which is made to be shown.
"""

import shlex
import sys
from datetime import datetime

from gateway.access.clients import Client
from gateway.access.keys import ALL, NONE, RESOURCE_SCOPES, SCOPES
from gateway.configuration import Configuration
from gateway.providers.catalog import KNOWN, missing, sources
from gateway.providers.provider import Provider
from gateway.settings import Reader

Row = tuple[str, ...]

WIDEST = 48  # characters of a column

WELCOME = """\
Nothing is configured, so this is the embedded default: the bundled mock upstream as provider "mock".

  Demo key    {key}
              (another at each start; see .env.example for real providers and keys)

  A JSON document
    curl -s '{address}/provider/mock/v1/chat/completions' -H 'X-API-Key: {key}' \\
      -H 'Content-Type: application/json' \\
      -d '{{"model":"mock-model","messages":[{{"role":"user","content":"Hello"}}]}}'

  A stream
    curl -N -s '{address}/provider/mock/v1/chat/completions' -H 'X-API-Key: {key}' \\
      -H 'Content-Type: application/json' \\
      -d '{{"model":"mock-model","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

  The openai SDK
    {python} -m pip install -q openai
    OPENAI_BASE_URL='{address}/provider/mock/v1' OPENAI_API_KEY={key} {python} -c '
from openai import OpenAI
asked = [{{"role": "user", "content": "Hello"}}]
print(OpenAI().chat.completions.create(model="mock-model", messages=asked).choices[0].message.content)'

  Demo page   {address}/demo
  Clients     docs/clients.md, for Claude Code, Codex, LangChain and others
  API docs    {address}/docs
"""


def welcome(address: str, key: str) -> str:
    """The first steps with the embedded default, ready to be pasted."""
    return WELCOME.format(address=address, key=key, python=shlex.quote(sys.executable))


def resolved(reader: Reader, configuration: Configuration, now: float) -> str:
    """What is configured and why, as tables; `now` in Unix seconds. Secrets are ***."""
    chapters: dict[str, list[Row]] = {
        "Settings": _settings(reader),
        "Providers": _providers(reader, configuration),
        "Clients": [_client(client, now) for client in configuration.clients],
        "Warnings": [(warning,) for warning in configuration.warnings],
    }
    return "\n".join(f"{title}\n{_table(rows)}" for title, rows in chapters.items() if rows)


def _settings(reader: Reader) -> list[Row]:
    return [
        (name, value, "" if reader.is_set(name) else "default")
        for name, value in sorted(reader.values.items())
        if value
    ]


def _providers(reader: Reader, configuration: Configuration) -> list[Row]:
    if configuration.is_embedded_default:
        return [("mock", "on", "the embedded default, since nothing is configured")]
    served = {provider.name for provider in configuration.providers}
    on = [_served(reader, provider) for provider in configuration.providers]
    off = [(name, "off", f"set {' and '.join(missing(known))}") for name, known in KNOWN.items() if name not in served]
    return [*on, *off]


def _served(reader: Reader, provider: Provider) -> Row:
    return (
        provider.name,
        "on",
        f"by {', '.join(sources(reader, provider))}",
        str(provider.base_url),
        provider.dialect.name,
    )


def _client(client: Client, now: float) -> Row:
    bounds = [
        f"{name}={_shown(bound)}"
        for name in SCOPES
        if (bound := getattr(client, name)) is not None or name in RESOURCE_SCOPES
    ]
    return client.id, " ".join(bounds), "expired" if client.expired(now) else ""


def _shown(bound: object) -> str:
    """A scope's value as GATEWAY_API_KEYS writes it."""
    if bound is None:
        return ALL
    if isinstance(bound, frozenset):
        return "|".join(sorted(bound)) or NONE
    return bound.isoformat() if isinstance(bound, datetime) else str(bound)


def _table(rows: list[Row]) -> str:
    columns = range(max(map(len, rows)))
    cells = [[row[column] for row in rows if column < len(row) - 1] for column in columns]
    # A cell that is longer stands out; one long list must not push everything else off the screen.
    widths = [max((len(cell) for cell in column if len(cell) <= WIDEST), default=0) for column in cells]
    return "".join(_line(row, widths) for row in rows)


def _line(row: Row, widths: list[int]) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
    return "  " + "  ".join(cells).rstrip() + "\n"

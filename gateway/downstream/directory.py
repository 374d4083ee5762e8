"""The messages of the gateway's own 404s: where providers and projects are, and which of them the key may use.

Rule: a message mentions only names that the key may use, and repeats nothing of the request but a plain name.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Final

from gateway.access.clients import Client
from gateway.downstream.provider_contract import base_path
from gateway.errors import GatewayError, NotFound, ProviderNotConfigured
from gateway.projects.project import Project
from gateway.providers.declarations import CUSTOMS
from gateway.providers.provider import Dialect, Provider

MAX_LISTED: Final = 8
MAX_COMPARED: Final = 64  # names; a comparison takes up to 0.1 ms
MAX_LENGTH: Final = 32  # characters of a name that is compared
WHERE = (
    "Providers are at /provider/<name>/, projects at /projects/<name>/; GET /provider and GET /projects list those "
    "that this key may use."
)


@dataclass(frozen=True, slots=True)
class Directory:
    """The providers and projects that are served."""

    providers: Sequence[Provider]
    projects: Sequence[Project]

    def not_found(self, path: str, client: Client, origin: str) -> GatewayError:
        """The error for a raw `path` that leads nowhere; `client` reaches the gateway at `origin`."""
        first, name = [*path[1:].split("/", 2), ""][:2]
        if first == "provider":
            return self.provider_not_configured(name, client)
        if first == "projects":
            return self._project_not_found(name, client)
        dialect = next((dialect for dialect, has in _API_PATHS.items() if has(path)), None)
        hint = self._close_to(first, name, client) if dialect is None else self._base_url(dialect, client, origin)
        return NotFound(f"Nothing is served at this path. {hint or WHERE}")

    def provider_not_configured(self, name: str, client: Client) -> GatewayError:
        """The error for a provider `name` that is not served."""
        names = [provider.name for provider in self._providers_of(client)]
        shown = f"No provider{_shown(name)} is configured on this gateway." if name else "The path names no provider."
        return ProviderNotConfigured(_sentences(shown, _did_you_mean(_closest(name, names)), _usable(names)))

    def _project_not_found(self, name: str, client: Client) -> GatewayError:
        projects = self._projects_of(client)
        if name in projects:
            endpoints = [projects[name].prefix + endpoint.operation.path for endpoint in projects[name].endpoints]
            return NotFound(f"Nothing is served at this path. The project {name} is at {_listed(endpoints)}.")
        shown = f"No project{_shown(name)} is served."
        listed = "GET /projects lists those that this key may use."
        return NotFound(_sentences(shown, _did_you_mean(_closest(name, projects)), listed))

    def _base_url(self, dialect: str, client: Client, origin: str) -> str:
        """The base URL to use, for a client that calls a provider's API at the gateway's root."""
        providers = self._providers_of(client)
        fitting = next((provider for provider in providers if provider.dialect.name == dialect), None)
        base_url = "" if fitting is None else f"The base URL for {fitting.name} is {origin}{base_path(fitting)}."
        return _sentences("Providers are at /provider/<name>/.", base_url, _usable([each.name for each in providers]))

    def _close_to(self, first: str, name: str, client: Client) -> str:
        """A suggestion for a misspelled path; "" if nothing is similar."""
        close = _closest(first, ("provider", "projects"))
        if close == "projects":
            project = _closest(name, self._projects_of(client))
            return project and _sentences(_did_you_mean(f"/projects/{project}/"), WHERE)
        names = [provider.name for provider in self._providers_of(client)]
        provider = _closest(name if close else first, names)
        return provider and _sentences(_did_you_mean(f"/provider/{provider}/"), WHERE)

    def _providers_of(self, client: Client) -> list[Provider]:
        return [provider for provider in self.providers if client.may_use_provider(provider.name)]

    def _projects_of(self, client: Client) -> dict[str, Project]:
        return {project.name: project for project in self.projects if client.may_use_project(project.name)}


# In order: the first dialect that has a path wins.
_API_PATHS: Final = {
    "anthropic": re.compile(r"(?:/v1)?/(?:messages|complete)(?:/|$)").match,
    "gemini": re.compile(r"/v1(?:alpha|beta)\d*(?:/|$)|/v1/models/[^/]+:[A-Za-z]+$").match,
    "openai": re.compile(
        r"/v1(?:/|$)|/(?:chat|completions|responses|embeddings|models|images|audio|files|batches)(?:/|$)"
    ).match,
}
_PROBLEM_UNREAD: Final = ("anthropic", "gemini")  # some of their SDKs read nothing but their own API's errors
_is_name: Final = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch


def dialect_meant(path: str) -> Dialect | None:
    """The dialect to write an error in at a raw `path` outside of any provider, None for a problem document."""
    below = re.sub("^/provider/[^/]*", "", path)
    return next((CUSTOMS[name].dialect for name in _PROBLEM_UNREAD if _API_PATHS[name](below)), None)


def _closest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` may be a misspelling of; "" if there is none."""
    if len(name) > MAX_LENGTH or not _is_name(name):
        return ""
    return next(iter(get_close_matches(name.lower(), islice(names, MAX_COMPARED), 1, cutoff=0.7)), "")


def _did_you_mean(close: str) -> str:
    return f"Did you mean {close}?" if close else ""


def _shown(name: str) -> str:
    return f" {name}" if _is_name(name) else " of this name"


def _usable(names: Sequence[str]) -> str:
    return f"This key may use {_listed(names)}; GET /provider lists them." if names else "This key may use none."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED])
    return shown if len(names) <= MAX_LISTED else f"{shown} and {len(names) - MAX_LISTED} more"


def _sentences(*sentences: str) -> str:
    return " ".join(filter(None, sentences))

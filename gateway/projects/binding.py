"""Gives each role of a project the model that settings name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.projects.loading import load
from gateway.projects.project import Project
from gateway.providers.provider import Provider
from gateway.settings import Reader
from gateway.settings.projects import Binding, read_projects, read_role
from gateway.upstream.chat import Model

MOCK_MODEL = "mock/mock-model"


@dataclass(frozen=True, slots=True)
class BoundProject:
    """A project, and what each of its roles is bound to."""

    project: Project
    bindings: Mapping[str, Binding]

    def models(self, providers: Mapping[str, Provider]) -> dict[str, Model]:
        """The model for each role, from the providers that are served."""
        return {role: Model(providers[bound.provider], bound.model) for role, bound in self.bindings.items()}


def configured_projects(reader: Reader, providers: Collection[str], *, embedded: bool) -> tuple[BoundProject, ...]:
    """The projects that are on, bound to `providers`. Problems are noted with `reader`.

    The embedded default serves the demo; wherever the mock upstream is a provider, it plays roles that are not set.
    """
    names = read_projects(reader) or (("demo",) if embedded else ())
    default = MOCK_MODEL if MOCK_MODEL.partition("/")[0] in providers else ""
    return tuple(bind(project, reader, providers, default) for project in load(names, reader))


def bind(project: Project, reader: Reader, providers: Collection[str], default: str = "") -> BoundProject:
    """Read the project's roles; `default` is the model for those that are not set. Problems are noted with `reader`."""
    bindings = {}
    for role, does in project.roles.items():
        binding = read_role(reader, project.name, role, does, default)
        if binding is None:
            continue
        if binding.provider in providers:
            bindings[role] = binding
        else:
            there_are = ", ".join(sorted(providers)) or "none"
            reader.problem(
                binding.variable, f"names the provider {binding.provider!r}, which is not on; there are: {there_are}"
            )
    return BoundProject(project, bindings)

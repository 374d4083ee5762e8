"""Gives each role of a project the model that settings name."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.projects.project import Project
from gateway.providers.provider import Provider
from gateway.settings import Reader
from gateway.settings.projects import Binding, read_role
from gateway.upstream.chat import Model


@dataclass(frozen=True, slots=True)
class BoundProject:
    """A project whose every role has a model."""

    project: Project
    models: Mapping[str, Model]


def bind(project: Project, reader: Reader, providers: Mapping[str, Provider], default: str = "") -> BoundProject:
    """Read the project's roles; `default` is the model for those that are not set. Problems are noted with `reader`."""
    models = {}
    for role, does in project.roles.items():
        binding = read_role(reader, project.name, role, does, default)
        if binding is not None and (model := _model(binding, reader, providers)):
            models[role] = model
    return BoundProject(project, models)


def _model(binding: Binding, reader: Reader, providers: Mapping[str, Provider]) -> Model | None:
    provider = providers.get(binding.provider)
    if provider is None:
        configured = ", ".join(sorted(providers)) or "none"
        reader.problem(
            binding.variable,
            f"names the provider {binding.provider!r}, which is not configured; there are: {configured}",
        )
        return None
    return Model(provider, binding.model)

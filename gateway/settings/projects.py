"""Which projects are on, and which model plays which role in them."""

import re
from dataclasses import dataclass

from gateway.settings.reader import Reader

ROLE_FAMILY = "GATEWAY_PROJECT_<NAME>_ROLE_<ROLE>"


@dataclass(frozen=True, slots=True)
class Binding:
    """What a role is bound to; `variable` is the setting that says so."""

    variable: str
    provider: str
    model: str


def read_projects(reader: Reader) -> tuple[str, ...]:
    """The names of the projects to serve."""
    reader.chapter("Projects")
    names = reader.names(
        "GATEWAY_PROJECTS",
        (),
        "Comma-separated projects to serve: built-in ones such as demo, or installed ones; "
        "not set: none, or demo in the embedded default",
    )
    return tuple(dict.fromkeys(names))


def read_key_providers(reader: Reader) -> bool:
    """Whether a workflow may call only the providers that the client's key may use."""
    reader.chapter("Projects")
    return reader.flag(
        "GATEWAY_PROJECT_KEY_PROVIDERS",
        False,
        "Let a workflow call only the providers that the client's key may use; false: a key that may use a project may "
        "call all providers of its roles through it",
    )


def read_role(reader: Reader, project: str, role: str, does: str, default: str = "") -> Binding | None:
    """The model for a role, which `does` something; None, and a problem, if there is no usable one."""
    variable = role_variable(project, role)
    value = reader.text(
        variable,
        default,
        "Provider and model for a role of a project, such as openai/gpt-4o-mini",
        as_name=ROLE_FAMILY,
    )
    if not value:
        reader.problem(variable, f"is not set; name the provider and the model that {does}, such as openai/gpt-4o-mini")
        return None
    provider, _, model = value.partition("/")
    if not provider or not model:
        reader.problem(variable, "must be a provider and a model, such as openai/gpt-4o-mini")
        return None
    return Binding(variable, provider, model)


def role_variable(project: str, role: str) -> str:
    """The name of the setting that binds a role."""
    return f"GATEWAY_PROJECT_{_shouted(project)}_ROLE_{_shouted(role)}"


def _shouted(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())

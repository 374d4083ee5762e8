"""Every role of a project gets a model of a configured provider, or the start is told what is missing."""

from typing import Any, cast

from gateway.projects import Project
from gateway.projects.binding import bind, configured_projects
from gateway.providers.provider import Provider
from gateway.settings import Reader

PROJECT = Project("demo", "Demo", (), roles={"writer": "writes", "judge": "judges"})
PROVIDERS = {name: Provider(name, None, cast(Any, None), None) for name in ("openai", "mock")}


def test_roles_get_the_models_that_settings_name() -> None:
    reader = Reader(
        {
            "GATEWAY_PROJECT_DEMO_ROLE_WRITER": "openai/gpt-4o-mini",
            "GATEWAY_PROJECT_DEMO_ROLE_JUDGE": "mock/mock-model",
        }
    )
    bound = bind(PROJECT, reader, PROVIDERS)
    assert {role: str(model) for role, model in bound.models(PROVIDERS).items()} == {
        "writer": "openai/gpt-4o-mini",
        "judge": "mock/mock-model",
    }
    assert bound.models(PROVIDERS)["writer"].provider is PROVIDERS["openai"]
    assert reader.problems == []


def test_the_default_stands_in_for_roles_that_are_not_set() -> None:
    reader = Reader({"GATEWAY_PROJECT_DEMO_ROLE_WRITER": "openai/gpt-4o-mini"})
    bound = bind(PROJECT, reader, PROVIDERS, default="mock/mock-model")
    assert {role: str(model) for role, model in bound.models(PROVIDERS).items()} == {
        "writer": "openai/gpt-4o-mini",
        "judge": "mock/mock-model",
    }


def test_without_a_default_every_unbound_role_is_a_problem() -> None:
    reader = Reader({})
    bind(PROJECT, reader, PROVIDERS)
    assert [problem.partition(":")[0] for problem in reader.problems] == [
        "GATEWAY_PROJECT_DEMO_ROLE_WRITER",
        "GATEWAY_PROJECT_DEMO_ROLE_JUDGE",
    ]


def test_a_provider_that_is_not_configured_is_a_problem_that_tells_which_are() -> None:
    reader = Reader({"GATEWAY_PROJECT_DEMO_ROLE_WRITER": "opneai/gpt-4o-mini"})
    bind(PROJECT, reader, PROVIDERS, default="mock/mock-model")
    assert reader.problems == [
        "GATEWAY_PROJECT_DEMO_ROLE_WRITER: names the provider 'opneai', which is not on; there are: mock, openai"
    ]


def test_the_embedded_default_serves_the_demo_from_the_mock() -> None:
    reader = Reader({})
    (demo,) = configured_projects(reader, {"mock"}, embedded=True)
    assert demo.project.name == "demo" and reader.problems == []
    assert {str(model) for model in demo.models(PROVIDERS).values()} == {"mock/mock-model"}


def test_elsewhere_no_project_is_on_by_itself() -> None:
    reader = Reader({})
    assert configured_projects(reader, {"openai"}, embedded=False) == () and reader.problems == []


def test_a_project_that_is_on_without_its_roles_is_not_bound_to_anything_by_chance() -> None:
    reader = Reader({"GATEWAY_PROJECTS": "demo"})
    configured_projects(reader, {"openai"}, embedded=False)
    assert {problem.partition(":")[0] for problem in reader.problems} == {
        f"GATEWAY_PROJECT_DEMO_ROLE_{role}" for role in ("POINTS", "WRITER", "CANDIDATE_1", "CANDIDATE_2", "JUDGE")
    }

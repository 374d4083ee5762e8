"""Projects and roles are read from the environment; what is wrong names its variable and what would be right."""

from gateway.settings import Reader
from gateway.settings.projects import Binding, read_projects, read_role, role_variable


def test_projects_are_a_list_without_repeats() -> None:
    assert read_projects(Reader({"GATEWAY_PROJECTS": "demo, acme-search,demo"})) == ("demo", "acme-search")


def test_without_a_setting_there_are_none() -> None:
    assert read_projects(Reader({})) == ()


def test_a_role_is_bound_to_a_provider_and_a_model() -> None:
    reader = Reader({"GATEWAY_PROJECT_DEMO_ROLE_WRITER": "openai/gpt-4o-mini"})
    bound = read_role(reader, "demo", "writer", "writes")
    assert bound == Binding("GATEWAY_PROJECT_DEMO_ROLE_WRITER", "openai", "gpt-4o-mini")
    assert reader.problems == [] and reader.unknown("GATEWAY_") == []


def test_a_models_name_may_have_slashes_itself() -> None:
    reader = Reader({"GATEWAY_PROJECT_DEMO_ROLE_WRITER": "openrouter/meta-llama/llama-4"})
    bound = read_role(reader, "demo", "writer", "writes")
    assert bound is not None and (bound.provider, bound.model) == ("openrouter", "meta-llama/llama-4")


def test_names_are_shouted_in_variables() -> None:
    assert role_variable("acme-search", "re-ranker") == "GATEWAY_PROJECT_ACME_SEARCH_ROLE_RE_RANKER"


def test_an_unbound_role_is_a_problem_that_names_variable_and_purpose() -> None:
    reader = Reader({})
    assert read_role(reader, "demo", "writer", "writes the summary") is None
    assert reader.problems == [
        "GATEWAY_PROJECT_DEMO_ROLE_WRITER: is not set; name the provider and the model that writes the summary, "
        "such as openai/gpt-4o-mini"
    ]


def test_a_default_binds_a_role_that_is_not_set() -> None:
    reader = Reader({})
    bound = read_role(reader, "demo", "writer", "writes", default="mock/mock-model")
    assert bound is not None and bound.provider == "mock" and reader.problems == []


def test_half_a_binding_is_a_problem() -> None:
    for value in ("openai", "openai/", "/gpt-4o-mini"):
        reader = Reader({"GATEWAY_PROJECT_DEMO_ROLE_WRITER": value})
        assert read_role(reader, "demo", "writer", "writes") is None
        assert reader.problems == [
            "GATEWAY_PROJECT_DEMO_ROLE_WRITER: must be a provider and a model, such as openai/gpt-4o-mini"
        ]

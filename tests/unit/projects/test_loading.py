"""A project is found by name, wherever it is installed; one that cannot be served says why, in one line."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.projects import Project
from gateway.projects.loading import available, load
from gateway.settings import Reader

GOOD = """
    import msgspec
    from gateway.projects import Endpoint, Operation, Project

    class Asked(msgspec.Struct, forbid_unknown_fields=True):
        text: str

    class Said(msgspec.Struct):
        text: str

    async def say(chat, asked):
        yield Said(asked.text)

    ENDPOINT = Endpoint(Operation("POST", "/say", "Say", request=Asked, response=Said), say)
    PROJECT = Project("acme", "Acme", (ENDPOINT,))
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package, with an entry point, as pip would."""
    known = set(sys.modules)

    def installed(source: str, name: str = "acme", module: str = "acme_project", distribution: str = "acme") -> None:
        (tmp_path / f"{module}.py").write_text(dedent(source))
        metadata = tmp_path / f"{distribution}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[gateway.projects]\n{name} = {module}:PROJECT\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    for module in set(sys.modules) - known:
        del sys.modules[module]


def loaded(*names: str) -> tuple[tuple[Project, ...], list[str]]:
    reader = Reader({})
    return load(names, reader), reader.problems


def reason(name: str = "acme") -> str:
    """Why the project cannot be served."""
    projects, problems = loaded(name)
    assert projects == ()
    (problem,) = problems
    start = f"GATEWAY_PROJECTS: the project {name!r} cannot be served: "
    assert problem.startswith(start)
    return problem.removeprefix(start)


def test_a_built_in_project_is_loaded_by_its_name() -> None:
    (demo,), problems = loaded("demo")
    assert problems == []
    assert demo.prefix == "/projects/demo"
    assert [endpoint.operation.path for endpoint in demo.endpoints] == ["/summary", "/compare"]


def test_an_installed_project_is_loaded_by_its_entry_point(install: Install) -> None:
    install(GOOD)
    assert "acme" in available() and "demo" in available()
    projects, problems = loaded("demo", "acme")
    assert [project.name for project in projects] == ["demo", "acme"] and problems == []


def test_a_name_that_nothing_has_is_told_with_those_there_are() -> None:
    assert "there is none of this name; there are: " in reason("dmeo")
    assert "demo" in reason("dmeo")


@pytest.mark.parametrize("name", ["loading", "project", "..errors", "Demo", ""])
def test_modules_that_are_no_projects_are_not_loaded(name: str) -> None:
    assert "there is none of this name" in reason(name)


def test_every_problem_is_told_not_just_the_first() -> None:
    projects, problems = loaded("one", "demo", "two")
    assert [project.name for project in projects] == ["demo"]
    assert len(problems) == 2


def test_two_distributions_with_one_name_are_refused(install: Install) -> None:
    install(GOOD)
    install(GOOD, module="other_module", distribution="other")
    assert reason() == "more than one is installed under this name"


def test_an_installed_project_cannot_take_the_place_of_a_built_in_one(install: Install) -> None:
    install(GOOD, name="demo")
    assert reason("demo") == "more than one is installed under this name"


def test_a_failing_import_tells_what_failed_and_where(install: Install) -> None:
    install("import gateway.projects\n\nimport module_that_is_not_there\n")
    assert reason() == "ModuleNotFoundError: No module named 'module_that_is_not_there' (acme_project.py, line 3)"


def test_a_failure_further_down_is_told_by_the_projects_own_line(install: Install) -> None:
    install("from gateway.projects import PromptTemplate\n\n\nT = PromptTemplate('acme.t', 'Hello {a.b}')\n")
    assert reason().startswith("ValueError: acme.t: ") and reason().endswith("(acme_project.py, line 4)")


def test_a_syntax_error_is_told_with_its_line(install: Install) -> None:
    install("x = (\n")
    assert reason().startswith("SyntaxError: ") and "(acme_project.py, line 1)" in reason()


def test_an_entry_point_without_its_object_is_told(install: Install) -> None:
    install("x = 1\n")
    assert "AttributeError" in reason() and "PROJECT" in reason()


@pytest.mark.parametrize(
    ("replace", "by", "why"),
    [
        ('Project("acme"', 'Project("akme"', "it calls itself 'akme'"),
        ('PROJECT = Project("acme", "Acme", (ENDPOINT,))', "PROJECT = 7", "is not a Project but int"),
        ("(ENDPOINT,))", "())", "it has no endpoint"),
        ("(ENDPOINT,))", "(ENDPOINT, ENDPOINT))", "two of its endpoints have the same path"),
        ("(ENDPOINT,))", "(ENDPOINT,), roles={'The Writer': 'writes'})", "a role is lower-case letters"),
        ('"POST"', '"GET"', "/say: an endpoint is called by POST, not GET"),
        ('"/say"', '"say"', "say: a path is made of"),
        ('"/say"', '"/say/{name}"', "/say/{name}: a path is made of"),
        ("request=Asked", "request=dict", "/say: the request must be a msgspec.Struct"),
        ("response=Said", "response=None", "/say: the response must be a msgspec.Struct"),
        ("yield Said(asked.text)", "return Said(asked.text)", "/say: the workflow must be an async generator"),
        ("), say)", "), say, deadline=0)", "/say: the deadline must be above 0 seconds"),
        (
            "request=Asked",
            "examples={'Bad': {'txt': 'x'}}, request=Asked",
            "/say: the example 'Bad' is not a valid request: Object contains unknown field `txt`",
        ),
        ("response=Said", "response=Said, reply=Said(5)", "/say: the example reply is not valid: Expected `str`"),
    ],
)
def test_a_project_that_is_not_as_it_has_to_be_says_what_is_wrong(
    install: Install, replace: str, by: str, why: str
) -> None:
    assert replace in GOOD
    install(GOOD.replace(replace, by))
    assert why in reason()

"""The skeleton is a whole project: it loads, its own test passes, and nothing is overwritten."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.projects.skeleton import files_of, write_skeleton
from tests.needing import ROOT


def test_it_says_which_files_it_wrote(tmp_path: Path) -> None:
    written = write_skeleton("acme-search", tmp_path)
    assert [file.relative_to(tmp_path / "acme-search").as_posix() for file in written] == [
        "pyproject.toml",
        "README.md",
        "acme_search_project/__init__.py",
        "acme_search_project/draft.py",
        "tests/test_draft.py",
    ]
    assert all(file.read_text() for file in written)


def test_its_entry_point_names_its_declaration() -> None:
    declared = tomllib.loads(files_of("acme-search")["pyproject.toml"])
    assert declared["project"]["entry-points"]["gateway.projects"] == {"acme-search": "acme_search_project:PROJECT"}
    assert declared["tool"]["setuptools"]["packages"] == ["acme_search_project"]


def test_its_readme_names_the_setting_that_binds_its_role() -> None:
    assert "GATEWAY_PROJECT_ACME_SEARCH_ROLE_WRITER=" in files_of("acme-search")["README.md"]


def test_its_own_test_passes(tmp_path: Path) -> None:
    write_skeleton("acme-search", tmp_path)
    project = tmp_path / "acme-search"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:asyncio", "-p", "no:aiohttp", "."],
        cwd=project,
        env={"PYTHONPATH": f"{project}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "haiku").mkdir()
    with pytest.raises(FileExistsError, match="haiku exists already"):
        write_skeleton("haiku", tmp_path)
    assert list((tmp_path / "haiku").iterdir()) == []


@pytest.mark.parametrize("name", ["", "Haiku", "2fast", "../up", "a b", "a/b", "a.b"])
def test_what_cannot_be_a_projects_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a project"):
        write_skeleton(name, tmp_path)
    assert list(tmp_path.iterdir()) == []

"""`python -m gateway projects new NAME`: a project that can be installed and called, to start from."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

from gateway.projects.loading import is_name


def write_skeleton(name: str, folder: Path) -> tuple[Path, ...]:
    """Write the project `name` into `folder`/`name`, and give the files. Raises ValueError or FileExistsError."""
    if not is_name(name):
        raise ValueError(f"{name!r} is no name for a project: lower-case letters, digits, - and _, a letter first")
    root = folder / name
    if root.exists():
        raise FileExistsError(f"{root} exists already")
    written = []
    for path, content in files_of(name).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        written.append(file)
    return tuple(written)


def files_of(name: str) -> Mapping[str, str]:
    """The files of the project `name`, by their paths in it."""
    module = f"{name.replace('-', '_')}_project"
    words = {"name": name, "module": module, "title": name.replace("-", " ").replace("_", " ").capitalize()}
    words["switch"] = f"GATEWAY_PROJECT_{name.upper().replace('-', '_')}_ROLE_WRITER"
    return {Template(path).substitute(words): Template(content).substitute(words) for path, content in _FILES.items()}


_FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[project]
name = "$name-project"
version = "0.1.0"
description = "The project $name for the LLM gateway"
requires-python = ">=3.11"

[project.entry-points."gateway.projects"]
$name = "$module:PROJECT"

[tool.setuptools]
packages = ["$module"]
""",
    "README.md": """\
# $title

A project for the LLM gateway, served below `/projects/$name`. Install it where the gateway is installed, and switch
it on:

    python -m pip install ./$name
    GATEWAY_PROJECTS=$name $switch=openai/gpt-4o-mini python -m gateway
""",
    "$module/__init__.py": '''\
"""The project $name, served below /projects/$name."""

from gateway.projects import Endpoint, Operation, Project

from $module.draft import Draft, DraftRequest, write_draft

PROJECT = Project(
    "$name",
    "$title",
    (
        Endpoint(
            Operation(
                "POST",
                "/draft",
                "Write a draft",
                request=DraftRequest,
                response=Draft,
                streams=True,
                examples={"About rain": DraftRequest("rain")},
            ),
            write_draft,
            deadline=60,
        ),
    ),
    roles={"writer": "writes the draft"},
)
''',
    "$module/draft.py": '''\
"""A draft on a topic, sent as it is written."""

from collections.abc import AsyncGenerator
from typing import Annotated

import msgspec
from gateway.projects import Chat, PromptTemplate
from msgspec import Meta

WRITE = PromptTemplate("$name.write", "Write a few lines about {topic}.", version="1")


class DraftRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topic: Annotated[str, Meta(description="What to write about.", min_length=1, max_length=200)]
    max_tokens: Annotated[int, Meta(description="Length of the draft.", ge=1, le=4096)] = 256


class Draft(msgspec.Struct, frozen=True):
    text: Annotated[str, Meta(description="The draft.")]


async def write_draft(chat: Chat, asked: DraftRequest) -> AsyncGenerator[str | Draft, None]:
    text = ""
    async with chat.stream("writer", WRITE.fill(topic=asked.topic), max_tokens=asked.max_tokens) as deltas:
        async for delta in deltas:
            text += delta
            yield delta
    yield Draft(text)
''',
    "tests/test_draft.py": '''\
"""The workflow by itself, with a writer that says what it is told to. Run it with pytest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from $module.draft import Draft, DraftRequest, write_draft


class Writer:
    """Stands in for a Chat."""

    @asynccontextmanager
    async def stream(self, role: str, prompt: Any, **parameters: Any) -> AsyncIterator[AsyncIterator[str]]:
        async def deltas() -> AsyncIterator[str]:
            for word in ("Rain ", "again."):
                yield word

        assert role == "writer"
        assert prompt.prompt.messages == (("user", "Write a few lines about rain."),)
        yield deltas()


def test_a_draft_is_what_was_written() -> None:
    async def said() -> list[Any]:
        return [item async for item in write_draft(Writer(), DraftRequest("rain"))]

    assert asyncio.run(said()) == ["Rain ", "again.", Draft("Rain again.")]
''',
}

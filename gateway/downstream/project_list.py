"""`/projects`: which projects there are, for whoever may use them."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from gateway.downstream.routes import Served
from gateway.downstream.state import CLIENT
from gateway.projects.project import Project
from gateway.schema.operation import Operation


class ListedEndpoint(msgspec.Struct, frozen=True):
    method: str
    path: str
    summary: str
    streams: Annotated[bool, Meta(description="Whether it also offers the streaming modes.")]


class ListedProject(msgspec.Struct, frozen=True):
    name: str
    title: str
    description: str
    endpoints: list[ListedEndpoint]


class ProjectList(msgspec.Struct, frozen=True):
    projects: list[ListedProject]


LIST = Operation(
    "GET",
    "/projects",
    "List the projects",
    description="The projects that this gateway serves and that the key may use.",
    tags=("gateway",),
    response=ProjectList,
)


def project_list(projects: Sequence[Project]) -> Served:
    """The list of `projects`."""
    listed = [_listed(project) for project in projects]

    async def answer(request: web.Request) -> web.Response:
        client = request[CLIENT]
        usable = ProjectList([project for project in listed if client.may_use_project(project.name)])
        return web.Response(body=msgspec.json.encode(usable), content_type="application/json")

    return Served(LIST, answer, also=f"{LIST.path}/")


def _listed(project: Project) -> ListedProject:
    operations = [endpoint.operation.under(project.prefix) for endpoint in project.endpoints]
    endpoints = [ListedEndpoint(each.method, each.path, each.summary, each.streams) for each in operations]
    return ListedProject(project.name, project.title, project.description, endpoints)

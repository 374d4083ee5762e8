"""Workflows: plain async generators over plain data. This is all a project's author has to import."""

from gateway.errors import InvalidRequest
from gateway.projects.project import Delta, Endpoint, Project, Workflow
from gateway.schema.operation import Operation
from gateway.upstream.chat import Answer, Chat
from gateway.upstream.prompt_template import FilledPrompt, PromptTemplate

__all__ = [
    "Answer",
    "Chat",
    "Delta",
    "Endpoint",
    "FilledPrompt",
    "InvalidRequest",
    "Operation",
    "Project",
    "PromptTemplate",
    "Workflow",
]

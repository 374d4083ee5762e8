"""Two workflows to look at, and to start from: one that chains two models, one that lets several speak at once."""

from gateway.projects import Project
from gateway.projects.demo.compare import COMPARE
from gateway.projects.demo.summary import SUMMARY

PROJECT = Project(
    "demo",
    "Demo workflows",
    (SUMMARY, COMPARE),
    roles={
        "points": "finds a text's main points",
        "writer": "writes the summary from them",
        "candidate_1": "answers a question, to be compared",
        "candidate_2": "answers it too",
        "judge": "says which answer is better",
    },
    description="What a project can do, by example.",
)

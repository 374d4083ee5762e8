"""What stands in `monitoring/`: its rules and dashboards, and every expression in them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.needing import ROOT

MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))


class Expression(NamedTuple):
    where: str
    text: str


def rules(file: Path) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(file.read_text())["groups"]:
        yield from group["rules"]


def rule_expressions() -> Iterator[Expression]:
    for file in RULES:
        for rule in rules(file):
            yield Expression(rule.get("alert") or rule["record"], rule["expr"])


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> Iterator[Expression]:
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Expression(panel["title"], target["expr"])
        for annotation in dashboard["annotations"]["list"]:
            yield Expression(annotation["name"], annotation["expr"])
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                series = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
                assert series is not None
                yield Expression(variable["name"], series[1])


def plain(expression: str) -> str:
    """With something in place of what Grafana fills in."""
    return expression.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$provider", ".*")

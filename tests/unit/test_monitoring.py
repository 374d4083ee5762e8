"""The monitoring files and the documentation speak of the metrics that there are, and Prometheus understands them."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway.telemetry.exchange import Outcome
from gateway.telemetry.metric_table import TABLE, Kind, Metric
from tests.monitoring_files import (
    DASHBOARDS,
    MONITORING,
    RULES,
    Expression,
    dashboard_expressions,
    panels,
    plain,
    rule_expressions,
    rules,
)
from tests.needing import ROOT, program

DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()


EXPRESSIONS = [*rule_expressions(), *dashboard_expressions()]
RECORDED = {rule["record"] for file in RULES for rule in rules(file) if "record" in rule}
PROMETHEUS_OWN = {"up": ("job", "instance"), "ALERTS": ("alertname", "alertstate", "severity")}
TARGET = ("job", "instance")


def series_of(metric: Metric) -> Iterator[str]:
    if metric.kind is Kind.HISTOGRAM:
        yield from (f"{metric.name}_{end}" for end in ("bucket", "sum", "count"))
    else:
        yield metric.name


def labels_by_series() -> dict[str, tuple[str, ...]]:
    """Which labels each series that may be named has."""
    known = dict(PROMETHEUS_OWN)
    for metric in TABLE:
        for series in series_of(metric):
            known[series] = (*metric.labels, *TARGET, *(("le",) if series.endswith("_bucket") else ()))
    for record in RECORDED:  # level:metric:operation, the level being its labels
        level = record.split(":")[0].replace("job_route", "job_http_route")
        known[record] = tuple(re.findall(r"job|provider|cause|model|type|http_route", level))
    return known


LABELS = labels_by_series()
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "group_left", "group_right"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def selected(expression: str) -> Iterator[tuple[str, list[str]]]:
    """The series that an expression names, each with the labels it selects by."""
    text = GROUPING.sub(" ", plain(expression))
    for name, call, braces in re.findall(
        r"\b([a-zA-Z_:][\w:]*)\b(\s*\()?(\{(?:[^}\"]|\"[^\"]*\")*\})?", quoted_away(text)
    ):
        if name not in WORDS and not call:
            yield name, re.findall(r"(\w+)\s*[=!]", braces)


def quoted_away(text: str) -> str:
    """Without the texts and durations, in which words are no names."""
    return re.sub(r"\[[^\]]*\]", " ", re.sub(r'"[^"]*"', '""', text))


def test_the_reader_of_expressions_finds_what_it_should() -> None:
    found = selected(
        'sum by (job, nope) (rate(a_total{x="not_me",y=~"a|b"}[5m])) / on (job) b:c:d > 1 and time() or e_f'
    )
    assert list(found) == [("a_total", ["x", "y"]), ("b:c:d", []), ("e_f", [])]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.where)
def test_an_expression_names_only_metrics_and_labels_that_there_are(expression: Expression) -> None:
    named = list(selected(expression.text))
    assert named
    for series, labels in named:
        assert series in LABELS, f"{series} is no metric"
        assert set(labels) <= set(LABELS[series]), f"{series} has the labels {LABELS[series]}"
    grouped = {label.strip() for group in GROUPING.findall(expression.text) for label in group.split(",")}
    assert grouped <= {label for series, _ in named for label in LABELS[series]}


def test_promtool_can_parse_every_expression_of_the_dashboards(tmp_path: Path) -> None:
    found = [
        {"record": f"panel:{number}", "expr": plain(text)} for number, (_, text) in enumerate(dashboard_expressions())
    ]
    assert len(found) > 50
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": found}]}))
    run("check", "rules", str(file))


def test_promtool_finds_no_fault_with_the_configuration_and_the_rules() -> None:
    assert "2 rule files found" in run("check", "config", str(MONITORING / "prometheus.yml"))
    run("check", "rules", *map(str, RULES))


def test_the_rules_do_what_their_tests_say() -> None:
    tests = sorted((MONITORING / "rules" / "tests").glob("*.yml"))
    assert len(tests) == 2
    run("test", "rules", *map(str, tests))


def run(*arguments: str) -> str:
    done = subprocess.run([program("promtool", "prometheus"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_is_seen_firing_in_a_test_and_explained() -> None:
    alerts = [rule["alert"] for file in RULES for rule in rules(file) if "alert" in rule]
    tested = {
        case["alertname"]
        for test in yaml.safe_load((MONITORING / "rules" / "tests" / "alerts.test.yml").read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert tested == set(alerts)
    assert [row[0].strip("`") for row in rows_of("Alert")] == alerts


def test_every_recording_is_tested() -> None:
    tests = (MONITORING / "rules" / "tests" / "recording.test.yml").read_text()
    used = " ".join(text for _, text in EXPRESSIONS)
    # What only serves another recording is tested through it.
    assert all(record in tests or used.count(record) > 1 for record in RECORDED)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_one_that_grafana_can_lay_out(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    shown = panels(dashboard)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
    for panel in shown:
        assert panel["title"] and panel["description"].endswith(".")
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {series for _, text in dashboard_expressions() for series, _ in selected(text)}
    shown |= {series for record in RECORDED & shown for series in selected_by(record)}
    missing = [metric.name for metric in TABLE if not shown & set(series_of(metric))]
    assert not missing


def selected_by(record: str) -> set[str]:
    return {series for where, text in EXPRESSIONS if where == record for series, _ in selected(text)}


def rows_of(heading: str) -> list[list[str]]:
    """The cells of every table of the document whose first heading this is."""
    found, inside = [], False
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if cells and cells[0] == heading:
            inside = True
        elif not cells:
            inside = False
        elif inside and not cells[0].startswith("---"):
            found.append(cells)
    return found


def test_the_documentation_has_every_metric_as_it_is() -> None:
    told = [[cell.replace("`", "") for cell in row] for row in rows_of("Metric")]
    there = [[m.name, m.kind.value, m.unit, ", ".join(m.labels), m.about] for m in TABLE]
    assert told == there


def test_the_documentation_has_the_buckets_as_they_are() -> None:
    told = {
        name: tuple(float(bound) for bound in bounds.split(", "))
        for bounds, names in rows_of("Upper bounds")
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == {metric.name: metric.buckets for metric in TABLE if metric.buckets}


def test_the_documentation_names_every_outcome_and_every_metric_with_exemplars() -> None:
    for outcome in Outcome:
        assert f"`{outcome}`" in DOCUMENT
    listed = re.findall(r"^- `(\w+)`$", DOCUMENT, re.MULTILINE)
    assert listed == [metric.name for metric in TABLE if metric.exemplars]

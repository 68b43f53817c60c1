"""Every query of the dashboard, of the alerts and of the documentation asks for what the service exposes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from tests.conftest import ROOT
from tests.deploy import promql
from tests.deploy.promql import Selector
from tests.runner.exposition import PART, Known, is_possible, known

DASHBOARD = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml_parse((ROOT / "deploy/alerts.yaml").read_text(encoding="utf-8"))
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
METRICS = OPERATIONS.partition("\n## Metrics\n")[2].partition("\n## ")[0]
# What Prometheus adds by itself.
ADDED = {"job", "instance"}
OVER_COUNTERS = {"rate", "increase", "irate"}
OVER_RANGES = OVER_COUNTERS | {"changes", "delta", "deriv", "resets", "avg_over_time", "max_over_time", "min_over_time"}


def cells(row: str) -> list[str]:
    """Of a row of a table; a line in code is written with a backslash there."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


TABLE = {cells(row)[0].strip("`"): cells(row)[1:3] for row in re.findall(r"^\| `\w+` \| .*", METRICS, re.MULTILINE)}
DOCUMENTED = [cells(row)[0].strip("`") for row in re.findall(r"^\| `[^`]*\(.*", METRICS, re.MULTILINE)]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = DASHBOARD["panels"]


def expressions() -> Iterator[Any]:
    for number, expression in enumerate(DOCUMENTED):
        yield pytest.param(expression, id=f"documentation-{number}")
    for rule in RULES:
        yield pytest.param(rule["expr"], id=f"alert-{rule['alert']}")
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"panel-{panel['title']}-{target['refId']}")


def words(value: str) -> list[str]:
    """The alternatives of a matcher; those with wildcards mean many."""
    return [word for word in value.split("|") if word.isidentifier() or not set(word) & set(".*+[]()$")]


@pytest.fixture(scope="module")
def metrics() -> dict[str, Known]:
    # `up` is made by Prometheus for each target.
    return known() | {"up": Known("gauge", frozenset())}


@pytest.mark.parametrize("expression", list(expressions()))
def test_a_query_asks_for_what_is_exposed(expression: str, metrics: dict[str, Known]) -> None:
    query = promql.read(expression)
    assert query.selectors or query.functions <= {"time"}, "it asks for nothing"
    labels = set(ADDED)
    for selector in query.selectors:
        assert selector.metric in metrics, f"there is no {selector.metric}"
        assert metrics[selector.metric].kind != "histogram" or PART.search(selector.metric)
        labels |= metrics[selector.metric].labels
        _check_labels(selector, metrics[selector.metric])
        _check_functions(selector, metrics[selector.metric])
    assert set(query.groupings) <= labels, f"no series of it has {set(query.groupings) - labels}"
    if "histogram_quantile" in query.functions:
        assert "le" in query.groupings


def _check_labels(selector: Selector, metric: Known) -> None:
    for matcher in selector.matchers:
        assert matcher.label in metric.labels | ADDED, f"{selector.metric} has no label {matcher.label}"
        for word in words(matcher.value):
            assert is_possible(selector.metric, matcher.label, word), f"{matcher.label} is never {word}"


def _check_functions(selector: Selector, metric: Known) -> None:
    innermost = selector.inside[-1] if selector.inside else ""
    cumulates = metric.kind in ("counter", "histogram")
    assert (innermost in OVER_COUNTERS) == cumulates, f"{selector.metric} is a {metric.kind} inside of {innermost!r}"
    assert selector.is_range == (innermost in OVER_RANGES), f"{selector.metric} needs a range, or must have none"
    if selector.metric.endswith("_bucket"):
        assert "histogram_quantile" in selector.inside


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(factory_request_total[5m])", "there is no"),
        ("sum by (caller) (rate(factory_request_duration_seconds_bucket[5m]))", "histogram_quantile"),
        ("rate(factory_queue_requests[5m])", "is a gauge"),
        ("sum(factory_requests_total)", "is a counter"),
        ("rate(factory_requests_total)", "needs a range"),
        ('factory_model_state{state="broken"}', "is never"),
        ('factory_model_state{route="/audio"}', "no label"),
        ("sum by (engine) (rate(factory_requests_total[5m]))", "no series"),
    ],
)
def test_a_query_with_a_fault_is_found(expression: str, fault: str, metrics: dict[str, Known]) -> None:
    with pytest.raises(AssertionError, match=re.escape(fault)):
        test_a_query_asks_for_what_is_exposed(expression, metrics)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(up[5m])", "not closed"),
        ("up)", "too many"),
        ("up{job=factory}", "matches nothing"),
        ("sum by job (up)", "is missing"),
        ("up ~ 1", "not understood"),
    ],
)
def test_what_is_no_query_is_refused(expression: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        promql.read(expression)


def test_the_documentation_names_every_metric_and_no_other(metrics: dict[str, Known]) -> None:
    exposed = {name: metric for name, metric in metrics.items() if not PART.search(name)}
    del exposed["up"]
    assert {
        name: [
            ", ".join(f"`{label}`" for label in sorted(metric.labels)) or "-",
            "gauge" if metric.kind == "info" else metric.kind,
        ]
        for name, metric in exposed.items()
    } == TABLE


def test_the_job_of_the_alerts_is_that_of_the_documented_scrape_configuration() -> None:
    (block,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", METRICS, re.DOTALL)
    (job,) = yaml_parse(block)["scrape_configs"]
    assert "metrics_path" not in job, "it is the default"
    for rule in RULES:
        for name in re.findall(r'job="([^"]*)"', rule["expr"]):
            assert name == job["job_name"]


def test_ten_queries_are_documented() -> None:
    assert len(DOCUMENTED) == 10


def test_an_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert all(rule["annotations"][name].strip() for name in ("summary", "runbook"))


def test_what_an_alert_refers_to_in_the_documentation_is_there() -> None:
    headings = re.findall(r"^## (.*)$", OPERATIONS, re.MULTILINE)
    for rule in RULES:
        for title in re.findall(r'"([^"]+)" in docs/operations.md', rule["annotations"]["runbook"]):
            assert title in headings, title


def test_the_dashboard_has_a_row_for_each_part_and_one_data_source() -> None:
    assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
        "House",
        "Summarize",
        "Extract",
        "Audio",
        "Callers",
    ]
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert DASHBOARD["schemaVersion"] >= 39
    for panel in PANELS:
        for one in (panel, *panel.get("targets", ())) if panel["type"] != "row" else ():
            assert one["datasource"] == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & own, panel["title"]
        taken |= own

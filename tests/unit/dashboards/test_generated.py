"""Shows that dashboards are committed as generated, query series that exist, and have panels that don't overlap."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from alerts.generate import RULES
from alerts.generate import SHIPPED as ALERTS
from calmops.cli.generated_files import differing
from calmops.foundation.metric_names import BESIDE_COUNTS, METRICS
from calmops.foundation.model_labels import SHARD_LABELS
from calmops.messages.record import NOT_COUNTED, OUTCOMES, SUCCESSES
from dashboards.generate import DASHBOARDS, SHIPPED, generated
from dashboards.pages.promql import VARIABLES

SERIES = re.compile(r"\b(?:gen_ai_\w+|calmops_\w+|(?:model|shard):calmops_\w+:\w+|calmops:\w+:\w+)")
RAW = {"calmops_counting_since_seconds"}  # exposed, but on no panel and in no rule


def boards() -> list[tuple[str, dict[str, Any]]]:
    return [(name, json.loads((SHIPPED / f"generated/{name}.json").read_text(encoding="utf-8"))) for name in DASHBOARDS]


def expressions(board: dict[str, Any]) -> Iterator[str]:
    """Yield every expression that Prometheus is asked for."""
    for panel in board["panels"]:
        if panel.get("datasource", {}).get("type") == "prometheus":
            for target in panel["targets"]:
                yield target["expr"]


def asked_for(text: str) -> set[str]:
    """Return the names of the metrics and recorded series in an expression."""
    without_strings = re.sub(r'"[^"]*"', '""', text)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES.findall(without_strings)}


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((ALERTS / RULES).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_committed_dashboards_are_as_generated() -> None:
    assert not differing(generated(), SHIPPED), "run `calmops dashboards generate`"


@pytest.mark.parametrize(("name", "board"), boards())
def test_every_query_asks_for_series_that_exist(name: str, board: dict[str, Any]) -> None:
    known = {one.name for one in (*METRICS, *BESIDE_COUNTS)} | {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions(board):
        assert asked_for(expression) <= known, f"{name}: {expression}"


def test_every_metric_is_on_a_panel_or_in_a_rule_or_listed_as_raw() -> None:
    asked = set().union(*(asked_for(expression) for _, board in boards() for expression in expressions(board)))
    asked |= set().union(*(asked_for(rule["expr"]) for rule in rules()))
    assert {one.name for one in (*METRICS, *BESIDE_COUNTS)} - asked == RAW


@pytest.mark.parametrize(("name", "board"), boards())
def test_panels_dont_overlap_and_have_different_titles(name: str, board: dict[str, Any]) -> None:
    places = [(panel["gridPos"], panel["title"]) for panel in board["panels"]]
    for (a, first), (b, second) in itertools.combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{name}: {first} and {second} overlap"
        assert first != second, f"{name}: two panels are called {first}"
    assert all(place["x"] + place["w"] <= 24 for place, _ in places)


@pytest.mark.parametrize(("name", "board"), boards())
def test_a_dashboard_has_variables_marks_and_links_to_the_others(name: str, board: dict[str, Any]) -> None:
    variables = [one["name"] for one in board["templating"]["list"]]
    other_sources = ["logs", "traces"] if name in {"on-call", "debug"} else []
    assert variables == ["source", *SHARD_LABELS, *other_sources], name
    assert {one["name"] for one in board["annotations"]["list"]} == {"deploy", "game-day"}
    assert board["links"] and board["uid"] == f"calmops-{name}"


@pytest.mark.parametrize(("name", "board"), boards())
def test_a_link_takes_only_labels_that_its_line_has(name: str, board: dict[str, Any]) -> None:
    panels = [panel for panel in board["panels"] if panel["type"] == "timeseries"]
    assert panels
    for panel in panels:
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        taken = set(re.findall(r"\$\{__field\.labels\.(\w+)\}", link["url"]))
        for target in panel["targets"]:
            groupings = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            kept = [set(labels.replace(" ", "").split(",")) for labels in groupings]
            assert all(taken <= labels for labels in kept), f"{name}: {panel['title']}"
            assert not taken or kept or "sum(" not in target["expr"], f"{name}: {panel['title']}"
        others = {"source", *VARIABLES} - taken
        assert "${__all_variables}" in link["url"] or all(f"${{{one}:queryparam}}" in link["url"] for one in others), (
            f"{name}: {panel['title']}"
        )


def test_the_share_of_good_or_failed_requests_counts_the_requests_that_the_objective_counts() -> None:
    figures = {
        panel["title"]: panel["targets"][0]["expr"]
        for _, board in boards()
        for panel in board["panels"]
        if panel["type"] == "stat"
    }
    for title, outcomes in (
        ("Requests that ended well", SUCCESSES),
        ("Failed", set(OUTCOMES) - {*SUCCESSES, *NOT_COUNTED}),
    ):
        share, counted = figures[title].split(" / ")
        assert set(re.findall(r'outcome=~"([^"]*)"', share)[0].split("|")) == set(outcomes)
        assert set(re.findall(r'outcome!~"([^"]*)"', counted)[0].split("|")) == set(NOT_COUNTED)


def rows_of_the_guide() -> list[list[str]]:
    text = (SHIPPED / "README.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    assert len(rows) > 10
    return [row for row in rows if row[0] != "SLI of the field guide"]


@pytest.mark.parametrize("row", rows_of_the_guide(), ids=lambda row: row[0])
def test_each_row_of_the_guide_names_what_exists(row: list[str]) -> None:
    _, metrics, promised, panel, checked_by = row
    assert set(re.findall(r"`(\w+)`", metrics)) <= {one.name for one in (*METRICS, *BESIDE_COUNTS)}
    objectives = {file.stem for file in (ALERTS / "objectives").glob("*.yaml")}
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    kinds = {"ratio", "zero", "value"}
    assert set(re.findall(r"`([\w-]+)`", promised)) <= objectives | alerts | kinds
    name, _, title = panel.partition(": ")
    assert title in {one["title"] for one in dict(boards())[name]["panels"]}
    assert (SHIPPED.parent / checked_by.strip("`")).is_file()


def test_every_row_of_the_guide_is_there() -> None:
    numbers = {match for row in rows_of_the_guide() for match in re.findall(r"^M\d+", row[0])}
    assert numbers == {f"M{number}" for number in range(1, 11)}

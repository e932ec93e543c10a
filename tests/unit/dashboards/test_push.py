"""Shows what `calmops dashboards push` and `calmops alerts push` create in an empty Grafana, and that a rerun is idle.

They run through the real command line and client against a contract fake. No Grafana server was available: that a real
one takes the same is not shown here.
"""

import json
from typing import Any

import pytest
import yaml

from tests.support.grafana.fake_grafana import FakeGrafana
from tests.support.grafana.typed_pushes import ALERTS, DASHBOARDS, SHIPPED, Run

BOTH = pytest.mark.parametrize("command", [DASHBOARDS, ALERTS], ids=["dashboards", "alerts"])


def generated_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((SHIPPED / "generated/prometheus-rules.yaml").read_text(encoding="utf-8"))["groups"]
    return [one for group in groups for one in group["rules"] if "alert" in one]


def test_a_first_push_creates_folder_data_source_and_dashboards(run: Run, grafana: FakeGrafana) -> None:
    output = run(*DASHBOARDS)
    assert output.status == 0 and "6 of 6 things changed" in output.out
    assert grafana.folders["calmops"]["title"] == "calmops"
    assert grafana.sources["calmops-prometheus"]["url"] == "http://prometheus:9090"
    boards = {f"calmops-{name}" for name in ("executive", "on-call", "debug", "game-day")}
    assert set(grafana.dashboards) == boards
    assert all(one["meta"]["folderUid"] == "calmops" for one in grafana.dashboards.values())
    on_call = json.loads((SHIPPED.parent / "dashboards/generated/on-call.json").read_text(encoding="utf-8"))
    assert grafana.dashboards["calmops-on-call"]["dashboard"]["panels"] == on_call["panels"]


def test_a_first_push_creates_every_alerting_rule_and_contact_point(run: Run, grafana: FakeGrafana) -> None:
    assert run(*ALERTS).status == 0
    created = grafana.alerting.rules.values()
    receivers = {one["title"]: one["notification_settings"]["receiver"] for one in created}
    for rule in generated_rules():
        labels = rule["labels"]
        assert receivers[f"{rule['alert']} ({labels['severity']})"] == f"calmops-{labels['team']}"
        if labels["severity"] == "page":
            assert receivers[f"{rule['alert']} (page, escalation)"] == f"calmops-{labels['escalation']}"
    pages = sum(one["labels"]["severity"] == "page" for one in generated_rules())
    assert len(created) == len(generated_rules()) + pages
    entries = yaml.safe_load((SHIPPED / "receivers.yaml").read_text(encoding="utf-8"))["receivers"]
    points = {one["name"]: one["settings"]["url"] for one in grafana.alerting.contact_points.values()}
    assert points == {f"calmops-{one['name']}": one["webhook"] for one in entries}
    assert grafana.alerting.intervals == {
        ("calmops", "calmops-short-spans"): 30,
        ("calmops", "calmops-long-spans"): 240,
    }


def test_a_rule_fires_for_each_series_and_says_its_value(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    rule = grafana.alerting.rule("RequestsFailing (page)")
    generated = next(one for one in generated_rules() if one["alert"] == "RequestsFailing")
    query, condition = rule["data"]
    assert query["model"]["expr"] == generated["expr"] and query["model"]["instant"] is True
    assert query["datasourceUid"] == "calmops-prometheus"
    assert rule["condition"] == condition["refId"] and "is_number($A)" in condition["model"]["expression"]
    assert rule["noDataState"] == "OK"
    assert rule["execErrState"] == "KeepLast"
    assert rule["missingSeriesEvalsToResolve"] == 1
    assert grafana.alerting.rule("TelemetryStopped (page)")["execErrState"] == "Alerting"
    assert "burns {{ $values.A.Value | humanize }} times" in rule["annotations"]["description"]
    texts = [text for one in grafana.alerting.rules.values() for text in one["annotations"].values()]
    assert not any("| query" in text or "$value " in text for text in texts)
    assert rule["labels"] == generated["labels"]
    assert rule["annotations"]["runbook_url"] == generated["annotations"]["runbook_url"]


def test_a_receiver_is_notified_as_often_as_by_alertmanager(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    rules = {kind: grafana.alerting.rule(f"RequestsFailing ({kind})") for kind in ("page", "ticket")}
    page, ticket = (rule["notification_settings"] for rule in rules.values())
    assert (page["group_wait"], page["group_interval"], page["repeat_interval"]) == ("10s", "5m", "4h")
    assert (ticket["group_wait"], ticket["group_interval"], ticket["repeat_interval"]) == ("5m", "1h", "3d")
    assert page["group_by"] == ["grafana_folder", "alertname", "environment", "model", "variant", "version"]
    assert "shard" in ticket["group_by"]
    assert grafana.alerting.rule("TelemetryStopped (page)")["for"] == "5m"
    escalation = grafana.alerting.rule("TelemetryStopped (page, escalation)")
    assert escalation["for"] == "35m" and escalation["notification_settings"]["group_wait"] == "0s"


@BOTH
def test_a_second_push_changes_nothing_and_says_so(command: tuple[str, ...], run: Run, grafana: FakeGrafana) -> None:
    run(*command)
    grafana.calls.clear()
    output = run(*command)
    assert output.status == 0 and "are as they should be" in output.out
    assert grafana.writes() == []


def test_each_push_leaves_what_the_other_made(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    run(*ALERTS)
    grafana.calls.clear()
    for command in (DASHBOARDS, ALERTS):
        assert set(run(*command, "--json").changes().values()) == {"same"}
    assert grafana.writes() == []


@BOTH
def test_a_dry_run_shows_a_diff_and_sends_nothing(command: tuple[str, ...], run: Run, grafana: FakeGrafana) -> None:
    output = run(*command, "--dry-run")
    assert output.status == 0 and "would be created: folder calmops" in output.out
    assert '+  "title": "calmops"' in output.out
    assert grafana.writes() == [] and grafana.calls
    assert not grafana.folders


def test_json_output_names_every_thing_and_its_difference(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    grafana.folders["calmops"]["title"] = "renamed"
    report = json.loads(run(*DASHBOARDS, "--dry-run", "--json").out)
    assert (report["url"], report["dry_run"]) == (grafana.url, True)
    assert (report["changed"], len(report["changes"])) == (1, 6)
    first, *others = report["changes"]
    assert (first["kind"], first["name"], first["action"]) == ("folder", "calmops", "update")
    assert '-  "title": "renamed",' in first["diff"] and '+  "title": "calmops",' in first["diff"]
    assert all(one["action"] == "same" and one["diff"] == "" for one in others)

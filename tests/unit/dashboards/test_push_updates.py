"""Shows what a push does if Grafana differs: it mends what is ours, removes what is gone, and spares the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.grafana.fake_grafana import FakeGrafana
from tests.support.grafana.typed_pushes import ALERTS, DASHBOARDS, Run, announce_maintenance, drop_alerts

MUTE_TIMING = "mute timing calmops-maintenance-21261231T2200Z-21270101T0230Z"


def change_by_hand(grafana: FakeGrafana, kind: str) -> None:
    """Change one thing as somebody would change it in Grafana."""
    alerting = grafana.alerting
    if kind == "folder":
        grafana.folders["calmops"]["title"] = "changed by hand"
    elif kind == "data source":
        grafana.sources["calmops-prometheus"] |= {
            "url": "changed by hand",
            "basicAuthUser": "kept",
            "jsonData": {"httpMethod": "POST"},
        }
    elif kind == "dashboard":
        grafana.dashboards["calmops-debug"]["dashboard"]["panels"].append({"title": "changed by hand"})
    elif kind == "contact point":
        alerting.contact_points["calmops-safety"]["settings"]["url"] = "http://changed.by.hand/secret"
    elif kind == "mute timing":
        next(iter(alerting.mute_timings.values()))["time_intervals"][0]["location"] = "changed by hand"
    elif kind == "alert rule":
        alerting.rule("RequestsFailing (ticket)")["data"][0]["model"]["expr"] = "changed by hand"
    elif kind == "paused rule":
        alerting.rule("RequestsFailing (ticket)")["isPaused"] = True
    else:
        alerting.intervals["calmops", "calmops-long-spans"] = 60


# The command that mends each, the thing as it is named, and what its diff shows.
CHANGED: dict[str, tuple[tuple[str, ...], str, str]] = {
    "folder": (DASHBOARDS, "folder calmops", "changed by hand"),
    "data source": (DASHBOARDS, "data source calmops-prometheus", "changed by hand"),
    "dashboard": (DASHBOARDS, "dashboard calmops-debug", "changed by hand"),
    "contact point": (ALERTS, "contact point calmops-safety", "http://changed.by.hand/... (sha256"),
    "mute timing": (ALERTS, MUTE_TIMING, "changed by hand"),
    "alert rule": (ALERTS, "alert rule RequestsFailing (ticket)", "changed by hand"),
    "paused rule": (ALERTS, "alert rule RequestsFailing (ticket)", '"isPaused": true'),
    "interval": (ALERTS, "rule group calmops-long-spans", '"interval": 60'),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_change_by_hand_is_shown_by_a_dry_run_and_mended_by_a_push(
    kind: str, run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    command, name, shown = CHANGED[kind]
    announce_maintenance(folder)
    command += ("--alerts", str(folder)) if command is ALERTS else ()
    run(*command)
    change_by_hand(grafana, kind)
    dry_run = run(*command, "--dry-run")
    assert f"would be updated: {name}\n" in dry_run.out
    assert any(line.startswith("-") and shown in line for line in dry_run.out.splitlines())
    mended = run(*command, "--json").changes()
    assert {key for key, action in mended.items() if action != "same"} <= {name, "rule group calmops-long-spans"}
    assert mended[name] == "update"
    assert set(run(*command, "--json").changes().values()) == {"same"}
    if kind == "data source":
        kept = grafana.sources["calmops-prometheus"]
        assert kept["url"] == "http://prometheus:9090"
        assert kept["basicAuthUser"] == "kept" and kept["jsonData"] == {"httpMethod": "POST"}, (
            "what isn't ours was lost"
        )


def test_no_diff_shows_the_secret_in_an_address(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    receivers = folder / "receivers.yaml"
    receivers.write_text(receivers.read_text(encoding="utf-8").replace("9095/safety", "9095/hunter2"), encoding="utf-8")
    output = run(*ALERTS, "--alerts", str(folder), "--dry-run")
    assert output.status == 0 and "calmops-safety" in output.out and "hunter2" not in output.out
    run(*ALERTS, "--alerts", str(folder))
    assert grafana.alerting.contact_points["calmops-safety"]["settings"]["url"].endswith("hunter2")


def add_what_is_not_ours(grafana: FakeGrafana) -> None:
    """Add things that other people made, some of them with names that begin like ours."""
    alerting = grafana.alerting
    rule = {"title": "theirs", "provenance": "", "folderUID": "calmops", "ruleGroup": "theirs"}
    email: dict[str, Any] = {"type": "email", "settings": {}}
    alerting.rules["theirs"] = rule | {"uid": "theirs"}
    alerting.rules["calmops-not"] = rule | {"uid": "calmops-not", "folderUID": "else"}
    alerting.contact_points["theirs"] = email | {"uid": "theirs", "name": "theirs", "provenance": "api"}
    alerting.contact_points["calmops-typed"] = email | {"uid": "calmops-typed", "name": "x"}
    alerting.mute_timings["weekend"] = {"name": "weekend", "time_intervals": [], "provenance": "api"}
    grafana.dashboards["theirs"] = {
        "dashboard": {"uid": "theirs", "title": "theirs", "version": 1},
        "meta": {"folderUid": "calmops"},
    }


def test_what_is_not_ours_stays_as_it_was(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    def theirs() -> str:
        things = (grafana.dashboards, grafana.alerting.rules, grafana.alerting.contact_points)
        return json.dumps([kind["theirs"] for kind in things])

    run(*DASHBOARDS)
    run(*ALERTS)
    add_what_is_not_ours(grafana)
    drop_alerts(folder, "TokenCostHigh")
    before = theirs()
    run(*DASHBOARDS)
    changes = run(*ALERTS, "--alerts", str(folder), "--json").changes()
    assert changes["alert rule TokenCostHigh (ticket)"] == "remove"
    assert theirs() == before
    assert "calmops-not" in grafana.alerting.rules and "weekend" in grafana.alerting.mute_timings
    assert "calmops-typed" in grafana.alerting.contact_points, "it came by hand, not by a push"


def test_somebody_elses_rule_in_our_group_is_never_overwritten(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    grafana.alerting.rules["theirs"] = {
        "uid": "theirs",
        "title": "Theirs",
        "folderUID": "calmops",
        "ruleGroup": "calmops-long-spans",
    }
    grafana.alerting.rule("RequestsFailing (ticket)")["isPaused"] = True
    output = run(*ALERTS)
    assert output.status == 2 and "holds Theirs, which isn't ours and would be lost; move it" in output.err
    assert "theirs" in grafana.alerting.rules


def test_somebody_elses_contact_point_with_our_name_is_never_mixed_with_ours(run: Run, grafana: FakeGrafana) -> None:
    grafana.alerting.contact_points["abc"] = {"uid": "abc", "name": "calmops-safety", "type": "email", "settings": {}}
    output = run(*ALERTS)
    assert output.status == 2 and "holds an integration that isn't ours (abc); rename it there" in output.err
    assert grafana.writes() == []


def forget_finops(folder: Path) -> None:
    """Remove the receiver finops from a folder's receivers and routes."""
    receivers = folder / "receivers.yaml"
    lines = receivers.read_text(encoding="utf-8").splitlines()
    receivers.write_text("\n".join(line for line in lines if "finops" not in line), encoding="utf-8")
    routes = folder / "generated/alertmanager.yaml"
    tree = yaml.safe_load(routes.read_text(encoding="utf-8"))
    tree["route"]["routes"] = [one for one in tree["route"]["routes"] if one["receiver"] != "finops"]
    routes.write_text(yaml.safe_dump(tree), encoding="utf-8")


def test_what_no_file_holds_any_more_is_removed(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce_maintenance(folder)
    run(*ALERTS, "--alerts", str(folder))
    (folder / "maintenance.yaml").write_text("", encoding="utf-8")
    drop_alerts(folder, "TokenCostHigh")
    forget_finops(folder)
    dry_run = run(*ALERTS, "--alerts", str(folder), "--dry-run")
    assert "would be removed: alert rule TokenCostHigh (ticket)" in dry_run.out
    assert '-  "title": "TokenCostHigh (ticket)",' in dry_run.out
    changes = run(*ALERTS, "--alerts", str(folder), "--json").changes()
    assert sorted(key for key, action in changes.items() if action == "remove") == [
        "alert rule TokenCostHigh (ticket)",
        "contact point calmops-finops",
        MUTE_TIMING,
    ]
    assert not grafana.alerting.mute_timings and "calmops-finops" not in grafana.alerting.contact_points
    assert not any(one["title"].startswith("TokenCostHigh") for one in grafana.alerting.rules.values())
    assert set(run(*ALERTS, "--alerts", str(folder), "--json").changes().values()) == {"same"}


def test_rules_of_a_removed_group_go_and_moved_rules_stay(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    run(*ALERTS)
    count = len(grafana.alerting.rules)
    file = folder / "generated/prometheus-rules.yaml"
    drop_alerts(folder, "TokenCostHigh")
    text = file.read_text(encoding="utf-8").replace("name: calmops-long-spans", "name: calmops-renamed")
    file.write_text(text, encoding="utf-8")
    changes = run(*ALERTS, "--alerts", str(folder), "--json").changes()
    assert changes["alert rule RequestsFailing (ticket)"] == "update"
    assert changes["alert rule TokenCostHigh (ticket)"] == "remove"
    assert len(grafana.alerting.rules) == count - 1
    assert {one["ruleGroup"] for one in grafana.alerting.rules.values()} == {"calmops-short-spans", "calmops-renamed"}

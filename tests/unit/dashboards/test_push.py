"""`calmops dashboards push` and `calmops alerts push`, through the real command line and client, against a contract fake.

No Grafana server was at hand: that a real one takes the same is not shown here.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.grafana.fake_grafana import FakeGrafana
from tests.support.grafana.typed_pushes import ALERTS, DASHBOARDS, SHIPPED, Run, Said

BOTH = pytest.mark.parametrize("command", [DASHBOARDS, ALERTS], ids=["dashboards", "alerts"])


def changes(said: Said) -> dict[str, str]:
    assert said.status == 0, said.err
    return {f"{one['kind']} {one['name']}": one["action"] for one in json.loads(said.out)["changes"]}


def rule(grafana: FakeGrafana, title: str) -> dict[str, Any]:
    return next(one for one in grafana.alerting.rules.values() if one["title"] == title)


def generated_rules(folder: Path = SHIPPED) -> list[dict[str, Any]]:
    groups = yaml.safe_load((folder / "generated/prometheus-rules.yaml").read_text(encoding="utf-8"))["groups"]
    return [one for group in groups for one in group["rules"] if "alert" in one]


def drop_alert(folder: Path, *names: str) -> None:
    file = folder / "generated/prometheus-rules.yaml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in tree["groups"]:
        group["rules"] = [one for one in group["rules"] if one.get("alert") not in names]
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")


def announce(folder: Path, model: str | None = None) -> None:
    named = f"model: {model}, " if model else ""
    text = f"maintenance:\n  - {{{named}begins: 2126-12-31T22:00:30Z, ends: 2127-01-01T03:30:00+01:00, reason: new driver}}\n"
    (folder / "maintenance.yaml").write_text(text, encoding="utf-8")


def test_a_first_push_makes_folder_data_source_and_dashboards(run: Run, grafana: FakeGrafana) -> None:
    said = run(*DASHBOARDS)
    assert said.status == 0 and "6 of 6 things changed" in said.out
    assert grafana.folders["calmops"]["title"] == "calmops"
    assert grafana.sources["calmops-prometheus"]["url"] == "http://prometheus:9090"
    boards = {f"calmops-{name}" for name in ("executive", "on-call", "debug", "game-day")}
    assert set(grafana.dashboards) == boards
    assert all(one["meta"]["folderUid"] == "calmops" for one in grafana.dashboards.values())
    on_call = json.loads((SHIPPED.parent / "dashboards/generated/on-call.json").read_text(encoding="utf-8"))
    assert grafana.dashboards["calmops-on-call"]["dashboard"]["panels"] == on_call["panels"]


def test_a_first_push_makes_every_alerting_rule_and_who_is_told(run: Run, grafana: FakeGrafana) -> None:
    assert run(*ALERTS).status == 0
    made = grafana.alerting.rules.values()
    told = {one["title"]: one["notification_settings"]["receiver"] for one in made}
    for one in generated_rules():
        labels = one["labels"]
        assert told[f"{one['alert']} ({labels['severity']})"] == f"calmops-{labels['team']}"
        if labels["severity"] == "page":
            assert told[f"{one['alert']} (page, escalation)"] == f"calmops-{labels['escalation']}"
    pages = sum(one["labels"]["severity"] == "page" for one in generated_rules())
    assert len(made) == len(generated_rules()) + pages
    receivers = yaml.safe_load((SHIPPED / "receivers.yaml").read_text(encoding="utf-8"))["receivers"]
    points = {one["name"]: one["settings"]["url"] for one in grafana.alerting.contact_points.values()}
    assert points == {f"calmops-{one['name']}": one["webhook"] for one in receivers}
    assert grafana.alerting.intervals == {
        ("calmops", "calmops-short-spans"): 30,
        ("calmops", "calmops-long-spans"): 240,
    }


def test_a_rule_fires_for_each_series_and_says_its_value(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    made = rule(grafana, "RequestsFailing (page)")
    source = next(one for one in generated_rules() if one["alert"] == "RequestsFailing")
    question, condition = made["data"]
    assert question["model"]["expr"] == source["expr"] and question["model"]["instant"] is True
    assert question["datasourceUid"] == "calmops-prometheus"
    assert made["condition"] == condition["refId"] and "is_number($A)" in condition["model"]["expression"]
    assert (
        made["noDataState"] == "OK" and made["execErrState"] == "KeepLast" and made["missingSeriesEvalsToResolve"] == 1
    )
    assert rule(grafana, "TelemetryStopped (page)")["execErrState"] == "Alerting"
    assert "burns {{ $values.A.Value | humanize }} times" in made["annotations"]["description"]
    assert not any(
        "| query" in text or "$value " in text
        for one in grafana.alerting.rules.values()
        for text in one["annotations"].values()
    )
    assert (
        made["labels"] == source["labels"]
        and made["annotations"]["runbook_url"] == source["annotations"]["runbook_url"]
    )


def test_who_is_told_is_told_as_often_as_by_alertmanager(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    page, ticket = (rule(grafana, f"RequestsFailing ({kind})")["notification_settings"] for kind in ("page", "ticket"))
    assert (page["group_wait"], page["group_interval"], page["repeat_interval"]) == ("10s", "5m", "4h")
    assert (ticket["group_wait"], ticket["group_interval"], ticket["repeat_interval"]) == ("5m", "1h", "3d")
    assert page["group_by"] == ["grafana_folder", "alertname", "environment", "model", "variant", "version"]
    assert "shard" in ticket["group_by"]
    assert rule(grafana, "TelemetryStopped (page)")["for"] == "5m"
    escalated = rule(grafana, "TelemetryStopped (page, escalation)")
    assert escalated["for"] == "35m" and escalated["notification_settings"]["group_wait"] == "0s"


@BOTH
def test_a_second_push_changes_nothing_and_says_so(command: tuple[str, ...], run: Run, grafana: FakeGrafana) -> None:
    run(*command)
    grafana.calls.clear()
    said = run(*command)
    assert said.status == 0 and "are as they should be" in said.out
    assert grafana.writes() == []


def test_a_push_after_the_others_leaves_what_the_other_made(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    run(*ALERTS)
    grafana.calls.clear()
    assert (
        set(changes(run(*DASHBOARDS, "--json")).values()) == set(changes(run(*ALERTS, "--json")).values()) == {"same"}
    )
    assert grafana.writes() == []


@BOTH
def test_a_dry_run_shows_a_diff_and_sends_nothing(command: tuple[str, ...], run: Run, grafana: FakeGrafana) -> None:
    said = run(*command, "--dry-run")
    assert said.status == 0 and "would be created: folder calmops" in said.out and '+  "title": "calmops"' in said.out
    assert grafana.writes() == [] and grafana.calls
    assert not grafana.folders


def test_what_machines_read_names_every_thing_and_its_difference(run: Run, grafana: FakeGrafana) -> None:
    run(*DASHBOARDS)
    grafana.folders["calmops"]["title"] = "renamed"
    told = json.loads(run(*DASHBOARDS, "--dry-run", "--json").out)
    assert (told["url"], told["dry_run"], told["changed"], len(told["changes"])) == (grafana.url, True, 1, 6)
    first, *others = told["changes"]
    assert (first["kind"], first["name"], first["action"]) == ("folder", "calmops", "update")
    assert '-  "title": "renamed",' in first["diff"] and '+  "title": "calmops",' in first["diff"]
    assert all(one["action"] == "same" and one["diff"] == "" for one in others)


def by_hand(grafana: FakeGrafana, what: str) -> None:
    """As somebody would change it in Grafana."""
    alerting = grafana.alerting
    if what == "folder":
        grafana.folders["calmops"]["title"] = "changed by hand"
    elif what == "data source":
        grafana.sources["calmops-prometheus"] |= {
            "url": "changed by hand",
            "basicAuthUser": "kept",
            "jsonData": {"httpMethod": "POST"},
        }
    elif what == "dashboard":
        grafana.dashboards["calmops-debug"]["dashboard"]["panels"].append({"title": "changed by hand"})
    elif what == "contact point":
        alerting.contact_points["calmops-safety"]["settings"]["url"] = "http://changed.by.hand/secret"
    elif what == "mute timing":
        next(iter(alerting.mute_timings.values()))["time_intervals"][0]["location"] = "changed by hand"
    elif what == "alert rule":
        rule(grafana, "RequestsFailing (ticket)")["data"][0]["model"]["expr"] = "changed by hand"
    elif what == "paused rule":
        rule(grafana, "RequestsFailing (ticket)")["isPaused"] = True
    else:
        alerting.intervals["calmops", "calmops-long-spans"] = 60


HAND: dict[str, tuple[tuple[str, ...], str, str]] = {
    "folder": (DASHBOARDS, "folder calmops", "changed by hand"),
    "data source": (DASHBOARDS, "data source calmops-prometheus", "changed by hand"),
    "dashboard": (DASHBOARDS, "dashboard calmops-debug", "changed by hand"),
    "contact point": (ALERTS, "contact point calmops-safety", "http://changed.by.hand/... (sha256"),
    "mute timing": (ALERTS, "mute timing calmops-maintenance-21261231T2200Z-21270101T0230Z", "changed by hand"),
    "alert rule": (ALERTS, "alert rule RequestsFailing (ticket)", "changed by hand"),
    "paused rule": (ALERTS, "alert rule RequestsFailing (ticket)", '"isPaused": true'),
    "interval": (ALERTS, "rule group calmops-long-spans", '"interval": 60'),
}


@pytest.mark.parametrize("what", HAND)
def test_a_change_by_hand_is_shown_by_a_dry_run_and_mended_by_a_push(
    what: str, run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    command, name, shown = HAND[what]
    announce(folder)
    command += ("--alerts", str(folder)) if command is ALERTS else ()
    run(*command)
    by_hand(grafana, what)
    dry = run(*command, "--dry-run")
    assert f"would be updated: {name}\n" in dry.out
    assert any(line.startswith("-") and shown in line for line in dry.out.splitlines())
    mended = changes(run(*command, "--json"))
    assert {key for key, action in mended.items() if action != "same"} <= {name, "rule group calmops-long-spans"}
    assert mended[name] == "update"
    assert set(changes(run(*command, "--json")).values()) == {"same"}
    if what == "data source":
        kept = grafana.sources["calmops-prometheus"]
        assert kept["url"] == "http://prometheus:9090"
        assert kept["basicAuthUser"] == "kept" and kept["jsonData"] == {"httpMethod": "POST"}, (
            "what isn't ours was lost"
        )


def test_a_secret_in_an_address_is_in_no_diff(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    receivers = folder / "receivers.yaml"
    receivers.write_text(receivers.read_text(encoding="utf-8").replace("9095/safety", "9095/hunter2"), encoding="utf-8")
    said = run(*ALERTS, "--alerts", str(folder), "--dry-run")
    assert said.status == 0 and "calmops-safety" in said.out and "hunter2" not in said.out
    run(*ALERTS, "--alerts", str(folder))
    assert grafana.alerting.contact_points["calmops-safety"]["settings"]["url"].endswith("hunter2")


def test_what_is_not_ours_stays_as_it_was(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    run(*DASHBOARDS)
    run(*ALERTS)
    theirs = {"title": "theirs", "provenance": "", "folderUID": "calmops", "ruleGroup": "theirs"}
    grafana.alerting.rules |= {
        "theirs": theirs | {"uid": "theirs"},
        "calmops-not": theirs | {"uid": "calmops-not", "folderUID": "else"},
    }
    grafana.alerting.contact_points["theirs"] = {
        "uid": "theirs",
        "name": "theirs",
        "type": "email",
        "settings": {},
        "provenance": "api",
    }
    grafana.alerting.contact_points["calmops-typed"] = {
        "uid": "calmops-typed",
        "name": "x",
        "type": "email",
        "settings": {},
    }
    grafana.alerting.mute_timings["weekend"] = {"name": "weekend", "time_intervals": [], "provenance": "api"}
    grafana.dashboards["theirs"] = {
        "dashboard": {"uid": "theirs", "title": "theirs", "version": 1},
        "meta": {"folderUid": "calmops"},
    }
    drop_alert(folder, "TokenCostHigh")
    before = json.dumps(
        [grafana.dashboards["theirs"], grafana.alerting.rules["theirs"], grafana.alerting.contact_points["theirs"]]
    )
    run(*DASHBOARDS)
    assert changes(run(*ALERTS, "--alerts", str(folder), "--json"))["alert rule TokenCostHigh (ticket)"] == "remove"
    after = json.dumps(
        [grafana.dashboards["theirs"], grafana.alerting.rules["theirs"], grafana.alerting.contact_points["theirs"]]
    )
    assert after == before
    assert "calmops-not" in grafana.alerting.rules and "weekend" in grafana.alerting.mute_timings
    assert "calmops-typed" in grafana.alerting.contact_points, "it came by hand, not by a push"


def test_a_rule_of_somebody_in_our_group_is_never_overwritten(run: Run, grafana: FakeGrafana) -> None:
    run(*ALERTS)
    grafana.alerting.rules["theirs"] = {
        "uid": "theirs",
        "title": "Theirs",
        "folderUID": "calmops",
        "ruleGroup": "calmops-long-spans",
    }
    rule(grafana, "RequestsFailing (ticket)")["isPaused"] = True
    said = run(*ALERTS)
    assert said.status == 2 and "holds Theirs, which isn't ours and would be lost; move it" in said.err
    assert "theirs" in grafana.alerting.rules


def test_a_contact_point_of_somebody_by_our_name_is_never_mixed_with_ours(run: Run, grafana: FakeGrafana) -> None:
    grafana.alerting.contact_points["abc"] = {"uid": "abc", "name": "calmops-safety", "type": "email", "settings": {}}
    said = run(*ALERTS)
    assert said.status == 2 and "holds an integration that isn't ours (abc); rename it there" in said.err
    assert grafana.writes() == []


def test_what_is_no_longer_written_down_goes(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce(folder)
    run(*ALERTS, "--alerts", str(folder))
    (folder / "maintenance.yaml").write_text("", encoding="utf-8")
    drop_alert(folder, "TokenCostHigh")
    receivers = folder / "receivers.yaml"
    lines = receivers.read_text(encoding="utf-8").splitlines()
    receivers.write_text("\n".join(line for line in lines if "finops" not in line), encoding="utf-8")
    routes = folder / "generated/alertmanager.yaml"
    tree = yaml.safe_load(routes.read_text(encoding="utf-8"))
    tree["route"]["routes"] = [one for one in tree["route"]["routes"] if one["receiver"] != "finops"]
    routes.write_text(yaml.safe_dump(tree), encoding="utf-8")
    dry = run(*ALERTS, "--alerts", str(folder), "--dry-run")
    assert (
        "would be removed: alert rule TokenCostHigh (ticket)" in dry.out
        and '-  "title": "TokenCostHigh (ticket)",' in dry.out
    )
    done = changes(run(*ALERTS, "--alerts", str(folder), "--json"))
    assert sorted(key for key, action in done.items() if action == "remove") == [
        "alert rule TokenCostHigh (ticket)", "contact point calmops-finops", "mute timing calmops-maintenance-21261231T2200Z-21270101T0230Z",
    ]  # fmt: skip
    assert not grafana.alerting.mute_timings and "calmops-finops" not in grafana.alerting.contact_points
    assert not any(one["title"].startswith("TokenCostHigh") for one in grafana.alerting.rules.values())
    assert set(changes(run(*ALERTS, "--alerts", str(folder), "--json")).values()) == {"same"}


def test_rules_of_a_group_that_is_gone_go_and_those_that_moved_stay(
    run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    run(*ALERTS)
    number = len(grafana.alerting.rules)
    file = folder / "generated/prometheus-rules.yaml"
    drop_alert(folder, "TokenCostHigh")
    file.write_text(
        file.read_text(encoding="utf-8").replace("name: calmops-long-spans", "name: calmops-renamed"), encoding="utf-8"
    )
    done = changes(run(*ALERTS, "--alerts", str(folder), "--json"))
    assert (
        done["alert rule RequestsFailing (ticket)"] == "update"
        and done["alert rule TokenCostHigh (ticket)"] == "remove"
    )
    assert len(grafana.alerting.rules) == number - 1
    assert {one["ruleGroup"] for one in grafana.alerting.rules.values()} == {"calmops-short-spans", "calmops-renamed"}


def test_maintenance_of_every_model_mutes_what_prometheus_would_and_a_zero_never(
    run: Run, grafana: FakeGrafana, folder: Path
) -> None:
    announce(folder)
    assert run(*ALERTS, "--alerts", str(folder)).status == 0
    (timing,) = grafana.alerting.mute_timings.values()
    day = {"months": ["12"], "years": ["2126"], "location": "UTC"}
    assert timing["time_intervals"] == [
        day | {"days_of_month": ["31"], "times": [{"start_time": "22:00", "end_time": "24:00"}]},
        day
        | {
            "days_of_month": ["1"],
            "months": ["1"],
            "years": ["2127"],
            "times": [{"start_time": "00:00", "end_time": "02:30"}],
        },
    ]
    muted = {
        one["title"]
        for one in grafana.alerting.rules.values()
        if one["notification_settings"].get("mute_time_intervals")
    }
    assert {"RequestsFailing (page)", "RequestsFailing (ticket)", "TokenCostHigh (ticket)"} <= muted
    for never in ("PersonalDataLeaked", "TokenizationFailing", "TelemetryStopped"):
        assert f"{never} (page)" not in muted and f"{never} (page, escalation)" not in muted


def test_maintenance_of_one_model_mutes_no_rule_of_all_models(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce(folder, "stdlib-5m")
    said = run(*ALERTS, "--alerts", str(folder), "--json")
    assert "stdlib-5m" in json.loads(said.out)["notes"][0]
    assert not grafana.alerting.mute_timings


def test_maintenance_that_is_over_is_no_mute_timing(run: Run, grafana: FakeGrafana, folder: Path) -> None:
    announce(folder)
    file = folder / "maintenance.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("2126", "2023").replace("2127", "2024"), encoding="utf-8")
    assert run(*ALERTS, "--alerts", str(folder)).status == 0
    assert not grafana.alerting.mute_timings
